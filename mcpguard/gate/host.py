"""Messages from the host: the half of the gate that decides what a server gets to see.

Rule 1: nothing is forwarded before it is judged, from the first byte, handshake or not.
Rule 2: what is forwarded is our encoding of what was judged, under our own ids.
Rule 3: a request that is not forwarded is answered, once, if it has an id that can be read.

Cost of an allowed `tools/call` of 112 bytes: see tests/bench/micro.py, which prints it.
"""

from __future__ import annotations

from typing import Final

from mcpguard import limits
from mcpguard.approvals.ticket import Grant
from mcpguard.audit import record
from mcpguard.gate import asking, handles, inband, refusals, revival, rounds, subscriptions
from mcpguard.gate.events import TicketSettled
from mcpguard.gate.half import Half
from mcpguard.gate.handles import MARK
from mcpguard.gate.ledger import Ruling
from mcpguard.gate.pending import Call
from mcpguard.gate.state import State
from mcpguard.gate.waiting import Held
from mcpguard.model import Era, Json, JsonObject, MessageId, Side, Verdict
from mcpguard.protocol import jsonrpc, meta, methods, views
from mcpguard.protocol.jsonrpc import Shape
from mcpguard.protocol.methods import Kind, Method
from mcpguard.protocol.strict import Refused, encode, encode_raw
from mcpguard.protocol.uri import normalise

SPLICE_BYTES: Final = 2048
"""From this size on, a line that is already our own encoding gets its id exchanged instead of being encoded
again; below, encoding is as fast."""

_BACKSLASH: Final = 0x5C
"""Looked for as a number: `in` with bytes raises and catches an error inside CPython, which costs a microsecond."""
_REQUEST: Final = Shape.REQUEST
_TOOL: Final = Kind.TOOL
_MODERN: Final = Era.MODERN
_SERVER: Final = Side.SERVER
_CAPABILITY_OF: Final = {
    "sampling": "sampling/createMessage",
    "elicitation": "elicitation/create",
    "roots": "roots/list",
}


