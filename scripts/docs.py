#!/usr/bin/env python3
"""Write the generated pages and schemas: specs/schema and docs/reference. Same code, same bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kvmplan.address import Kind  # noqa: E402
from kvmplan.kinds import MODELS  # noqa: E402
from kvmplan.kinds.pooltypes import POOL_TYPES, Build, PoolType  # noqa: E402
from kvmplan.mapping.reference import json_schema, reference_page  # noqa: E402


def pages() -> dict[Path, str]:
    """Every generated file below the root, and its text."""
    schema = json_schema({kind.plural: MODELS[kind] for kind in Kind})
    made = {
        Path("specs/schema/kvmplan.schema.json"): json.dumps(schema, indent=2, ensure_ascii=False)
        + "\n"
    }
    for kind in Kind:
        made[Path(f"docs/reference/{kind}.md")] = reference_page(kind, MODELS[kind])
    made[Path("docs/reference/pool-types.md")] = pool_types_page()
    return made


POOL_TYPES_HEAD = """\
# Types of pools

<!-- Made by `make docs` from the table in kvmplan/kinds/pooltypes.py. -->

What a pool of each type needs, and what libvirt can do in it. `validate` and `plan` say what cannot
be (KVP116) before it is tried. The first format is what new volumes have unless they say otherwise.

| type | needs | its source may have | `build: true` | new volumes | copies | bases | resizing |
|---|---|---|---|---|---|---|---|
"""

POOL_TYPES_FOOT = """
*dir* and *netfs* pools are built at birth unless they say `build: false`. Where building formats,
it needs `build: true` and `--allow-data-loss pool.NAME`, and is refused where something is on the
device already. New volumes are sparse where the table says *thin*: nothing is allocated but what
`allocation` says. *dir* pools are tested everywhere, *fs* pools on a loop device; of the others the
definitions are, against libvirt and its schema.
"""


def pool_types_page() -> str:
    """The table of the types of pools."""
    rows = (_pool_type(name, kind) for name, kind in POOL_TYPES.items())
    return POOL_TYPES_HEAD + "".join(rows) + POOL_TYPES_FOOT


def _pool_type(name: str, kind: PoolType) -> str:
    def yes(answer: object) -> str:
        return "yes" if answer else "no"

    built = {Build.DIRECTORY: "its directory", Build.FORMAT: "formats", Build.NOTHING: "–"}
    made = ", ".join(kind.makes) + (" (thin)" if kind.sparse else "")
    cells = [
        name,
        ", ".join(f"`{need}`" for need in kind.needs) or "–",
        ", ".join(f"`{field}`" for field in kind.takes) or "–",
        built[kind.build],
        made if kind.makes else "none",
        yes(kind.clones),
        yes(kind.overlays),
        yes(kind.resizes),
    ]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Write what is not current."""
    for path, text in pages().items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
