"""URLs of exporters are read strictly, and what is secret in them is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import ConfigError
from nilometer.export import file, graphite, kafka, otlp, statsd
from nilometer.export.address import SHOWN_OPTIONS, Address, hidden
from nilometer.export.exporter import SCHEMES, open_exporter


@given(st.text())
def test_any_text_is_an_address_or_a_settings_error(text):
    try:
        Address.parse(text, origin="here")
    except ConfigError as refused:
        told = str(refused)
    else:
        told = "here: fine"

    assert told.startswith("here: ")


@given(st.sampled_from(sorted(SCHEMES)), st.text())
def test_any_rest_of_a_url_opens_or_is_a_settings_error(scheme, rest):
    try:
        open_exporter(f"{scheme}://{rest}", origin="here").close()
    except ConfigError as refused:
        told = str(refused)
    else:
        told = "here: fine"

    assert told.startswith("here: ")


def test_a_misspelt_option_names_the_nearest_and_all():
    with pytest.raises(ConfigError) as refused:
        open_exporter("otlp://127.0.0.1:4318?timeout=3", origin="nilometer.toml:4")

    assert str(refused.value) == (
        "nilometer.toml:4: 'otlp://127.0.0.1:4318?timeout=***': no option 'timeout'; did you "
        "mean 'timeout_s'? (compression, timeout_s, token_file, header, ca_file) "
        "[no-such-exporter-option]"
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("otlp://", "a host is missing"),
        ("otlp://c1:99999", "is not a URL"),
        ("otlp://c1:0", "nobody listens at port 0; from 1 to 65535"),
        ("statsd://c1:0", "nobody listens at port 0"),
        ("graphite://c1:00", "nobody listens at port 0"),
        ("otlp://c1?timeout_s=soon", "timeout_s='soon' is not a number"),
        ("otlp://c1?timeout_s=nan", "out of bounds; from 0.05 to 60"),
        ("otlp://c1?compression=zstd", "choose from none, gzip"),
        ("otlp://c1?ca_file=/x", "ca_file is for otlps://"),
        ("otlps://c1?ca_file=/there/is/none", "ca_file /there/is/none"),
        ("otlp://c1?token_file=/there/is/none", "No such file"),
        ("otlp://c1?header=broken", "header=Name:value"),
        ("otlp://c1?header=a:b%0d%0aEvil:%20x", "header=Name:value"),
        ("otlp://me:secret@c1", "use token_file=FILE"),
        ("otlp://c1#rest", "nothing follows a '#'"),
        ("statsd://", "a host is missing"),
        ("statsd://c1/path", "statsd has no paths"),
        ("statsd://c1?bytes_max=1", "out of bounds"),
        ("log://a/b", "the name of a logger or nothing"),
        ("log://?level=3", "no option 'level'; it takes none"),
        ("file:///", "a file is missing"),
        ("file:///there/is/none/x", "there is no directory"),
        ("file://c1/x", "three slashes"),
        ("file:///tmp/x?rotate_bytes=1", "too small"),
        ("file:///tmp/x?rotate_bytes=lots", "is not a size"),
        ("file:///tmp/x?keep=3", "add rotate_bytes"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url, why):
    with pytest.raises(ConfigError) as refused:
        open_exporter(url)

    assert why in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text("abc:/@?&=#", min_size=1))
def test_a_password_is_never_shown(rest):
    url = f"otlp://user:topsecret@host?header=x:topsecret&{rest}".replace("?header", "/?header")

    assert "topsecret" not in hidden(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("otlp://c1?hedaer=S3CRET", "otlp://c1?hedaer=***"),
        ("otlp://c1?token=S3CRET&timeout_s=3", "otlp://c1?token=***&timeout_s=3"),
        ("otlp://c1?header=a:S3CRET", "otlp://c1?header=***"),
        ("otlp://c1?hea%64er=S3CRET", "otlp://c1?hea%64er=***"),
        ("otlp://c1?S3CRET", "otlp://c1?***"),
        ("otlp://c1?timeout_s=3#S3CRET", "otlp://c1?timeout_s=3#***"),
        ("otlp://c1#S3CRET", "otlp://c1#***"),
        ("otlp://me:S3CRET@c1", "otlp://***@c1"),
        ("otlp://me:S3#CRET@c1", "otlp://***@c1"),
        ("nosuch://c1?key=S3CRET", "nosuch://c1?key=***"),
    ],
)
def test_only_values_that_are_known_to_be_harmless_are_shown(url, shown):
    with pytest.raises(ConfigError) as refused:
        open_exporter(f"{url}&nosuch=1" if "header=a" in url else url, origin="here").close()

    assert shown in str(refused.value)
    assert "S3" not in str(refused.value)


def test_what_is_shown_is_an_option_of_some_exporter():
    known = {*otlp.OPTIONS, *statsd.OPTIONS, *graphite.OPTIONS, *file.OPTIONS, *kafka.OPTIONS}

    assert known - {"header"} == SHOWN_OPTIONS
