"""statsd in all its dialects: readings out as lines, packets in as samples."""

from nilometer.wire.statsd_in import decode
from nilometer.wire.statsd_out import DATAGRAM_BYTES_MAX, Dialect, datagrams, encode
from nilometer.wire.statsd_sample import Sample, SampleType
from nilometer.wire.statsd_special import event_of

__all__ = [
    "DATAGRAM_BYTES_MAX",
    "Dialect",
    "Sample",
    "SampleType",
    "datagrams",
    "decode",
    "encode",
    "event_of",
]
