"""libvirt is imported when a connection is opened, and no sooner; a missing one has a remedy."""

import subprocess
import sys

_LAZY = """
import sys
import kvmplan.host
assert "libvirt" not in sys.modules
from kvmplan.host import diagnose, examine, open_host, open_hosts
assert callable(diagnose) and callable(examine)
assert "libvirt" not in sys.modules
"""

_MISSING = """
import sys
sys.modules["libvirt"] = None
from kvmplan.diagnostics import Failure
from kvmplan.host import examine, open_host, open_hosts
for attempt in (lambda: open_host(), lambda: open_hosts({"a": "test:///default"})):
    try:
        attempt()
    except Failure as failure:
        (found,) = failure.diagnostics
        assert found.code == "KVP501"
        assert len(found.remedy.splitlines()) == 3
        assert "apt-get install" in found.remedy and "pip install" in found.remedy
    else:
        raise AssertionError("opened without libvirt")
assert any(f.layer == "libvirt" and f.ok is False for f in examine("qemu:///system"))
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_libvirt_is_imported_late() -> None:
    run(_LAZY)


def test_without_libvirt_there_is_a_remedy_of_three_lines() -> None:
    run(_MISSING)
