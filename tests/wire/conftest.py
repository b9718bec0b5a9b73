"""What the tests of codecs share."""

from importlib import import_module

import pytest

from nilometer.wire import otlp_spans

SPAN_READERS = {"python": "otlp_spans_pure", "c": "_otlp_spans"}


@pytest.fixture(params=SPAN_READERS, scope="module")
def either_twin(request):
    """Whoever asks for it runs once with each of the twins that read spans."""
    chosen = otlp_spans.decode
    otlp_spans.decode = import_module(f"nilometer.wire.{SPAN_READERS[request.param]}").decode
    yield
    otlp_spans.decode = chosen
