"""The data card of a build: counts and figures of its rows, levels and examples."""
