"""The users of a team: reading their files and checking what stands in them."""
