"""JSON lines in a file that several processes share, that may fill up, move or rotate."""

from __future__ import annotations

import fcntl
import os
import subprocess

import pytest

from nilometer.export import Outlet, open_exporter
from nilometer.export.file import File
from nilometer.wire import jsonlines


def batches_in(*paths):
    return [jsonlines.decode(line) for path in paths for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.jsonl"


def test_every_batch_is_one_line_that_reads_back_exactly(make, path):
    exporter = open_exporter(f"file://{path}")
    batches = [make.batch(readings=2, spans=1, events=1), make.batch(readings=1)]

    for batch in batches:
        exporter(batch)
    exporter.close()

    assert batches_in(path) == batches
    assert path.stat().st_mode & 0o007 == 0


def test_several_processes_share_a_file_and_no_line_is_torn(make, path, python):
    program = (
        "import sys\n"
        "from nilometer.export import open_exporter\n"
        "from nilometer.model import *\n"
        "one = open_exporter('file://' + sys.argv[1])\n"
        "for n in range(100):\n"
        "    one_span = SpanRecord(b't'*16, b's'*8, b'', 'x'*99, SpanKind.SERVER, 1, 2, {})\n"
        "    spans = (one_span,) * n\n"
        "    one(Batch(Resource('p', pid=int(sys.argv[2])), (), spans))\n"
    )
    writers = [subprocess.Popen([python, "-c", program, path, str(pid)]) for pid in range(1, 5)]

    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    found = [(batch.resource.pid, len(batch.spans)) for batch in batches_in(path)]
    assert sorted(found) == [(pid, n) for pid in range(1, 5) for n in range(100)]


def test_a_forked_child_writes_with_a_descriptor_of_its_own(make, path):
    exporter = open_exporter(f"file://{path}")
    exporter(make.batch(readings=1))

    pid = os.fork()
    if pid == 0:
        exporter.close()
        exporter(make.batch(readings=2))
        os._exit(0)
    os.waitpid(pid, 0)
    exporter(make.batch(readings=3))
    exporter.close()

    assert [batch.rows for batch in batches_in(path)] == [1, 2, 3]


def test_a_file_that_was_moved_away_is_made_anew(make, path):
    exporter = open_exporter(f"file://{path}")
    exporter(make.batch(readings=1))
    moved = path.rename(path.with_suffix(".old"))
    exporter(make.batch(readings=2))
    path.unlink()
    exporter(make.batch(readings=3))
    exporter.close()

    assert [batch.rows for batch in batches_in(moved, path)] == [1, 3]


def test_a_full_file_is_renamed_and_the_oldest_goes(make, path):
    exporter = File(path, rotate_bytes=3_000, keep=2)
    for _ in range(50):
        exporter(make.batch(readings=5))
    exporter.close()

    assert sorted(p.name for p in path.parent.iterdir()) == [
        "out.jsonl",
        "out.jsonl.1",
        "out.jsonl.2",
    ]
    assert all(p.stat().st_size <= 3_000 for p in path.parent.iterdir())
    assert len(batches_in(*path.parent.iterdir())) > 6


def test_two_processes_rotate_one_file_and_lose_nothing(make, path):
    one, other = (
        File(path, rotate_bytes=3_000, keep=999),
        File(path, rotate_bytes=3_000, keep=999),
    )
    for n in range(60):
        (one if n % 2 else other)(make.batch(readings=5))
    one.close()
    other.close()

    assert len(batches_in(*path.parent.iterdir())) == 60


def test_a_file_that_another_process_has_just_renamed_is_not_renamed_again(
    make, path, monkeypatch
):
    """Between looking and locking another process may have rotated: then the new file is it."""
    ours, other = (File(path, rotate_bytes=3_000, keep=9) for _ in range(2))
    while path.stat().st_size < 2_500 if path.exists() else True:
        ours(make.batch(readings=5))
    lock = fcntl.flock

    def overtaken(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", lock)
        other(make.batch(readings=5))
        return lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    ours(make.batch(readings=5))
    ours.close()
    other.close()

    assert sorted(p.name for p in path.parent.iterdir()) == ["out.jsonl", "out.jsonl.1"]


def test_a_full_disk_loses_nothing_that_the_buffer_holds(make, path, monkeypatch):
    """The kernel takes part of a line, then nothing; then there is room again."""
    outlet = Outlet("file", open_exporter(f"file://{path}"))
    room = [10, 0]
    write = os.write

    def write_some(descriptor, line):
        if not room:
            return write(descriptor, line)
        size = room.pop(0)
        if not size:
            raise OSError(28, "No space left on device")
        return write(descriptor, line[:size])

    monkeypatch.setattr(os, "write", write_some)
    outlet.offer(make.batch(readings=3))
    for _ in range(3):
        outlet.hurry()
        outlet.deliver()
    outlet.close()
    torn, whole = path.read_bytes().splitlines()

    assert len(torn) == 10
    assert jsonlines.decode(whole) == make.batch(readings=3)
    assert (outlet.delivered, outlet.lost) == (3, {})


def test_a_pipe_that_nobody_reads_may_wait_and_gets_a_thread_of_its_own(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    opened = [open_exporter(f"file://{tmp_path}/{name}") for name in ("pipe", "plain")]

    assert [exporter.waits for exporter in opened] == [True, False]


def test_a_line_that_somebody_tore_takes_no_other_along(make, path):
    """A full disk, a process that was killed: whoever writes next begins a line of its own."""
    path.write_bytes(b'{"nilometer":1,"resour')
    exporter = open_exporter(f"file://{path}")

    exporter(make.batch(readings=1))
    exporter.close()

    torn, whole = path.read_bytes().splitlines()
    assert (torn, jsonlines.decode(whole)) == (
        b'{"nilometer":1,"resour',
        make.batch(readings=1),
    )


def test_nobody_waits_for_who_holds_the_file_and_hangs(make, path):
    exporter = open_exporter(f"file://{path}")
    with path.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        exporter(make.batch(readings=1))

    assert batches_in(path) == [make.batch(readings=1)]
