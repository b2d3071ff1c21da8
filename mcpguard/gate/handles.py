"""Handles of secrets: what stands in an argument in the place of a value that the model never sees.

`${secret:NAME}` in a text of the arguments of a tool becomes the value behind the decision: policy, approvals and the
record of the call have seen the handle, and the server gets the value. In what the server says, the value becomes the
handle again (`Veil`).

Rule 1: only a rule that lets the very call pass, and names the secret, has its handle replaced.
Rule 2: what is put in is not looked at again: a value that holds a handle is a value.
Rule 3: a value that cannot be had denies the call; nothing is sent with an empty one.

Cost: a call without the mark pays one search of its line, 0.13 us for 120 bytes (timeit, CPython 3.11, on a busy
2-core virtual machine; `bytes.find`, as `in` costs 1 us there). A connection whose server has secrets pays one search
more for each message of the server: see `Veil`.

Decided:
    *A handle of a secret that exists, and that no rule gives, denies the call*, because the agent meant it and would
    send the handle to somebody who may ask for the value in return. *One of a name that does not exist goes through
    as it is*: it is text, in a manual of this program for example. The difference tells an agent which names exist;
    names are no secrets. Rejected: to deny both, which breaks a server that writes files about handles; to pass both,
    which fails silently at the far end.
    *While policy only watches, nothing is denied*, and a handle that no rule gives goes through as text.
    *Texts of arguments only, not names of members*, since a rule about an argument could not be told of it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from mcpguard import limits
from mcpguard.audit.knownvalues import KnownValues
from mcpguard.credentials.secretref import filled, handles
from mcpguard.errors import SecretError
from mcpguard.model import HANDLE, Decision, Json, JsonObject, Verdict
from mcpguard.protocol.strict import encode

MARK: Final = HANDLE.encode()
"""What a line has in it that holds a handle, unless it is written with escapes."""
_SPOKEN: Final = ("result", "error", "params")


class Filler(Protocol):
    """Gives the values of secrets in the vault to calls."""

    def known(self, name: str) -> bool:
        """Whether there is a secret of this name."""

    def value(self, name: str) -> str:
        """Its value, which is counted as used.

        Raises:
            SecretError: It is locked, expired, not text, or cannot be had.
        """


class Filled(msgspec.Struct, frozen=True):
    """What became of the handles of one call.

    Attributes:
        params: The params with the values; None where nothing was replaced.
        values: The secrets that were put in, by name.
        refusal: Why the call does not pass; empty if it does.
    """

    params: JsonObject | None = None
    values: dict[str, str] = {}
    refusal: str = ""

    def __repr__(self) -> str:
        return f"<Filled {sorted(self.values)}>"


_NOTHING: Final = Filled()


def fill(
    filler: Filler | None, decision: Decision, params: JsonObject | None, *, approved: bool, observing: bool
) -> Filled:
    """Replace the handles in the arguments of a call that passes otherwise, on a copy of its params.

    Args:
        filler: Gives the values; None where handles mean nothing.
        decision: What policy says of the call.
        params: Of the call.
        approved: A person has said yes to it.
        observing: Policy only watches.
    """
    if filler is None or params is None:
        return _NOTHING
    arguments = params.get("arguments")
    found = _names(arguments)
    lets = decision.verdict is Verdict.ALLOW or (decision.verdict is Verdict.ASK and approved)
    given = [name for name in found if lets and name in decision.secrets]
    for name in dict.fromkeys(found) if not observing else ():
        if name not in given and filler.known(name):
            return Filled(
                refusal=f'its arguments ask for the secret "{name}", and no rule that lets it pass gives it one; '
                f'a person can add secrets = ["{name}"] to the rule "{decision.rule}"'
            )
    if len(given) > limits.HANDLES:
        return Filled(
            refusal=f"its arguments have {len(given)} handles of secrets, more than {limits.HANDLES}"
        )
    values = {}
    for name in dict.fromkeys(given):
        try:
            values[name] = filler.value(name)
        except SecretError as error:
            return Filled(refusal=error.sentence())
    if not values:
        return _NOTHING
    return Filled({**params, "arguments": _replaced(arguments, values)}, values)


def _names(value: Json) -> list[str]:
    """The names in all handles, each as often as it is there: values are long, and repeating one is cheap."""
    found: list[str] = []
    todo = [value]
    while todo:
        each = todo.pop()
        if type(each) is str:
            if HANDLE in each:
                found += handles(each)
        elif type(each) is dict:
            todo += each.values()
        elif type(each) is list:
            todo += each
    return found


def _replaced(value: Json, values: dict[str, str]) -> Json:
    """A copy with the values; its depth is bounded by what may be decoded."""
    if type(value) is str:
        return filled(value, values) if HANDLE in value else value
    if type(value) is dict:
        return {key: _replaced(item, values) for key, item in value.items()}
    if type(value) is list:
        return [_replaced(item, values) for item in value]
    return value


class Veil:
    """Hides the secrets that one server has in what it says, in every form that `knownvalues` knows.

    A server that wants to tell a secret can: it writes it in a way of its own. This is against those that repeat what
    they were given, in an error for example.

    Cost: 4.2 us for a message of 220 bytes in our own encoding, 5.5 us for another one (as above).
    """

    __slots__ = ("_known", "_words")

    def __init__(self, given: Mapping[bytes, str] | None = None) -> None:
        self._words: dict[bytes, str] = {}
        self._known = KnownValues()
        for value, word in (given or {}).items():
            self.add(value, word)

    def add(self, value: bytes, word: str) -> None:
        """Hide this value, too, behind a word."""
        if value in self._words:
            return
        pieces = [
            value[at : at + limits.KNOWN_SECRET_BYTES]
            for at in range(0, len(value), limits.KNOWN_SECRET_BYTES)
        ]
        self._words |= dict.fromkeys(pieces, word)
        self._known.learn(pieces)

    def untouched(self, message: JsonObject, line: bytes) -> bool:
        """Whether a message of the server holds none; if it does, words stand there now.

        `line` is the message in our own encoding; empty if it came in another one.
        """
        if not self._known.find(line or encode(message)):
            return True
        for member in _SPOKEN:
            if member in message:
                message[member] = self._hidden(message[member])
        return False

    def _hidden(self, value: Json) -> Json:
        if type(value) is str:
            return self._text(value)
        if type(value) is dict:
            return {self._text(key): self._hidden(item) for key, item in value.items()}
        if type(value) is list:
            return [self._hidden(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        parts, past = [], 0
        for start, end, value in sorted(self._known.find(data), key=lambda hit: (hit.start, -hit.end)):
            if start >= past:
                parts += [data[past:start], self._words[value].encode()]
                past = end
        return b"".join([*parts, data[past:]]).decode("utf-8", "replace") if parts else text