class HostSide(Half):
    """Judges lines from the host."""

    __slots__ = ("_marked",)

    strays_are_fatal = True

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._marked = False

    def _refuse(self, refused: Refused, line: bytes) -> None:
        state = self._state
        state.drop(Side.HOST, refused.message, len(line))
        if refused.ident is not None:
            state.out.to_host.append(refusals.invalid(refused.ident, refused.message))
        elif (ask := state.asks.take(refused.settles)) is not None:
            state.out.to_server.append(refusals.answer(ask.ident, refused.message, Side.HOST))
            state.out.later.append(state.ledger.settled(ask, b"refused", state.now, 0))
        if refused.fatal:
            state.out.closing = f"the host sent a line that is {refused.message}"

    def _message(self, message: JsonObject, line: bytes, canonical: bool) -> None:
        members = len(message)
        shape = jsonrpc.shape(message)
        if shape is _REQUEST:
            self._marked = line.find(MARK) >= 0 or (not canonical and _BACKSLASH in line)
            self._request(message, line if canonical and len(message) == members else b"")
        elif shape is Shape.NOTIFICATION:
            self._notification(message, len(line))
        else:
            self._answer(message, shape, len(line))

    # --- requests ------------------------------------------------------------------------------------------

    def _request(self, message: JsonObject, line: bytes) -> None:
        state = self._state
        ident: MessageId = message["id"]
        name: str = message["method"]
        params: JsonObject | None = message.get("params")
        try:
            if params is not None:
                views.check_params(params)
            if state.calls.taken(ident) or state.waiting.taken(Side.HOST, ident):
                raise Refused("this id is in flight already")
            self._admit_era(ident, name, params)
        except _AnsweredError:
            return
        except Refused as refused:
            raise Refused(refused.message, ident=ident) from None
        method = state.methods.get(name)
        if method is None:
            self._no_such_method(ident, name)
            return
        try:
            self._judge(message, method, line)
        except Refused as refused:
            self._invalid(ident, refused.message, name)

    def _no_such_method(self, ident: MessageId, name: str) -> None:
        state = self._state
        why = "in this direction or revision" if name in methods.ANY_METHOD else "that mcpguard knows"
        state.out.to_host.append(jsonrpc.error_line(ident, jsonrpc.METHOD_NOT_FOUND, f"no such method {why}"))
        state.counts["denied"] += 1
        ruling = state.ledger.unknown(name[: limits.NAME_CHARS])
        state.out.records.append(state.ledger.decided(0, ruling.tail, None))

    def _invalid(self, ident: MessageId, reason: str, name: str) -> None:
        state = self._state
        state.drop(Side.HOST, f"{name}: {reason}", 0)
        state.out.to_host.append(
            jsonrpc.error_line(ident, jsonrpc.INVALID_PARAMS, f"mcpguard refused this request: {reason}")
        )

    def _judge(self, message: JsonObject, method: Method, line: bytes) -> None:
        """Decide a request of a known method and forward or refuse it.

        Raises:
            Refused: Its params are not what the method needs.
        """
        state = self._state
        params: JsonObject | None = message.get("params")
        target, ruling, edited = self._ruled(method, params)
        edited = edited or not line
        call = Call(message["id"], method, target, ruling.outcome, state.now)
        call.marked = self._marked
        if method.kind is Kind.TASK and params is not None and type(params.get("taskId")) is str:
            call.maker = state.tasks.get(params["taskId"])
        if not (ruling.allowed or ruling.asks):
            self._deny(call, ruling, params)
            return
        if params is not None and ("_meta" in params or state.era is _MODERN):
            edited = self._prepare(call, params) or edited
        kind = method.kind
        if kind is _TOOL:
            call.augmented = params is not None and "task" in params
            if fault := self._misfit(call, params):
                misfit = refusals.Misfit(Verdict.DENY, "schema", fault, "manifest")
                self._deny(call, state.ledger.denied(method.name, target, misfit), params)
                return
        elif kind is Kind.LIST:
            call.listing, turned = state.listing.request(method, params)
            edited = edited or turned
        elif kind is Kind.LISTEN and self._listen(call, params or {}):
            return
        elif kind is Kind.HANDSHAKE and state.era is Era.LEGACY:
            self._initialize(params or {})
            edited = True
        self._forward(message, call, ruling, b"" if edited else line)

    def _ruled(self, method: Method, params: JsonObject | None) -> tuple[str, Ruling, bool]:
        """What a request is about, what is decided of it, and whether its params were edited for that.

        Raises:
            Refused: Its params do not say what it is about.
        """
        ledger, name = self._state.ledger, method.name
        if method.kind is _TOOL:
            if params is None:
                raise Refused("tools/call needs params")
            target = views.tool_name(params, ledger.tools)
            ruling = ledger.tool(target)
            if ruling.decision.depends:
                ruling = ledger.judged(name, target, params.get("arguments"), self._state.now)
            return target, ruling, False
        if method.kind is not Kind.GATED:
            if method.kind is Kind.TASK:
                self._task(name, params)
            return "", self._unless_denied(name, params), False
        target = views.target(name, params or {})
        if not ledger.snapshot.method(name).depends:
            return target, ledger.method(name, target), False
        judged, edited = self._normal(name, target, params)
        return judged, ledger.judged(name, judged, params, self._state.now), edited

    def _unless_denied(self, name: str, params: JsonObject | None) -> Ruling:
        ledger = self._state.ledger
        ruling = ledger.unless_denied(name)
        return ledger.judged(name, "", params, self._state.now) if ruling.decision.depends else ruling

    def _normal(self, name: str, target: str, params: JsonObject | None) -> tuple[str, bool]:
        """The target in the one form that patterns speak of, put into the request; where policy binds."""
        if not name.startswith("resources/") or params is None or self._state.ledger.observing:
            return target, False
        judged = normalise(target)
        params["uri"] = judged
        return judged, judged != target

    def _misfit(self, call: Call, params: JsonObject | None) -> str:
        """Why arguments are not what the pinned definition of the tool takes; empty if they are."""
        state = self._state
        schemas = state.shared.schemas
        if schemas is None or not state.ledger.snapshot.schemas or params is None:
            return ""
        return schemas.arguments_fault(call.target, params.get("arguments") or {})

    def _forward(self, message: JsonObject, call: Call, ruling: Ruling, line: bytes) -> None:
        """Send a request on; where policy asks, only if a person has said yes."""
        state = self._state
        out = state.out
        params: Json = message.get("params")
        tail = ruling.tail
        if ruling.asks:
            ticket = self._permitted(message, call, ruling)
            if not ticket:
                return
            call.approval = ticket
            tail = record.approved(tail, ticket)
            out.durable = out.recheck = True
        if call.marked and call.method.kind is _TOOL:
            filled = handles.fill(
                state.shared.filler, ruling.decision, params,
                approved=bool(call.approval), observing=state.ledger.observing,
            )  # fmt: skip
            if filled.refusal:
                self._unfilled(call, ruling, filled.refusal, params)
                return
            if filled.params is not None:
                message, line = {**message, "params": filled.params}, b""
                for name, value in filled.values.items():
                    state.hide(name, value)
                    out.records.append(state.ledger.filled(name, call))
        number = state.calls.add(call)
        if call.method.name in revival.LASTING:
            revival.note(state, call.method.name, params)
        part = _judged_part(call, params)
        kept = self._kept(call, part) if ruling.decision.recorded else b""
        out.records.append(state.ledger.decided(number, tail, part, kept))
        if ruling.decision.durable:
            out.durable = True
        if ruling.decision.recheck:
            out.recheck = True
        state.counts["allowed"] += 1
        state.forwarded(call, ruling.decision)
        if call.token is not None:
            params["_meta"]["progressToken"] = number
            line = b""
        out.guard(_SERVER, number, renumbered(message, number, line))

    def _kept(self, call: Call, value: Json) -> bytes:
        """The arguments of a request, sealed for its record."""
        shared = self._state.shared
        if shared.keep is None or value is None:
            return b""
        schemas = shared.schemas if call.method.kind is _TOOL else None
        return shared.keep(value, schemas.marks(call.target) if schemas is not None else None)

    def _permitted(self, message: JsonObject, call: Call, ruling: Ruling) -> str:
        """The ticket by which a person permits a request; empty if it waits, or was denied here."""
        state = self._state
        if call.approval:
            return call.approval
        held = Held(Side.HOST, message, call, "")
        answer = asking.approve(state, held, ruling)
        if isinstance(answer, Grant):
            return answer.ticket
        if answer is not None:
            self._unapproved(call, ruling, answer, message.get("params"))
        return ""

    def _unfilled(self, call: Call, ruling: Ruling, reason: str, params: JsonObject | None) -> None:
        decision = ruling.decision
        unfilled = refusals.Unfilled(Verdict.DENY, "secrets", reason, decision.origin)
        self._deny(call, self._state.ledger.denied(call.method.name, call.target, unfilled), params)

    def _unapproved(self, call: Call, ruling: Ruling, reason: str, params: JsonObject | None) -> None:
        decision = ruling.decision
        unapproved = refusals.Unapproved(Verdict.DENY, decision.rule, reason, decision.origin)
        ledger = self._state.ledger
        self._deny(call, ledger.denied(call.method.name, call.target, unapproved), params)

    def resume(self, held: Held, event: TicketSettled) -> None:
        """Go on with a request whose ticket was settled; it is judged again, as things are now."""
        call, params = held.call, held.message.get("params")
        try:
            _, ruling, _ = self._ruled(call.method, params)
            if not (ruling.allowed or ruling.asks):
                self._deny(call, ruling, params)
            elif ruling.asks and not event.granted:
                self._unapproved(call, ruling, event.sentence, params)
            elif ruling.asks and not self._spend(held, ruling):
                self._unapproved(call, ruling, asking.SPENT, params)
            else:
                self._forward(held.message, call, ruling, b"")
        except Refused as refused:
            self._invalid(call.ident, refused.message, call.method.name)

    def _spend(self, held: Held, ruling: Ruling) -> bool:
        """Use the grant for a request that waited; False if there is none for it any more."""
        call = held.call
        grant = asking.spend(self._state, call, held.message.get("params") or {}, ruling)
        call.approval = grant.ticket if grant is not None else ""
        return grant is not None

    def _deny(self, call: Call, ruling: Ruling, params: JsonObject | None) -> None:
        state = self._state
        state.counts["denied"] += 1
        part = _judged_part(call, params)
        kept = self._kept(call, part) if ruling.decision.recorded else b""
        state.out.records.append(state.ledger.decided(0, ruling.tail, part, kept))
        if call.method.kind is _TOOL:
            shown = state.ledger.tool(call.target).decision.verdict is not Verdict.DENY
            refusal = refusals.tool(
                call.ident, call.target, state.name, ruling.decision, state.speaking, shown=shown
            )
        else:
            refusal = refusals.method(call.ident, call.method.name, state.name, ruling.decision)
        state.out.to_host.append(refusal)

    def _prepare(self, call: Call, params: JsonObject) -> bool:
        """Check `_meta` and retries; True if params were edited."""
        state = self._state
        edited = False
        tags = params.get("_meta")
        if "_meta" in params:
            tags = meta.check_request_meta(tags)
            if "progressToken" in tags:
                token = tags["progressToken"]
                if not jsonrpc.valid_token(token):
                    raise Refused("progressToken is neither a string nor an integer")
                call.token = token
            edited = meta.strip_own(tags)
            if "baggage" in tags and not state.ledger.snapshot.observing:
                del tags["baggage"]
                edited = True
        if state.era is Era.MODERN and tags is not None:
            edited = self._modern(call, params, tags) or edited
        return edited

    def _modern(self, call: Call, params: JsonObject, tags: JsonObject) -> bool:
        state = self._state
        capabilities: JsonObject = tags[meta.CAPABILITIES]
        call.declared = dict(capabilities)
        edited = self._shrink(capabilities)
        call.capabilities = capabilities
        state.logs = state.logs or meta.LOG_LEVEL in tags
        state.peer_name = state.peer_name or meta.claimed_name(tags.get(meta.CLIENT_INFO))
        if call.method.asks:
            call.binding = rounds.binding(call.method.name, call.target, params)
            edited = self._returned(call, params) or edited
            call.approval = state.rounds.continued(call.binding, state.ledger.snapshot.policy, params)
            state.rounds.admit(call.binding, params)
        return edited

    def _returned(self, call: Call, params: JsonObject) -> bool:
        """Take the answer to a question of ours out of a retry; True if there was one.

        Raises:
            Refused: It was given for another call, or the answer was no.
        """
        if type(params.get("requestState")) is not str or not self._state.manners.in_band:
            return False
        bound = asking.binding(self._state, call, asking.subject(call, params))
        ticket = inband.returned(self._state, bound, params)
        if ticket and (reason := inband.verdict(self._state, ticket)):
            raise Refused(reason)
        return bool(ticket)

    def _shrink(self, capabilities: JsonObject) -> bool:
        """Remove client capabilities and extensions that policy denies, so that no server relies on them."""
        denied = [c for c, m in _CAPABILITY_OF.items() if c in capabilities and not self._state.granted(m)]
        for capability in denied:
            del capabilities[capability]
        return self._state.ledger.withhold(capabilities) or bool(denied)

    def _initialize(self, params: JsonObject) -> None:
        state = self._state
        capabilities = params.get("capabilities")
        if type(capabilities) is not dict or type(params.get("protocolVersion")) is not str:
            raise Refused("initialize needs protocolVersion and capabilities")
        state.declared = dict(capabilities)
        self._shrink(capabilities)
        state.client = capabilities
        state.peer_name = meta.claimed_name(params.get("clientInfo"))
        state.opened = True
        state.lasting.opening = {key: value for key, value in params.items() if key != "_meta"}

    def _listen(self, call: Call, params: JsonObject) -> bool:
        """Reduce the filter of a listen request; True if nothing of it is left and it was answered."""
        state = self._state
        wanted, reduced = subscriptions.reduce(state, params)
        if reduced and not any(wanted.values()):
            ruling = state.ledger.method("resources/subscribe", "")
            if ruling.allowed:
                raise Refused("no task of this filter was given by this server on this connection")
            self._deny(call, ruling, params)
            return True
        call.wanted = wanted
        return False

    def _task(self, name: str, params: JsonObject | None) -> None:
        if name != "tasks/list" and not self._state.knows_task((params or {}).get("taskId")):
            raise Refused("taskId was not given by this server on this connection")

    # --- eras ----------------------------------------------------------------------------------------------

    def _admit_era(self, ident: MessageId, name: str, params: JsonObject | None) -> None:
        """Fix the era with the first request, and refuse what belongs to the other one.

        Source: MCP 2026-07-28, basic/versioning. A client that only probed with `server/discover` may still fall
        back to `initialize` on the same connection.

        Raises:
            Refused: The request does not fit the era.
            _AnsweredError: It was answered here, with an error that the specification prescribes.
        """
        state = self._state
        tags = params.get("_meta") if params is not None else None
        enveloped = type(tags) is dict and meta.VERSION in tags
        if state.era is Era.LEGACY and state.opened and not enveloped and name != "initialize":
            return
        if state.era is None:
            modern = name != "initialize" and (enveloped or name in _MODERN_ONLY)
            if not modern:
                self._admit_legacy(name, enveloped)  # first: what is refused does not fix the era
            state.enter(Era.MODERN if modern else Era.LEGACY)
        if state.era is Era.MODERN and name == "initialize":
            if state.locked:
                self._unsupported(ident, params)
            state.enter(Era.LEGACY)
        if state.era is Era.MODERN:
            self._admit_modern(ident, name, tags)
        else:
            self._admit_legacy(name, enveloped)

    def _admit_modern(self, ident: MessageId, name: str, tags: Json) -> None:
        if type(tags) is not dict or type(tags.get(meta.VERSION)) is not str:
            self._invalid(ident, "every request of this era carries its protocol version in _meta", name)
            raise _AnsweredError
        if tags[meta.VERSION] not in methods.MODERN_REVISIONS:
            self._unsupported(ident, {"protocolVersion": tags[meta.VERSION]})
        if type(tags.get(meta.CAPABILITIES)) is not dict:
            self._invalid(ident, "every request of this era carries clientCapabilities in _meta", name)
            raise _AnsweredError
        if name != "server/discover":
            self._state.locked = True

    def _admit_legacy(self, name: str, enveloped: bool) -> None:
        if enveloped:
            raise Refused("this connection speaks an earlier revision; a modern request does not fit")
        if name == "initialize":
            if self._state.opened:
                raise Refused("this connection is initialized already")
        elif not self._state.opened and name != "ping":
            raise Refused("initialize first")

    def _unsupported(self, ident: MessageId, params: JsonObject | None) -> None:
        requested = (params or {}).get("protocolVersion")
        data = {"supported": list(methods.MODERN_REVISIONS), "requested": requested}
        text = "unsupported protocol version on this connection"
        self._state.out.to_host.append(jsonrpc.error_line(ident, jsonrpc.UNSUPPORTED_VERSION, text, data))
        self._state.drop(Side.HOST, text, 0)
        raise _AnsweredError

    # --- notifications and answers -------------------------------------------------------------------------

    def _notification(self, message: JsonObject, size: int) -> None:
        state = self._state
        name: str = message["method"]
        params: JsonObject = message.get("params") or {}
        if state.era is None or name not in methods.NOTIFICATIONS[state.era, Side.HOST]:
            state.drop(Side.HOST, "a notification that does not exist here", size)
            return
        if name == "notifications/cancelled":
            cancels = self._cancel(params)
            if cancels is None:
                return
            passes = cancels
        elif name == "notifications/progress":
            passes = self._progress(params)
        elif name == "notifications/tasks/status":
            passes = "tasks" in state.client
        elif name == "notifications/roots/list_changed":
            passes = "roots" in state.client
        else:
            passes = state.opened
            state.lasting.confirmed |= passes and name == "notifications/initialized"
        if passes:
            meta.strip_own(params.get("_meta"))
            state.out.to_server.append(encode(message) + b"\n")
        else:
            state.drop(Side.HOST, f"{name} about nothing that is in flight", size)

    def _cancel(self, params: JsonObject) -> bool | None:
        """Whether a cancellation goes to the server; None if it is about a request that never went there."""
        held = self._state.waiting.take(Side.HOST, params.get("requestId"))
        if held is not None:
            asking.forget(self._state, held)
            return None
        call = self._state.calls.by_ident(params.get("requestId"))
        if call is None or call.method.name == "initialize":
            return False
        self._state.calls.cancel(call)
        self._state.out.later.append(self._state.ledger.settled(call, b"cancelled", self._state.now, 0))
        params["requestId"] = call.number
        return True

    def _progress(self, params: JsonObject) -> bool:
        ask = self._state.asks.get(params.get("progressToken"))
        if ask is None or ask.token is None or not advances(ask, params):
            return False
        params["progressToken"] = ask.token
        return True

    def _answer(self, message: JsonObject, shape: Shape, size: int) -> None:
        state = self._state
        ask = state.asks.take(message["id"]) if state.era is not Era.MODERN else None
        if ask is None:
            if not state.asks.late(message["id"]):
                state.drop(Side.HOST, "an answer that nobody asked for", size)
            return
        if ask.ticket:
            inband.taken(state, ask, message.get("result"))
            return
        message["id"] = ask.ident
        status = b"ok" if shape is Shape.RESULT else b"error"
        if shape is Shape.RESULT:
            meta.strip_own(message["result"].get("_meta"))
            if type(task := message["result"].get("task")) is dict:
                state.remember_task(task.get("taskId"))
        state.out.later.append(state.ledger.settled(ask, status, state.now, size))
        state.out.to_server.append(encode(message) + b"\n")


