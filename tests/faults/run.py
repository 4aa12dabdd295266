"""kvmplan with a fault: ``python -m tests.faults.run KIND N -- ARGUMENTS``.

``python -m tests.faults.run serve`` reads requests, one JSON object a line, and makes each run in
a fork of itself, where everything is imported already; it answers with the exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import kvmplan
import kvmplan.cli
from tests.faults.injector import Fault, inject


def main(arguments: list[str]) -> int:
    """Run once, or serve."""
    if arguments == ["serve"]:
        _serve()
        return 0
    kind, at, _, *command = arguments
    # As in a terminal, even where the tests themselves were started by nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    inject(Fault(kind, int(at)), Path(os.devnull))
    return kvmplan.cli.run(command)


def _serve() -> None:
    for module in pkgutil.walk_packages(kvmplan.__path__, "kvmplan."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, Any]) -> None:
    """Run the request in this process, and end."""
    code = 99
    try:
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        inject(Fault(**request["fault"]), Path(request["log"]))
        code = int(kvmplan.cli.run(request["command"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
