"""Pages: one text file holding several named texts, in the txtar format (``-- NAME --`` lines)."""

from __future__ import annotations

import re
from pathlib import Path

_MARKER = re.compile(r"^-- (\S+) --$")


class Page:
    """One case: what it is about, what goes in, and what comes out.

    Attributes:
        about: the words above the first section.
        texts: the sections by name, in their order, each ending in a line break.
    """

    def __init__(self, about: str, texts: dict[str, str]) -> None:
        self.about, self.texts = about, texts

    @classmethod
    def read(cls, file: Path) -> Page:
        """Take a page apart. Raises ValueError for a name that is there twice."""
        about, texts, name = "", dict[str, str](), ""
        for line in file.read_text(encoding="utf-8").splitlines():
            found = _MARKER.match(line)
            if found:
                name = found[1]
                if name in texts:
                    raise ValueError(f"{file.name}: section {name} is there twice")
                texts[name] = ""
            elif name:
                texts[name] += f"{line}\n"
            else:
                about += f"{line}\n"
        return cls(about, {name: f"{text.strip()}\n" for name, text in texts.items()})

    def write(self, file: Path) -> None:
        """Put the page together again, a blank line between its sections."""
        sections = [f"-- {name} --\n{text.strip()}\n" for name, text in self.texts.items()]
        file.write_text("\n".join([f"{self.about.strip()}\n", *sections]), encoding="utf-8")

    def below(self, folder: str) -> dict[str, str]:
        """The sections of a folder (``specs``), by the rest of their names."""
        head = f"{folder}/"
        return {n.removeprefix(head): t for n, t in self.texts.items() if n.startswith(head)}
