"""Nilometer where OpenStack's services expect it: their configuration, their pipelines."""
