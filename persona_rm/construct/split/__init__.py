"""The split into training and test side, the check for leakage, the balanced test set, and curation."""
