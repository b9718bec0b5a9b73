"""Nilometer."""
