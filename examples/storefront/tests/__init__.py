"""The shop's own test suite."""
