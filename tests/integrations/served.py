"""Real servers, each running the application of a module ``site_app`` in its folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent.parent / "src"

PROGRAMS = {
    "wsgiref": "from wsgiref.simple_server import make_server as m\n"
    "from site_app import application\nm('127.0.0.1', PORT, application).serve_forever()",
    "werkzeug": "from werkzeug.serving import run_simple as r\n"
    "from site_app import application\nr('127.0.0.1', PORT, application, threaded=True)",
    "waitress": "import waitress\n"
    "from site_app import application\nwaitress.serve(application, listen='127.0.0.1:PORT')",
    "eventlet": "import eventlet, eventlet.wsgi\nfrom site_app import application\n"
    "eventlet.wsgi.server(eventlet.listen(('127.0.0.1', PORT)), application)",
    "gevent": "from gevent.pywsgi import WSGIServer as S\n"
    "from site_app import application\nS(('127.0.0.1', PORT), application).serve_forever()",
}
NARROW = {
    "waitress of one": PROGRAMS["waitress"].replace(", listen", ", threads=1, listen"),
    "eventlet of one": PROGRAMS["eventlet"].replace("application)", "application, max_size=1)"),
    "gevent of one": PROGRAMS["gevent"].replace("application)", "application, spawn=1)"),
}
MODULE = "site_app:application"
COMMANDS = {
    "gunicorn sync": ["-m", "gunicorn", "-b", "127.0.0.1:PORT", MODULE],
    "gunicorn gthread": [
        *("-m", "gunicorn", "-b", "127.0.0.1:PORT", "-k", "gthread", "--threads", "2", MODULE),
    ],
    "gunicorn gevent": ["-m", "gunicorn", "-b", "127.0.0.1:PORT", "-k", "gevent", MODULE],
    "gunicorn asgi": ["-m", "gunicorn", "-b", "127.0.0.1:PORT", "-k", "asgi", MODULE],
    "uvicorn": ["-m", "uvicorn", "--port", "PORT", MODULE],
    "uvicorn h11": ["-m", "uvicorn", "--port", "PORT", "--http", "h11", MODULE],
    "uvicorn wsgi": ["-m", "uvicorn", "--port", "PORT", "--interface", "wsgi", MODULE],
}
UWSGI = {
    "uwsgi module": ["--module", MODULE],
    "uwsgi callable": ["--module", "site_app", "--callable", "application"],
    "uwsgi factory": ["--module", "site_app:make()"],
    "uwsgi file": ["--wsgi-file", "site_app.py"],
    "uwsgi master": ["--master", "--processes", "1", "--lazy-apps", "--module", MODULE],
}
IS_ASGI = frozenset({"gunicorn asgi", "uvicorn", "uvicorn h11"})
# uWSGI is a C program built for one Python, which takes a minute: once is enough.
HAS_UWSGI = sys.version_info < (3, 12)
SERVERS = [*PROGRAMS, *COMMANDS, *(UWSGI if HAS_UWSGI else ())]


def command(name, port, folder):
    """What starts this server, on that port of the loopback."""
    if name in UWSGI:
        program = Path(sys.executable).parent / "uwsgi"
        if not program.exists():
            pytest.fail("uwsgi is needed and not installed: pip install uwsgi", pytrace=False)
        options = [
            "--socket-timeout",
            "1",
            "--http-socket",
            f"127.0.0.1:{port}",
            "--die-on-term",
            "--need-app",
        ]
        return [str(program), *options, "--virtualenv", sys.prefix, *UWSGI[name]]
    program = PROGRAMS.get(name) or NARROW.get(name)
    if program is not None:
        (folder / "program.py").write_text(program.replace("PORT", str(port)))
        return [sys.executable, "program.py"]
    return [sys.executable, *(part.replace("PORT", str(port)) for part in COMMANDS[name])]


def start(name, folder, *, port, start_process, site, app, **modules):
    """Start this server: `site` runs first in each process, further modules lie beside."""
    for module, source in {"sitecustomize": site, "site_app": app, **modules}.items():
        (folder / f"{module}.py").write_text(source)
    return start_process(
        command(name, port, folder),
        ready=port,
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{SOURCE}", "PYTHONUNBUFFERED": "1"},
    )
