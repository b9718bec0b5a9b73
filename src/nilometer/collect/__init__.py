"""The collector: takes batches in over OTLP and statsd, and commits them to the tables."""
