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
    return made


def main() -> None:
    """Write what is not current."""
    for path, text in pages().items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
