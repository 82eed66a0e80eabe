"""A regular package, so that processes of a test import this one even if an installed package is called `tests`."""
