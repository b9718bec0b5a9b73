"""Ceilometer's API v2 over our spans: events and samples as it kept them of OSProfiler."""
