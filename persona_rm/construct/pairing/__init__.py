"""Preference pairs of a post: responses are clustered by intensity, and pairs come from different clusters."""
