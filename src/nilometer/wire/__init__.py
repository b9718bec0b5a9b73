"""Codecs: batches into bytes and back, no I/O; docs/wire.md has every format."""
