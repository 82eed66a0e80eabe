"""Training side or test side: the split, the check for leakage between two sets, and the balanced test set."""
