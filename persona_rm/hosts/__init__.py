"""The RLHF trainers that a team runs. One package per host
holds everything that knows the host's flags and payloads."""
