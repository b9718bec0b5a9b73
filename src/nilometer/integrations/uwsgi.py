"""uWSGI, which runs Python inside itself and takes the application out of a module by name.

It gets there in two ways, and neither passes a place of Python's that could be replaced for
good. A module named in its options is imported: we wait for that. A file is compiled and run by
the interpreter's C function, which first lets importlib fix up the new module's names: there we
watch until the file's own frame returns, and put the application into our middleware before
uWSGI looks for it.
"""

from __future__ import annotations

import importlib._bootstrap_external as bootstrap
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.http_meters import server_instruments
from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Serving, within
from nilometer.integrations.serving import Load
from nilometer.integrations.uwsgi_process import is_here
from nilometer.integrations.wsgi import Middleware
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from types import FrameType

    from nilometer.trace.trigger import Triggers

FILE_PREFIX: Final = "uwsgi_file_"
"""How uWSGI names the module that it makes of a file."""

MODULE_OPTIONS: Final = ("module", "wsgi", "mount")
CALLABLE_DEFAULT: Final = "application"


def options(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Modules and the names of the applications in them, as uWSGI's options say.

    >>> list(options({"module": b"orders.web:app", "mount": [b"/x=old", b"/y=file.py"]}))
    [('orders.web', 'app'), ('old', 'application')]
    """
    for option in MODULE_OPTIONS:
        values = given.get(option, ())
        for value in values if isinstance(values, list) else [values] if values else ():
            text = value.decode() if isinstance(value, bytes) else str(value)
            module, _, name = text.rpartition("=")[2].partition(":")
            if not module.endswith((".py", ".wsgi")):
                yield module, name or callable_name(given)


def callable_name(given: dict[str, Any]) -> str:
    """What the application is called where no module says it.

    >>> callable_name({"callable": b"app"}), callable_name({})
    ('app', 'application')
    """
    value = given.get("callable", CALLABLE_DEFAULT)
    return value.decode() if isinstance(value, bytes) else str(value)


class Embedded:
    """The integration while this process is a uWSGI."""

    def __init__(
        self,
        triggers: Triggers | None,
        watch_forks: Callable[[], None] | None,
        flush: Callable[[], object] | None,
    ) -> None:
        self._triggers = triggers
        self._watch_forks = watch_forks or (lambda: None)
        self._flush = flush
        self._patches = Patches()
        self._serving = Serving("uwsgi", _load)
        self._names: dict[str, str] = {}
        self._arrivals = Arrivals(self._imported)

    def begin(self) -> None:
        """Wait for the application, on both ways."""
        self._watch_forks()
        self._patches.replace(bootstrap, "_fix_up_module", self._fixing_up)
        sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Wait no more; requests to what is served already stay measured."""
        self._serving.end()
        self._patches.undo()
        self._arrivals.end()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Asked by every import until uWSGI's own module is there, with its options."""
        uwsgi: Any = sys.modules.get("uwsgi")
        if uwsgi is None:
            return None
        sys.meta_path.remove(self)
        self._watch_forks()
        self._names = dict(options(uwsgi.opt))
        self._arrivals.expect(self._names)
        return self._arrivals.find_spec(name, path, target)

    def _imported(self, name: str) -> None:
        self._wrap(vars(sys.modules[name]), self._names[name])

    def _fixing_up(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def fix_up(namespace: dict[str, Any], name: str, *rest: Any) -> Any:
            result = original(namespace, name, *rest)
            if name.startswith(FILE_PREFIX):
                self._watch(namespace)
            return result

        return fix_up

    def _watch(self, namespace: dict[str, Any]) -> None:
        previous = sys.getprofile()

        def returned(frame: FrameType, event: str, _value: Any) -> None:
            if event == "return" and frame.f_globals is namespace:
                if frame.f_code.co_name != "<module>":
                    return
                sys.setprofile(previous)
                uwsgi: Any = sys.modules.get("uwsgi")
                self._wrap(namespace, callable_name(getattr(uwsgi, "opt", {})))

        sys.setprofile(returned)

    def _wrap(self, namespace: dict[str, Any], name: str) -> None:
        """Put the application of that name, or what its factory ``name()`` makes, into ours."""
        if not self._patches.active:  # the application has read that we leave it alone
            return
        self._watch_forks()  # again: uWSGI's own decorators take its hook for themselves
        self._report()
        is_factory = name.endswith("()")
        name = name.removesuffix("()")
        found = namespace.get(name)
        if not callable(found):
            return
        self._serving.begin(self)
        if isinstance(found, Middleware):
            return
        if is_factory:
            make = found
            namespace[name] = lambda: within(Middleware, make(), self._triggers, "uwsgi")
        else:
            namespace[name] = within(Middleware, found, self._triggers, "uwsgi")

    def _report(self) -> None:
        """Send what was measured while the application was loaded.

        The master does little else in Python, and ends without ending Python: nobody asks for
        its last readings. It is waited for, a moment at most, as uWSGI forks next, and a child
        forked in the midst of an import of our thread's would wait for that import for ever.
        """
        with suppress(Exception):  # what could not be sent is counted there, or sent later
            if self._flush is not None:
                self._flush()


def _load(_embedded: Embedded) -> Load:
    """The cores (threads, greenlets) of this worker; the master serves nothing."""
    uwsgi: Any = sys.modules["uwsgi"]
    if uwsgi.worker_id() == 0:
        return Load()
    used = server_instruments(REGISTRY).in_flight()
    return Load(used, max(0, uwsgi.cores - used))


_embedded: Embedded | None = None


def install(
    *,
    triggers: Triggers | None = None,
    watch_forks: Callable[[], None] | None = None,
    flush: Callable[[], object] | None = None,
) -> bool:
    """Wait for the application if this process is a uWSGI; False if not, or already done.

    `watch_forks` sees to it that we are told of uWSGI's forks, once its module is there;
    `flush` sends what is measured so far.
    """
    global _embedded
    if _embedded is not None or not is_here():
        return False
    _embedded = Embedded(triggers, watch_forks, flush)
    _embedded.begin()
    return True


def uninstall() -> None:
    """Wait no more; what is served already stays measured."""
    global _embedded
    if _embedded is not None:
        _embedded.end()
        _embedded = None
