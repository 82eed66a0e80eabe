"""User-level rewards for an RLHF stack that a team already runs."""

__version__ = "0.1.0"
