"""Log-probabilities of given responses: transformers and vLLM engines, and the cache of shared prefixes."""
