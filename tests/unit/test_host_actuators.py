"""The registry of actuators is complete and agrees with what the verbs document."""

import inspect
import re
from pathlib import Path

import pytest

from kvmplan.host.actuators import ACTUATORS
from kvmplan.kinds import verbs
from kvmplan.kinds.verbs import Verb

_MEMBER = re.compile(r'^    [A-Z_]+ = "([a-z-]+)"\n    """(.*?)"""', re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"``(\w+)``")


def documented() -> dict[Verb, set[str]]:
    text = Path(verbs.__file__).read_text()
    return {Verb(name): set(_ARGUMENT.findall(doc)) for name, doc in _MEMBER.findall(text)}


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_has_an_actuator_with_the_arguments_it_documents(verb: Verb) -> None:
    parameters = inspect.signature(ACTUATORS[verb]).parameters.values()
    named = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert named == documented()[verb]
