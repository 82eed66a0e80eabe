"""Construction of AlignX examples from threads (paper, section 4): pure rows, a search kernel, and the Ray wiring."""
