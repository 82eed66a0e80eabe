"""The embedded world: a simulated forum whose truth is known, on which every claim is checked first."""
