"""Search for personas: an index of every response on one side of the split, and exact similarity over it."""
