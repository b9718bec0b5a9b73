"""Real servers for tests and demonstrations, each a context manager."""
