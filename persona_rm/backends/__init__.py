"""What methods are handed: models they never own."""
