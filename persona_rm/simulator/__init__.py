"""The simulator: a forum of simulated users whose true preferences are known, so that every claim can be checked."""
