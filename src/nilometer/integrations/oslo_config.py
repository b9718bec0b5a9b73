"""oslo.config: what a service's files say of us is followed once the service has read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

_patches: Final = Patches()


def install(*, read_options: Callable[[Any], None] = lambda _: None) -> bool:
    """Have ``read_options(conf)`` called for each configuration that is read from now on.

    False if that is done already.
    """
    if _patches.active:
        return False
    from oslo_config.cfg import ConfigOpts

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(conf: Any, *args: Any, **kwargs: Any) -> Any:
            left = original(conf, *args, **kwargs)
            try:
                read_options(conf)
            except Exception as error:  # noqa: BLE001  the service runs on as it is
                what = "what the service's files ask for"
                faults.ours("oslo_config", what, error, REGISTRY, so="is not followed")
            return left

        return read

    _patches.replace(ConfigOpts, "__call__", measured)
    return True


def uninstall() -> None:
    """Leave oslo.config alone again."""
    _patches.undo()
