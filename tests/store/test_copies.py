"""Copies of an object store's files: fetched once, kept within their room, gone at the end."""

from __future__ import annotations

import threading
from datetime import date

import pytest

from nilometer.errors import StoreError
from nilometer.store.copies import Copies
from nilometer.store.places import Place
from nilometer.store.stored import DataFile

SIZE = 100


@pytest.fixture
def table(tmp_path):
    """A table's folder as an object store's place, and a function that adds a file to it."""
    root = tmp_path / "table"
    root.mkdir()

    def add(name, size=SIZE):
        (root / name).write_bytes(name.encode() * size)
        return DataFile(name, len(name) * size, 1, date(2026, 1, 1), {}, {})

    return Place.of(root.as_uri()), root, add


@pytest.fixture
def copies():
    made = Copies(bytes_max=3 * SIZE)
    yield made
    made.close()


def test_a_file_is_fetched_once_and_as_it_is(table, copies):
    place, root, add = table
    file = add("a")

    with copies.of(place, [file]) as [path]:
        assert path.read_bytes() == b"a" * SIZE
    (root / "a").unlink()
    with copies.of(place, [file]) as [again]:
        assert (again, again.read_bytes()) == (path, b"a" * SIZE)


def test_what_was_not_used_longest_makes_room_and_never_what_is_being_read(table, copies):
    place, _, add = table
    a, b, c, d = (add(name) for name in "abcd")

    with copies.of(place, [a]) as [held]:
        for file in (b, c):
            with copies.of(place, [file]) as [path]:
                pass
        with copies.of(place, [b]) as [used_since]:
            pass
        with copies.of(place, [d]):
            assert (held.exists(), path.exists(), used_since.exists()) == (True, False, True)


def test_a_question_that_needs_more_than_there_is_room_for_is_told(table, copies):
    place, _, add = table
    with (
        pytest.raises(StoreError, match="ask for less time") as refused,
        copies.of(place, [add(name) for name in "abcd"]),
    ):
        pass
    assert refused.value.slug == "store-too-much"
    with copies.of(place, [add("e")]) as [path]:
        assert path.exists()


def test_a_file_that_is_gone_or_cut_is_told_and_fetched_anew_when_it_is_back(table, copies):
    place, root, add = table
    file = add("a")
    (root / "a").unlink()
    with pytest.raises(FileNotFoundError), copies.of(place, [file]):
        pass
    (root / "a").write_bytes(b"a")
    with pytest.raises(OSError, match="a has 1 bytes, and 100 were committed"):  # noqa: SIM117
        with copies.of(place, [file]):
            pass
    add("a")
    with copies.of(place, [file]) as [path]:
        assert path.read_bytes() == b"a" * SIZE


def test_who_asks_while_another_fetches_gets_the_same_whole_file(table, copies):
    place, _, add = table
    file = add("a", SIZE)
    seen = []

    def ask():
        with copies.of(place, [file]) as [path]:
            seen.append((path, path.read_bytes()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_files_of_this_machine_are_read_where_they_are_and_nothing_stays(tmp_path, table):
    place, root, add = table
    file = add("a")
    copies = Copies()
    with copies.of(Place.of(root), [file]) as [path]:
        assert path == root / "a"
    with copies.of(place, [file]) as [path]:
        folder = path.parent
    copies.close()
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(
    table, copies, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place, _, add = table
    left = tmp_path / "nilometer-copies-of-a-killed-process"
    left.mkdir()
    (left / "1.parquet").write_bytes(b"copy")
    other = Copies(bytes_max=3 * SIZE)

    with other.of(place, [add("a")]) as [living], copies.of(place, [add("b")]):
        assert (left.exists(), living.read_bytes()) == (False, b"a" * SIZE)
    other.close()
    assert not living.parent.exists()
