"""A backend's URL: read strictly, shown without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import SCHEMES, connect
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


@given(st.text() | st.text().map(lambda text: f"mysql://{text}"))
def test_any_text_is_a_target_or_a_clear_error(text: str) -> None:
    try:
        said = parsed(text).shown
    except ConfigError as error:
        said = str(error)

    assert said.startswith(("nilometer.toml:3: ", *(f"{name}://" for name in SCHEMES)))
