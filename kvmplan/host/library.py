"""libvirt-python itself: imported once, quiet, with its event loop running."""

from __future__ import annotations

import threading
import time
from types import ModuleType

from kvmplan.diagnostics import fail

_REMEDY = """\
install libvirt's library and its Python binding:
  apt-get install libvirt-dev pkg-config gcc python3-dev
  pip install libvirt-python"""

_TICK_SECONDS = 0.25

_started = threading.Lock()
_library: ModuleType | None = None


def load() -> ModuleType:
    """Import libvirt; the first call silences its own error output and starts its event loop.

    The loop carries keepalive messages: without it a frozen daemon would hang every call for good.

    Raises:
        Failure: KVP501, the binding is not installed or does not load.
    """
    global _library
    with _started:
        if _library is None:
            _library = _import()
        return _library


def _import() -> ModuleType:
    try:
        import libvirt
    except ImportError as error:
        summary = f"libvirt-python cannot be loaded ({error})"
        raise fail("KVP501", summary, remedy=_REMEDY) from None
    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run, args=(libvirt,), name="libvirt-events", daemon=True).start()
    module: ModuleType = libvirt
    return module


def _run(libvirt: ModuleType) -> None:
    """Run the loop a few times a second instead of waiting inside it.

    Every call on a connection changes what the loop waits for: waiting there, it would be woken
    twice a call, which makes bulk reading half as fast (measured: 60 ms become 95 for a thousand
    documents). Calls under way mind the keepalive themselves; the loop is for the idle ones.
    """
    libvirt.virEventAddTimeout(0, lambda timer, opaque: None, None)
    while True:
        libvirt.virEventRunDefaultImpl()
        time.sleep(_TICK_SECONDS)
