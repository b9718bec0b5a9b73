"""A backend's URL: read strictly, shown without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import SCHEMES, BackendError, Surroundings, connect
from nilometer.counters.choice import chosen
from nilometer.counters.target import Target, hidden
from nilometer.errors import ConfigError

URL = "mysql://me:s3cret@db:3307/shop?socket=/run/s"


def parsed(url: str) -> Target:
    return Target.parse(url, origin="nilometer.toml:3", schemes=SCHEMES)


def test_a_url_names_backend_place_user_and_options() -> None:
    target = parsed(URL)

    assert (target.backend, target.host, target.port) == ("mysql", "db", 3307)
    assert (target.user, target.password, target.path) == ("me", "s3cret", "/shop")
    assert target.option("socket") == "/run/s"


def test_a_password_is_used_and_never_shown() -> None:
    target = parsed(URL)

    assert target.password == "s3cret"
    for said in (repr(target), str(target), target.shown, hidden(URL)):
        assert "s3cret" not in said


def test_a_password_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret\n")

    target = parsed(f"redis://cache?password_file={tmp_path}/p")

    assert target.password == "s3cret"
    assert target.options == ()


def test_a_password_file_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"nilometer.toml:3: redis://cache: password_file="):
        parsed("redis://cache?password_file=/nowhere")


def test_an_unknown_backend_is_told_with_the_nearest_and_all() -> None:
    with pytest.raises(ConfigError) as refused:
        connect("mysqll://me:s3cret@db", origin="--backend")

    assert str(refused.value).startswith(
        "--backend: no backend for 'mysqll://***@db'; did you mean 'mysql'? (mysql, postgresql,"
    )


@pytest.mark.parametrize(
    "secret", ["pa/ss", "pa?ss", "pa#ss", "p@a/ss", "12/ss", "12?ss", "12#ss"]
)
@pytest.mark.parametrize("scheme", ["mysql", "http"])
def test_a_password_that_is_not_escaped_is_refused_and_no_part_of_it_shown(
    scheme: str, secret: str
) -> None:
    url = f"{scheme}://root:{secret}@host"

    with pytest.raises(ConfigError) as refused:
        parsed(url)

    said = str(refused.value)
    assert "in a password / ? # @ are to be written %2F %3F %23 %40" in said
    assert said.startswith(f"nilometer.toml:3: '{scheme}://***")
    for part in ("pa", "ss", "12"):
        assert part not in hidden(url)
        assert part not in said.partition("' is not a URL")[0]


def test_an_option_without_a_name_may_be_a_secret() -> None:
    assert hidden("http://h/x?s3cret") == "http://h/x?***"
    with pytest.raises(ConfigError) as refused:
        parsed("http://h/x?s3cret")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://root@127.0.0.1:52899", "mysql://root@127.0.0.1:52899"),
        ("postgresql://me@[::1]:5432/shop?x=S3", "postgresql://me@[::1]:5432/shop?x=***"),
        ("mysql://root:@db", "mysql://***@db"),
        ("redis://:S3@db", "redis://***@db"),
        ("mysql://root%3AS3@db", "mysql://***@db"),
        ("https://S3@h/metrics", "https://***@h/metrics"),
        ("git+https://S3@h/metrics", "git+https://***@h/metrics"),
    ],
)
def test_a_user_without_a_password_is_shown_where_it_can_be_no_token(
    url: str, told: str
) -> None:
    assert hidden(url) == told


@given(st.text(alphabet="s3/?#@:&=%[]", min_size=6).map(lambda text: f"S3{text}S3"))
def test_no_part_of_a_password_is_shown_however_it_is_written(password: str) -> None:
    url = f"mysql://root:{password}@host"
    try:
        said = parsed(url).shown
    except ConfigError as error:
        said = str(error)

    assert "S3" not in hidden(url) + said


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("http://h/metrics?query=token%3DS3CRET", "h:80/metrics?token=***"),
        ("http://h/metrics?query=S3CRET", "h:80/metrics?***"),
        ("telegraf://?command=telegraf+--token+S3CRET", "telegraf …"),
    ],
)
def test_no_secret_is_in_the_place_of_a_backend_or_in_its_errors(
    url: str, instance: str
) -> None:
    backend = connect(url, origin="-b")

    with pytest.raises(BackendError) as unread:
        backend.read()

    assert backend.instance == instance
    assert "S3CRET" not in str(unread.value)


def test_what_differs_only_in_its_secrets_stays_apart() -> None:
    url = "http://h/metrics?query=token%3D"
    named = [(url + "S3", "-b"), (url + "S4", "-b"), (url + "S3", "-b")]

    found = chosen(named, Surroundings({}, Path("/nowhere")))

    assert [one.instance for one in found] == [
        "h:80/metrics?token=***",
        "h:80/metrics?token=*** (2)",
    ]


@given(st.text() | st.text().map(lambda text: f"mysql://{text}"))
def test_any_text_is_a_target_or_a_clear_error(text: str) -> None:
    try:
        said = parsed(text).shown
    except ConfigError as error:
        said = str(error)

    assert said.startswith(("nilometer.toml:3: ", *(f"{name}://" for name in SCHEMES)))
