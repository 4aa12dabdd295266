"""Mutations of seeds, for hypothesis."""

from __future__ import annotations

from functools import partial
from operator import mul

from hypothesis import strategies as st

WORDS = """
    {{ }} {% %} <<: *a &a !secret !default !raw null true -1 1e999 .inf ä ' [ ] { } : - # | > ../
    <a/> </ <!--x--> <![CDATA[x]]> &amp; &x; <!DOCTYPE for_each each.key var.x ** ~ |join |list
    range(99999) 9999999999999999999999 /dev/zero 20GiB
"""
TOKENS = (*WORDS.split(), "\n", "\t", '"', "' ", " ", "\n\n  ", "\ufeff", "\x00", "\u2028")


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with up to four edits: a part cut, doubled, moved, or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 1, 2, 8, 64, 512))))
        part = data[start:end]
        new = draw(
            st.one_of(
                st.sampled_from(TOKENS).map(str.encode),
                st.binary(max_size=6),
                st.just(b""),
                st.sampled_from((2, 3, 200)).map(partial(mul, part)),
                st.just(part[::-1]),
            )
        )
        data = data[:start] + new + data[end:]
    return data
