"""OSProfiler's middleware and headers on ours: any header it may be sent is served."""

from __future__ import annotations

from functools import wraps
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import ConfigError
from nilometer.integrations.http_client import hand_out
from nilometer.integrations.osprofiler.group import accepted, split
from nilometer.integrations.osprofiler.points import Verified
from nilometer.integrations.wsgi import Middleware
from nilometer.measure import REGISTRY
from nilometer.trace import Trace, headers
from nilometer.trace.signing import sign_osprofiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

log = getLogger("nilometer")


READY: Final = "_nilometer"


class Ready(NamedTuple):
    """What serves in the place of one of OSProfiler's middlewares, and what it was made of."""

    app: Any
    keys: Any
    named: Any
    middleware: Middleware


class Keyring:
    """The keys that the service's own use of OSProfiler names, beside those configured."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers
        self.named: dict[str, None] = {}  # in their order, each once; another one once off
        self._is_told = False

    def __contains__(self, key: str) -> bool:
        return key in self.named

    def add(self, keys: Iterable[str]) -> None:
        """From now on these may sign, too; even where none is left, nobody is believed.

        What cannot be a key is said, once.
        """
        fresh = [key for key in keys if key not in self.named]
        if not fresh and self._is_told:
            return
        self.named |= dict.fromkeys(fresh)
        self._tell(fresh)

    def turn_off(self) -> None:
        """Forget them: until another is added only those configured may sign."""
        self.named, self._is_told = {}, False
        self._triggers.trust([])

    def _tell(self, fresh: list[str]) -> None:
        self._is_told = True
        try:
            self._triggers.trust(list(self.named), origin="[profiler] hmac_keys")
        except ConfigError as fault:
            for key in fresh:
                del self.named[key]
            REGISTRY.lost("keys", fault.slug, len(fresh))
            log.warning("%s", fault)


class Web:
    """What takes the place of the functions of ``osprofiler.web``."""

    def __init__(
        self, module: ModuleType, points: Any, keyring: Keyring, registry: Registry
    ) -> None:
        self._module: Any = module
        self._points = points
        self._keyring = keyring
        self._registry = registry

    def enabling(self, original: Callable[..., None]) -> Callable[..., None]:
        """`enable`, which does not take OSProfiler's default for a key."""

        @wraps(original)
        def enable(hmac_keys: str | None = None) -> None:
            keys = split(hmac_keys or "")
            if any(key not in self._keyring for key in keys):
                keys = accepted(keys)
            original(",".join(keys))
            self._keyring.add(keys)

        return enable

    def disabling(self, original: Callable[[], None]) -> Callable[[], None]:
        """`disable`, after which the keys of `enable` are nobody's."""

        @wraps(original)
        def disable() -> None:
            original()
            self._keyring.turn_off()

        return disable

    def get_trace_id_headers(self) -> dict[str, str]:
        """What to send on with a request, signed; nothing outside a traced one.

        Nobody says for whom: what sends the request judges that.
        """
        there = self._module.profiler.get()
        request = getattr(there, "request", None)
        if not isinstance(request, Trace) or request.signer.key is None:
            return {}
        if not request.signer.osprofiler:
            return hand_out(headers())  # the operator turned OSProfiler's form off
        signed = sign_osprofiler(there.get_base_id(), there.get_id(), request.signer.key)
        module = self._module
        names = (module.X_TRACE_INFO, module.X_TRACE_HMAC)
        return hand_out(dict(zip(names, signed, strict=True)))

    def serving(self, _: Any) -> Callable[..., Any]:
        """The middleware's ``__call__``: by WSGI, or with a request of webob's."""
        module, prepared, by_request = self._module, self._prepared, self._by_request
        keyring = self._keyring

        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if len(args) == 1 and not isinstance(args[0], dict):
                return by_request(self, args[0])
            everywhere = module._ENABLED
            if not (self.enabled if everywhere is None else everywhere):
                return self.application(*args, **kwargs)
            ready = vars(self).get(READY)
            if (
                ready is None
                or ready.app is not self.application
                or ready.keys is not (module._HMAC_KEYS or self.hmac_keys)
                or ready.named is not keyring.named
            ):
                ready = prepared(self)
            return ready.middleware(*args, **kwargs)

        return __call__

    def _prepared(self, middleware: Any) -> Ready:
        """Our middleware in the place of theirs; it sees whether another of ours is outside."""
        keys = self._module._HMAC_KEYS or middleware.hmac_keys
        self._keyring.add(keys)
        ours = Middleware(
            middleware.application, triggers=self._points.triggers, registry=self._registry
        )
        ready = Ready(middleware.application, keys, self._keyring.named, ours)
        setattr(middleware, READY, ready)
        return ready

    def _is_on(self, middleware: Any) -> bool:
        """As OSProfiler has it: one switch for all, and where it was not set, each its own."""
        everywhere = self._module._ENABLED
        if not (middleware.enabled if everywhere is None else everywhere):
            return False
        self._keyring.add(self._module._HMAC_KEYS or middleware.hmac_keys)
        return True

    def _by_request(self, middleware: Any, request: Any) -> Any:
        module, app = self._module, middleware.application
        if not self._is_on(middleware) or not self._points.triggers.osprofiler:
            return request.get_response(app)
        told = module.utils.signed_unpack(
            request.headers.get(module.X_TRACE_INFO),
            request.headers.get(module.X_TRACE_HMAC),
            module._HMAC_KEYS or middleware.hmac_keys,
        )
        if not middleware._trace_is_valid(told):
            return request.get_response(app)
        module.profiler.init(
            hmac_key=Verified(told["hmac_key"]),
            base_id=told.get("base_id"),
            parent_id=told.get("parent_id"),
        )
        info = {
            "path": request.path,
            "query": request.query_string,
            "method": request.method,
            "scheme": request.scheme,
        }
        try:
            with module.profiler.Trace(middleware.name, info={"request": info}):
                return request.get_response(app)
        finally:
            module.profiler.clean()


def unpacking(original: Callable[..., Any]) -> Callable[..., Any]:
    """`signed_unpack`, for which what is not ASCII is no signature rather than an error."""

    @wraps(original)
    def signed_unpack(data: Any, hmac_data: Any, hmac_keys: Any) -> Any:
        if isinstance(hmac_data, str) and not hmac_data.isascii():
            return None
        if isinstance(data, str) and not data.isascii():
            return None
        return original(data, hmac_data, hmac_keys)

    return signed_unpack
