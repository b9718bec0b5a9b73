"""Counters that databases, brokers and the kernel keep anyway, read before and after a run."""