class _AnsweredError(Exception):
    """The request was answered here; nothing more is to be done."""


_MODERN_ONLY: Final = frozenset(methods.REQUESTS[Era.MODERN, Side.HOST]) - frozenset(
    methods.REQUESTS[Era.LEGACY, Side.HOST]
)


def _judged_part(call: Call, params: Json) -> Json:
    """What the record of a decision gives the digest of: the arguments of a tool, else all params."""
    return params.get("arguments") if params and call.method.kind is _TOOL else params


def renumbered(message: JsonObject, ident: MessageId, line: bytes) -> bytes:
    """The message under another id, encoded, with its LF.

    `line` is the message in our own encoding, or empty if it was edited since. Then exchanging the id in a line
    that begins with the version and the id gives exactly what encoding would.
    """
    if len(line) > SPLICE_BYTES and line.isascii():
        old = b'{"jsonrpc":"2.0","id":%b,' % encode_raw(message["id"])
        if line.startswith(old):
            return b'{"jsonrpc":"2.0","id":%b,%b\n' % (encode_raw(ident), line[len(old) :])
    message["id"] = ident
    return encode(message) + b"\n"


def advances(call: Call, params: JsonObject) -> bool:
    """Whether a progress notification goes forward; standing still is tolerated, going back is not.

    Source: MCP basic/utilities/progress: the value must increase with each notification.
    """
    progress: Json = params.get("progress")
    if type(progress) not in (int, float) or (call.progress is not None and progress < call.progress):
        return False
    call.progress = progress
    return True
