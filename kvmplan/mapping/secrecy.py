"""Secrecy: known secrets and what looks like one, taken out of texts before anybody sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SENSITIVE = "(sensitive)"

# Shorter values would blank out ordinary words of a sentence wherever they happen to occur.
_SHORTEST = 4

# libvirt leaves these out unless asked for them; a dump that was read in full must not show them.
_XML_SECRET = re.compile(r"""(?i)(\b(?:passwd|password)\s*=\s*)("[^"]*"|'[^']*')""")
_XML_OPTION = re.compile(r"(?i)(\bsecret,(?:[^\s\"'<>]*,)?data=)[^\s,\"'<>]+")


def redact_xml(xml: str) -> str:
    """A document without the passwords that libvirt puts into attributes and QEMU options."""
    xml = _XML_SECRET.sub(rf"\1'{SENSITIVE}'", xml)
    return _XML_OPTION.sub(rf"\1{SENSITIVE}", xml)


@dataclass(frozen=True, slots=True)
class Scrubber:
    """Takes known secrets out of free text: the second net."""

    secrets: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """`text` without any secret."""
        for secret in self.secrets:
            text = text.replace(secret, SENSITIVE)
        return text

    def tree(self, value: Any) -> Any:
        """JSON types, every string of them without any secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.tree(member) for key, member in value.items()}
        return [self.tree(item) for item in value] if isinstance(value, list) else value


def scrubber_of(secrets: Iterable[str]) -> Scrubber:
    """Knows secrets in all their spellings; the longest first, so that none leaves a rest."""
    spelled = {
        form for secret in set(secrets) for form in _spellings(secret) if len(form) >= _SHORTEST
    }
    return Scrubber(tuple(sorted(spelled, key=lambda text: (-len(text), text))))


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it stands, and as XML would hold it in a text or in an attribute."""
    yield secret
    text = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield text
    yield text.replace('"', "&quot;")
    yield text.replace('"', "&quot;").replace("'", "&apos;")
