"""The stages of a run, one file each: what a stage reads, what it makes, and when it has to run again."""
