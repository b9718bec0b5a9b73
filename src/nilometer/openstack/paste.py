"""Our middleware as a filter of PasteDeploy's pipelines.

    [filter:nilometer]
    use = egg:nilometer#nilometer

Settings may stand in that section, as in ``[nilometer]`` of oslo.config; without any those of
the process hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer import assembly
from nilometer.integrations.wsgi import Middleware

if TYPE_CHECKING:
    from collections.abc import Callable


def filter_factory(
    global_conf: dict[str, str] | None,  # noqa: ARG001  as PasteDeploy calls it
    **local_conf: str,
) -> Callable[[Any], Middleware]:
    """What puts an application into our middleware. Raises ConfigError for a wrong setting."""
    if local_conf:
        assembly.configure(local_conf, origin="[filter:nilometer] {}")

    def filtered(app: Any) -> Middleware:
        return Middleware(app, triggers=assembly.triggers())

    return filtered
