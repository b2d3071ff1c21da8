"""Calls that ask back: `input_required` and the retries it leads to (revision 2026-07-28, MRTR).

Rule 1: a retry repeats method, target and arguments exactly, or it is another call and may not carry the state.
Rule 2: a `requestState` is honoured only if this server gave it on this connection for that very call.
Rule 3: every embedded request is judged like one on the wire.
Rule 4: a call that a person approved and that asked back is the approved one still: one retry of it, with exactly the
state that the server gave, needs no second approval, as long as the policy is the same.
"""

from __future__ import annotations

from hashlib import blake2b

from mcpguard import limits
from mcpguard.gate.bounded import remember
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.methods import EMBEDDED
from mcpguard.protocol.strict import Refused, encode_raw


def binding(method: str, target: str, params: JsonObject) -> bytes:
    """What a retry must repeat: a digest of method, target and arguments."""
    return blake2b(encode_raw([method, target, params.get("arguments")]), digest_size=16).digest()


class Rounds:
    """The states handed out on one connection, and how often each call has asked back."""

    __slots__ = ("_approved", "_asked", "_states")

    def __init__(self) -> None:
        self._approved: dict[bytes, tuple[str, str, Json]] = {}
        self._states: dict[tuple[str, bytes], None] = {}
        self._asked: dict[bytes, int] = {}

    def admit(self, bound: bytes, params: JsonObject) -> None:
        """Check a request that may be a retry; one that is none starts counting afresh.

        Raises:
            Refused: Its `requestState` was not given for this call, or a member has the wrong type.
        """
        responses = params.get("inputResponses")
        if responses is not None and type(responses) is not dict:
            raise Refused("inputResponses is not an object")
        if "requestState" not in params:
            if responses is None:
                self.completed(bound)
            return
        state = params["requestState"]
        if type(state) is not str or (state, bound) not in self._states:
            raise Refused("requestState was not given by this server for this call")

    def approved(self, bound: bytes, ticket: str, policy: str, result: JsonObject) -> None:
        """A call that was approved by a ticket asks back."""
        remember(self._approved, bound, (ticket, policy, result.get("requestState")), limits.STATES)

    def continued(self, bound: bytes, policy: str, params: JsonObject) -> str:
        """The ticket by which a retry is approved already; the empty string if it is not. Once for each round."""
        if "inputResponses" not in params and "requestState" not in params:
            return ""
        ticket, under, state = self._approved.pop(bound, ("", "", None))
        return ticket if under == policy and state == params.get("requestState") else ""

    def asked(self, bound: bytes, result: JsonObject, capabilities: JsonObject) -> str:
        """Note an `input_required` result; the fault that withholds it, or the empty string.

        Not here: whether policy permits the embedded requests.
        """
        requests = result.get("inputRequests")
        state = result.get("requestState")
        if requests is None and state is None:
            return "input_required names neither inputRequests nor requestState"
        if fault := requests_fault(requests, capabilities):
            return fault
        if state is not None and (type(state) is not str or len(state) > limits.KIB * 64):
            return "requestState is not a string of reasonable length"
        rounds = self._asked.get(bound, 0) + 1
        if rounds > limits.ROUNDS:
            return f"the server asked back more than {limits.ROUNDS} times for one call"
        remember(self._asked, bound, rounds, limits.STATES)
        if state is not None:
            remember(self._states, (state, bound), None, limits.STATES)
        return ""

    def completed(self, bound: bytes) -> None:
        """The call ended; another one like it starts counting afresh."""
        self._asked.pop(bound, None)
        self._approved.pop(bound, None)


def requests_fault(requests: Json, capabilities: JsonObject) -> str:
    """Why embedded requests are not what a client with these capabilities may be sent, or the empty string."""
    if requests is None:
        return ""
    if type(requests) is not dict:
        return "inputRequests is not an object"
    for request in requests.values():
        name = request.get("method") if type(request) is dict else None
        method = EMBEDDED.get(name) if type(name) is str else None
        if method is None:
            return "an embedded request other than elicitation, sampling and roots"
        if method.needs not in capabilities:
            return f"the client did not declare {method.needs}"
        if type(request.get("params", {})) is not dict:
            return "params of an embedded request is not an object"
    return ""
