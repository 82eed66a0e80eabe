"""A Ray cluster as a whole: its nodes, waits that end with a reason, and folders that all nodes must see."""
