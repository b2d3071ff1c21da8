"""What both halves of a gate do with a line before they differ: decode it, split a batch, refuse what is unfit."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mcpguard.gate.events import TicketSettled
from mcpguard.gate.state import State
from mcpguard.gate.waiting import Held
from mcpguard.model import Json, JsonObject
from mcpguard.protocol import jsonrpc, methods
from mcpguard.protocol.strict import Refused, decode


class Half(ABC):
    """One direction of a connection.

    Attributes:
        strays_are_fatal: Whether a JSON value that is not a message ends the connection: no honest host sends one,
            while servers print numbers.
    """

    __slots__ = ("_state",)

    strays_are_fatal = False

    def __init__(self, state: State) -> None:
        self._state = state

    def line(self, line: bytes) -> None:
        """Judge one line, without its LF."""
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line or line.isspace():
            return
        try:
            value, canonical = decode(line)
            if type(value) is dict:
                self._message(value, line, canonical)
            else:
                self._batch(value, line)
        except Refused as refused:
            self._refuse(refused, line)

    @abstractmethod
    def _message(self, message: JsonObject, line: bytes, canonical: bool) -> None:
        """Judge one message; `canonical`: `line` is our own encoding of it.

        Raises:
            Refused: It is not a message that may pass.
        """

    @abstractmethod
    def _refuse(self, refused: Refused, line: bytes) -> None:
        """Record a message that does not pass, and answer whoever waits."""

    @abstractmethod
    def resume(self, held: Held, event: TicketSettled) -> None:
        """Go on with a request of this side whose ticket was settled."""

    def _batch(self, value: Json, line: bytes) -> None:
        if type(value) is not list:
            raise Refused("a message is a JSON object", fatal=self.strays_are_fatal)
        if self._state.revision != methods.BATCH_REVISION:
            self._refuse_batch(value, f"batches exist in revision {methods.BATCH_REVISION} only", line)
            return
        try:
            elements = jsonrpc.batch_elements(value)
        except Refused as refused:
            self._refuse_batch(value, refused.message, line)
            return
        for element in elements:
            try:
                self._message(element, line, canonical=False)
            except Refused as refused:
                self._refuse(refused, line)

    def _refuse_batch(self, value: list[Json], reason: str, line: bytes) -> None:
        """Refuse every message of a batch once; nested batches are not looked into."""
        for refused in jsonrpc.batch_refusals(value, reason) or [Refused(reason)]:
            self._refuse(refused, line)
