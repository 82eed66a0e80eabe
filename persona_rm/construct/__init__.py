"""Construction of AlignX examples from forum threads (paper, section 4).

The algorithms are pure functions: `cleaning` (texts), `pairing` (clusters and preference pairs), `search` (personas),
`split` (train and test, balanced test set, curation), `demo` (descriptions) and `mix` (universal values).
`stages` applies them to rows, one module per stage, and `job` runs the stages on Ray Data. `card` describes the
result. `config` holds the settings of all stages, and `records` the rows that they exchange.
"""
