"""OpenRLHF 0.11.2: its flags, its payloads, its launch order and its rehearsal on a CPU."""
