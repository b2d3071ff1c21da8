"""Commands are values: comparable, and not to be changed by whoever carries them out."""

import pytest

from mcpguard.gate.commands import Append, Close, Finding, Later, Noticed, Write
from mcpguard.model import Side


def test_commands_are_equal_by_what_they_say():
    assert Write(Side.HOST, b"a\n") == Write(Side.HOST, b"a\n") != Write(Side.SERVER, b"a\n")
    assert Append([b"a"]) == Append([b"a"], durable=False) != Append([b"a"], durable=True)
    assert Append([b"a"]) != Later([b"a"])


@pytest.mark.parametrize(
    "command",
    [Write(Side.HOST, b""), Append([]), Later([]), Close("done"), Noticed(()), Finding("tools", "a", "x")],
)
def test_commands_are_frozen(command):
    with pytest.raises(AttributeError):
        setattr(command, command.__struct_fields__[0], None)
