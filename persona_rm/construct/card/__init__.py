"""The data card of a build: counts, figures and pictures of what was made."""
