"""Every question over ten million spans, on this machine and on a Spark cluster."""
