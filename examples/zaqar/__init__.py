"""Zaqar, which nobody here wrote, measured through `nilometer run` and settings alone."""
