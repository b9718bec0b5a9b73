"""A real carbon for the tests, and what it wrote, read by whisper itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CARBON = ROOT / ".cache" / "carbon" / "bin"


class Carbon(NamedTuple):
    """carbon-cache on free ports, and the folder of its whisper files."""

    port: int
    pickle_port: int
    whisper: Path


@pytest.fixture
def carbon(tmp_path, free_port, start_process) -> Carbon:
    """carbon-cache, which keeps one value a second."""
    if not (CARBON / "carbon-cache.py").exists():
        pytest.fail("carbon is not installed: run scripts/install-carbon", pytrace=False)
    running = Carbon(free_port(), free_port(), tmp_path / "storage" / "whisper")
    conf = tmp_path / "conf"
    for folder in (conf, tmp_path / "storage" / "log", running.whisper):
        folder.mkdir(parents=True)
    settings = {
        "LINE_RECEIVER_INTERFACE": "127.0.0.1",
        "LINE_RECEIVER_PORT": running.port,
        "PICKLE_RECEIVER_INTERFACE": "127.0.0.1",
        "PICKLE_RECEIVER_PORT": running.pickle_port,
        "CACHE_QUERY_INTERFACE": "127.0.0.1",
        "CACHE_QUERY_PORT": free_port(),
        "LOCAL_DATA_DIR": running.whisper,
        "STORAGE_DIR": tmp_path / "storage",
        "LOG_DIR": tmp_path / "storage" / "log",
        "MAX_CREATES_PER_MINUTE": "inf",
        "MAX_UPDATES_PER_SECOND": "inf",
        "ENABLE_TAGS": False,  # telling graphite-web of them, which is not here
        "TAG_HASH_FILENAMES": False,
    }
    lines = ["[cache]", *(f"{name} = {value}" for name, value in settings.items())]
    (conf / "carbon.conf").write_text("\n".join(lines) + "\n")
    (conf / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
    start_process(
        [CARBON / "python", CARBON / "carbon-cache.py", f"--config={conf / 'carbon.conf'}",
         "--nodaemon", "start"],
        ready=running.port,
        env={"GRAPHITE_ROOT": str(tmp_path)},
    )  # fmt: skip
    return running


def written(folder: Path) -> dict[str, list[float]]:
    """Every value of every whisper file, oldest first, read by whisper itself."""
    program = (
        "import json, pathlib, sys, time, whisper\n"
        "root, found = pathlib.Path(sys.argv[1]), {}\n"
        "for file in root.rglob('*.wsp'):\n"
        "    _, values = whisper.fetch(str(file), 0, time.time() + 60)\n"
        "    name = '.'.join(file.relative_to(root).with_suffix('').parts)\n"
        "    found[name] = [value for value in values if value is not None]\n"
        "print(json.dumps(found))"
    )
    told = subprocess.run(
        [CARBON / "python", "-c", program, folder], capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)
