"""Log-probabilities of given responses, with transformers or vLLM, and the cache of shared prefixes."""
