"""What specs are read from, as one digest: the same digest, the same specs."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from kvmplan.diagnostics import Diagnostics
from kvmplan.spec.desired import PREFIX, LoadOptions
from kvmplan.spec.files import MAX_BYTES, find, shown, variable_files


def digest_of_inputs(path: Path, options: LoadOptions) -> str | None:
    """The digest of all that the stack at a path is read from, without reading it as YAML.

    It covers every spec and variable file, by name and content, and the variables of the command
    line and the environment; not the files of templates and secrets, which are known only later
    (`Desired.closed`).

    Returns:
        32 hexadecimal digits; None if a file is missing, too large or cannot be read.
    """
    report = Diagnostics()
    layout = find(path, report)
    if layout is None or report.has_errors:
        return None
    found = blake2b(digest_size=16)
    given = sorted((n, v) for n, v in options.environ.items() if n.startswith(PREFIX))
    found.update(repr((str(layout.root), given, options.vars)).encode())
    try:
        for file in (*layout.files, *variable_files(layout), *options.var_files):
            content = file.read_bytes()
            if len(content) > MAX_BYTES:
                return None
            found.update(f"\n{shown(file)} {len(content)}\n".encode())
            found.update(content)
    except OSError:
        return None
    return found.hexdigest()
