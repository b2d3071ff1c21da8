"""Messages from the server: the half of the gate that decides what a host gets to see.

Rule 1: an answer belongs to exactly one request in flight, or it is dropped and recorded.
Rule 2: every request of the host gets one answer: if the server's may not pass, ours takes its place.
Rule 3: a server's own requests, on the wire or inside a result, are judged like calls.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.gate import asking, refusals, revival, rounds, subscriptions
from mcpguard.gate.events import TicketSettled
from mcpguard.gate.half import Half
from mcpguard.gate.host import advances, renumbered
from mcpguard.gate.ledger import Ruling
from mcpguard.gate.pending import Call, Chain
from mcpguard.gate.state import State
from mcpguard.gate.waiting import Held
from mcpguard.model import Era, Json, JsonObject, MessageId, Side
from mcpguard.protocol import jsonrpc, meta, methods, neutral, views
from mcpguard.protocol.jsonrpc import Shape
from mcpguard.protocol.methods import Kind, Method
from mcpguard.protocol.strict import Refused, encode

_COMPLETE = "complete"
_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_URL_ELICITATION = -32042
_TOOL = Kind.TOOL
_RESULT = Shape.RESULT
_MODERN = Era.MODERN
_SECOND = 1_000_000_000


class ServerSide(Half):
    """Judges lines from the server."""

    __slots__ = ("_bad", "_notices", "_second")

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._bad = 0
        self._second = 0
        self._notices = 0

    def line(self, line: bytes) -> None:
        """Judge one line, without its LF. What cannot be JSON of a message is noise, and cheap to drop."""
        if line and line[0] not in b"{[ \t\r":
            self._state.drop(Side.SERVER, "not a message", len(line))
        else:
            super().line(line)

    def _refuse(self, refused: Refused, line: bytes) -> None:
        state = self._state
        state.drop(Side.SERVER, refused.message, len(line))
        call = state.calls.take(refused.settles)
        if call is not None:
            self._withhold(call, refused.message)
            return
        if refused.ident is not None and refused.settles is None and state.era is not _MODERN:
            state.out.to_server.append(refusals.invalid(refused.ident, refused.message))
        if line.lstrip().startswith((b"{", b"[{")):
            self._bad += 1
            if self._bad > limits.BAD_SERVER_LINES:
                state.out.closing = "the server keeps printing lines that are not MCP messages"

    def _message(self, message: JsonObject, line: bytes, canonical: bool) -> None:
        members = len(message)
        shape = jsonrpc.shape(message)
        if self._state.veil is not None:
            canonical = self._state.veil.untouched(message, line if canonical else b"") and canonical
        canonical = canonical and len(message) == members
        if shape is _RESULT:
            self._result(message, line, canonical)
        elif shape is Shape.NOTIFICATION:
            self._notification(message, line)
        elif shape is Shape.ERROR:
            self._error(message, line)
        else:
            self._request(message, line)

    # --- answers -------------------------------------------------------------------------------------------

    def _taken(self, message: JsonObject, size: int) -> Call | None:
        state = self._state
        call = state.calls.take(message["id"])
        if call is None:
            reason = "a late answer" if state.calls.late(message["id"]) else "an answer that nobody asked for"
            state.drop(Side.SERVER, reason, size)
        else:
            state.heard(call)
        return call

    def _withhold(self, call: Call, fault: str) -> None:
        state = self._state
        if call.replay:
            self._again(call, None, 0)
            return
        state.failed(call)
        state.out.to_host.append(refusals.answer(call.ident, fault))
        state.out.later.append(state.ledger.settled(call, b"refused", state.now, 0))

    def _result(self, message: JsonObject, line: bytes, canonical: bool) -> None:
        call = self._taken(message, len(line))
        if call is not None:
            self._answer(call, message, line, canonical)

    def _answer(self, call: Call, message: JsonObject, line: bytes, canonical: bool) -> None:
        """Pass a result on to whoever asked, unless something in it may not pass, or waits for a person."""
        state = self._state
        result: JsonObject = message["result"]
        if call.replay:
            self._again(call, result, len(line))
            return
        try:
            edited, fault = self._judged(call, result)
        except _WaitsError as waits:
            waits.held.answer, waits.held.answers = message, call
            return
        fault = fault or self._oversized(call, len(line))
        if fault:
            self._withhold(call, fault)
            return
        tags = result.get("_meta")
        if tags is not None and self._tags(tags):
            edited = True
        if state.ledger.neutralise and neutral.suspicious(line):
            neutral.neutralise(result)
            edited = True
        status = b"tool_error" if result.get("isError") is True else b"ok"
        state.out.later.append(state.ledger.settled(call, status, state.now, len(line)))
        state.out.to_host.append(renumbered(message, call.ident, line if canonical and not edited else b""))

    def _again(self, call: Call, result: JsonObject | None, size: int) -> None:
        """The answer to something that the host does not know was said again."""
        state = self._state
        status = b"error" if result is None else b"ok"
        state.out.later.append(state.ledger.settled(call, status, state.now, size))
        revival.answered(state, call, result)

    def _judged(self, call: Call, result: JsonObject) -> tuple[bool, str]:
        """Whether a result was edited, and the fault that withholds it."""
        state = self._state
        kind = result.get("resultType") if state.era is _MODERN else None
        if kind is not None and kind != _COMPLETE:
            return False, self._open_ended(call, kind, result)
        if call.binding:
            state.rounds.completed(call.binding)
        if call.method.kind is _TOOL:
            if type(task := result.get("task")) is dict:
                state.remember_task(task.get("taskId"), call)
                return False, self._content("tools/call", result)
            return False, self._content("tools/call", result) or self._unlike(call, result)
        match call.method.kind:
            case Kind.LIST:
                return self._page(call, result)
            case Kind.HANDSHAKE:
                return self._greeted(call, result)
            case Kind.TASK:
                return self._task(call, result)
            case Kind.LISTEN:
                tags = result.get("_meta")
                if type(tags) is dict and meta.SUBSCRIPTION in tags:
                    tags[meta.SUBSCRIPTION] = call.ident
                return True, ""
            case _:
                return False, self._content(call.method.name, result)

    def _oversized(self, call: Call, size: int) -> str:
        """Why an answer is too long for the rule that let its request pass; empty if it is not."""
        decision = (call.maker or call).decision
        if decision is None or self._state.ledger.observing or not 0 < decision.result_bytes < size:
            return ""
        return f"it has {size} bytes, and rule {decision.rule} permits {decision.result_bytes}"

    def _unlike(self, call: Call | None, result: JsonObject) -> str:
        """Why a result of a tool is not what its pinned definition says; empty if it is."""
        state = self._state
        schemas = state.shared.schemas
        if call is None or schemas is None or not state.ledger.snapshot.schemas:
            return ""
        return schemas.result_fault(call.target, result)

    def _content(self, method: str, result: JsonObject) -> str:
        return "" if self._state.ledger.observing else views.result_fault(method, result)

    def _open_ended(self, call: Call, kind: Json, result: JsonObject) -> str:
        """Judge a modern result that is not complete."""
        state = self._state
        capabilities = call.capabilities or {}
        if kind == "input_required" and call.method.asks:
            return self._asks_back(call, result, capabilities)
        if kind == "task" and call.method.kind is Kind.TOOL:
            extensions = capabilities.get("extensions")
            if type(extensions) is not dict or meta.TASKS_EXTENSION not in extensions:
                return "a task, and the client did not declare the tasks extension"
            state.remember_task(result.get("taskId"), call)
            return ""
        return f"resultType {str(kind)[:40]!a} does not belong to {call.method.name}"

    def _asks_back(self, call: Call, result: JsonObject, capabilities: JsonObject) -> str:
        rounds_of = self._state.rounds
        requests = result.get("inputRequests")
        if fault := rounds.requests_fault(requests, capabilities) or self._embedded(requests or {}):
            return fault
        if fault := rounds_of.asked(call.binding, result, capabilities):
            return fault
        if call.approval:
            rounds_of.approved(call.binding, call.approval, self._state.ledger.snapshot.policy, result)
        return ""

    def _embedded(self, requests: JsonObject) -> str:
        """The fault of the first embedded request that policy or decency refuses.

        Raises:
            _WaitsError: A person decides on one of them.
        """
        state = self._state
        for key, request in requests.items():
            name, params = request["method"], request.get("params") or {}
            ruling = self._ruled(name, params)
            state.out.later.append(state.ledger.decided(0, ruling.tail, request.get("params")))
            if not (ruling.allowed or ruling.asks):
                return f"it asks for {name}, which rule {ruling.decision.rule} refuses"
            if fault := ask_fault(name, params):
                return fault
            if ruling.asks and (fault := self._unapproved(name, key, params, ruling)):
                return fault
        return ""

    def _unapproved(self, name: str, key: str, params: JsonObject, ruling: Ruling) -> str:
        """Why a request inside an answer is not approved; empty if a grant covers it.

        Raises:
            _WaitsError: A person was asked.
        """
        call = Call(f"{key} {self._state.now}", methods.EMBEDDED[name], "", b"", self._state.now)
        held = Held(Side.SERVER, {"params": params}, call, "")
        answer = asking.approve(self._state, held, ruling)
        if answer is None:
            raise _WaitsError(held)
        return f"it asks for {name}: {answer}" if isinstance(answer, str) else ""

    def _ruled(self, name: str, params: JsonObject) -> Ruling:
        """The ruling on a gated request of the server, on the wire or inside an answer."""
        ledger = self._state.ledger
        ruling = ledger.method(name, "", Side.SERVER)
        if ruling.decision.depends:
            return ledger.judged(name, "", params, self._state.now, Side.SERVER)
        return ruling

    def resume(self, held: Held, event: TicketSettled) -> None:
        """Go on with a request of the server whose ticket was settled, or with the answer that holds it."""
        if held.answer is not None and held.answers is not None:
            if event.granted:
                self._answer(held.answers, held.answer, encode(held.answer), canonical=False)
            else:
                self._withhold(held.answers, f"it asks for {held.call.method.name}: {event.sentence}")
        elif event.granted:
            self._request(held.message, encode(held.message))
        else:
            self._decline(held.call.ident, held.call.method.name, event.sentence, 0)

    def _task(self, call: Call, result: JsonObject) -> tuple[bool, str]:
        state = self._state
        tasks = result.get("tasks")
        if call.method.name == "tasks/list" and type(tasks) is list:
            known = [task for task in tasks if type(task) is dict and state.knows_task(task.get("taskId"))]
            result["tasks"] = known
            return len(known) != len(tasks), ""
        return False, self._task_fault(call, result)

    def _task_fault(self, call: Call, task: JsonObject) -> str:
        """Why the state of a task may not pass: it can hold requests, and the result of the call that made it."""
        requests = task.get("inputRequests")
        capabilities = self._state.client if call.capabilities is None else call.capabilities
        if fault := rounds.requests_fault(requests, capabilities):
            return fault
        if fault := self._embedded(requests or {}):
            return fault
        inner = task.get("result")
        held = inner if type(inner) is dict else task
        fault = self._content("tasks/result", held)
        if fault or not ("content" in held or "structuredContent" in held):
            return fault
        return self._unlike(call.maker, held)

    def _page(self, call: Call, result: JsonObject) -> tuple[bool, str]:
        state = self._state
        chain = call.listing or Chain()
        pins = state.ledger.pins
        page = state.listing.answer(call.method, chain, result, state.ledger.snapshot, state.speaking, pins)
        if pins is not None:
            state.tell_findings(pins)
        for finding in page.findings:
            state.drop(Side.SERVER, finding, 0)
        return page.edited, page.fault

    def _tags(self, tags: Json) -> bool:
        """Take out of the `_meta` of a result what is ours to say, or not the pinned server's; True if edited."""
        edited = meta.strip_own(tags)
        ledger = self._state.ledger
        if ledger.pins is None or type(tags) is not dict or _SERVER_INFO not in tags:
            return edited
        fault = ledger.pins.server(tags[_SERVER_INFO])
        self._state.tell_findings(ledger.pins)
        if fault and not ledger.observing:
            del tags[_SERVER_INFO]
            return True
        return edited

    def _greeted(self, call: Call, result: JsonObject) -> tuple[bool, str]:
        """Read the answer to `initialize` or `server/discover`: whether it was edited, and why it may not pass."""
        state = self._state
        info = result.get("serverInfo")
        revival.greeted(state, call, result)
        if call.method.name == "initialize":
            revision = result.get("protocolVersion")
            if revision not in methods.LEGACY_REVISIONS:
                return False, "the server answered initialize with a revision that mcpguard does not know"
            state.revision = revision
        else:
            tags = result.get("_meta")
            info = tags.get(_SERVER_INFO) if type(tags) is dict else info
        state.server_name = meta.claimed_name(info)
        capabilities = result.get("capabilities")
        withheld = type(capabilities) is dict and state.ledger.withhold(capabilities)
        edited, fault = self._introduced(info, result)
        return edited or withheld, fault

    def _introduced(self, info: Json, result: JsonObject) -> tuple[bool, str]:
        """Compare what a server says of itself with the pins: instructions that differ are taken out."""
        state = self._state
        pins = state.ledger.pins
        if pins is None:
            return False, ""
        fault = pins.server(info)
        strange = not pins.instructions(result.get("instructions"))
        state.tell_findings(pins)
        if state.ledger.observing:
            return False, ""
        if strange:
            del result["instructions"]
        return strange, refusals.another_server(fault, state.name) if fault else ""

    def _error(self, message: JsonObject, line: bytes) -> None:
        state = self._state
        call = self._taken(message, len(line))
        if call is None:
            return
        if call.replay:
            self._again(call, None, len(line))
            return
        error: JsonObject = message["error"]
        if error["code"] == _URL_ELICITATION and (fault := self._pages_fault(error.get("data"))):
            self._withhold(call, fault)
            return
        state.failed(call)
        if state.ledger.snapshot.neutralise and neutral.suspicious(line):
            neutral.neutralise(error)
        state.out.later.append(state.ledger.settled(call, b"error", state.now, len(line)))
        state.out.to_host.append(renumbered(message, call.ident, b""))

    def _pages_fault(self, data: Json) -> str:
        """Why an error that asks to open pages (-32042) may not pass."""
        if not self._state.granted("elicitation/create"):
            return "it asks to open a page, which policy refuses"
        pages = data.get("elicitations") if type(data) is dict else None
        for page in pages if type(pages) is list else []:
            url = page.get("url") if type(page) is dict else None
            if fault := _url_fault(url):
                return fault
            if not self._ruled("elicitation/create", {"mode": "url", "url": url}).allowed:
                return "it asks to open a page that policy does not let it open"
        return ""

    # --- requests ------------------------------------------------------------------------------------------

    def _request(self, message: JsonObject, line: bytes) -> None:
        state = self._state
        ident: MessageId = message["id"]
        name: str = message["method"]
        if state.era is _MODERN:
            state.drop(Side.SERVER, "a request from a server, which this era does not have", len(line))
            state.out.closing = "the server sent a request, which its protocol revision forbids"
            return
        method = methods.REQUESTS[Era.LEGACY, Side.SERVER].get(name)
        if method is None:
            self._decline(ident, name, "no such method in this direction", len(line))
            return
        try:
            call, ruling = self._asked(message, method)
            if ruling.asks and not self._permitted(message, call, ruling):
                return
            number = state.asks.add(call)
        except Refused as refused:
            self._decline(ident, name, refused.message, len(line))
            return
        if state.ledger.neutralise and neutral.suspicious(line):
            neutral.neutralise(message.get("params"))
        tail = record.approved(call.record, call.approval) if call.approval else call.record
        state.out.records.append(state.ledger.decided(number, tail, message.get("params")))
        state.forwarded(call, ruling.decision)
        if call.token is not None:
            message["params"]["_meta"]["progressToken"] = number
        message["id"] = number
        state.out.guard(Side.HOST, number, encode(message) + b"\n")

    def _permitted(self, message: JsonObject, call: Call, ruling: Ruling) -> bool:
        """Whether a grant covers a request of the server; if not, it waits for a person.

        Raises:
            Refused: It is denied at once.
        """
        answer = asking.approve(self._state, Held(Side.SERVER, message, call, ""), ruling)
        if isinstance(answer, str):
            raise Refused(answer)
        if answer is not None:
            call.approval = answer.ticket
        return answer is not None

    def _asked(self, message: JsonObject, method: Method) -> tuple[Call, Ruling]:
        """A server's request that may reach the host, perhaps after a person has said so.

        Raises:
            Refused: The client did not declare it, policy denies it, or it asks for what nobody may.
        """
        state = self._state
        params: JsonObject = message.get("params") or {}
        if state.asks.taken(message["id"]) or state.waiting.taken(Side.SERVER, message["id"]):
            raise Refused("this id is in flight already")
        if method.needs and method.needs not in state.client:
            raise Refused(f"the client did not declare {method.needs}")
        ledger = state.ledger
        gated = method.kind is Kind.GATED
        ruling = self._ruled(method.name, params) if gated else ledger.passed(method.name, Side.SERVER)
        if not (ruling.allowed or ruling.asks):
            raise Refused(f"rule {ruling.decision.rule}: {ruling.decision.reason}")
        if method.kind is Kind.GATED and (fault := ask_fault(method.name, params)):
            raise Refused(fault)
        if method.kind is Kind.TASK and "taskId" in params and not state.knows_task(params["taskId"]):
            raise Refused("taskId was not given on this connection")
        call = Call(message["id"], method, "", ruling.outcome, state.now)
        call.record = ruling.tail
        tags = params.get("_meta")
        if type(tags) is dict:
            meta.strip_own(tags)
            if jsonrpc.valid_token(tags.get("progressToken")):
                call.token = tags["progressToken"]
        return call, ruling

    def _decline(self, ident: MessageId, name: str, reason: str, size: int) -> None:
        state = self._state
        state.counts["denied"] += 1
        state.drop(Side.SERVER, f"{name[: limits.NAME_CHARS]}: {reason}", size)
        state.out.to_server.append(refusals.to_server(ident, name[: limits.NAME_CHARS], reason))

    # --- notifications -------------------------------------------------------------------------------------

    def _notification(self, message: JsonObject, line: bytes) -> None:
        state = self._state
        name: str = message["method"]
        params: JsonObject = message.get("params") or {}
        if name not in methods.NOTIFICATIONS[state.speaking, Side.SERVER]:
            state.drop(Side.SERVER, "a notification that does not exist here", len(line))
            return
        meta.strip_own(params.get("_meta"))
        if name == "notifications/message" and state.ledger.forbids(name):
            state.drop(Side.SERVER, "a log message, which policy refuses", len(line))
            return
        if not self._belongs(name, params):
            state.drop(Side.SERVER, f"{name} that belongs to nothing in flight", len(line))
            return
        if state.ledger.snapshot.neutralise and neutral.suspicious(line):
            neutral.neutralise(params)
        state.out.to_host.append(encode(message) + b"\n")

    def _belongs(self, name: str, params: JsonObject) -> bool:
        state = self._state
        if name == "notifications/progress":
            return self._progress(params)
        if name == "notifications/cancelled":
            return self._cancelled(params)
        if state.era is Era.MODERN:
            if name == "notifications/message":
                return state.logs
            call = subscriptions.owner(state, name, params)
            if call is None or (name == "notifications/tasks" and self._task_fault(call, params)):
                return False
        if name == "notifications/resources/updated" and not state.granted("resources/subscribe"):
            return False
        if name == "notifications/tasks/status" and state.calls.augmented():
            state.remember_task(params.get("taskId"))
        if name in ("notifications/tasks", "notifications/tasks/status"):
            return state.knows_task(params.get("taskId"))
        return not name.endswith(("list_changed", "updated")) or self._within_rate()

    def _within_rate(self) -> bool:
        if self._state.now - self._second > _SECOND:
            self._second = self._state.now
            self._notices = 0
        self._notices += 1
        return self._notices <= limits.NOTICES_PER_SECOND

    def _progress(self, params: JsonObject) -> bool:
        state = self._state
        token = params.get("progressToken")
        call = state.calls.get(token)
        if call is None and type(token) is int:
            call = state.loose.get(token)
        if call is None or call.token is None or not advances(call, params):
            return False
        state.heard(call)
        params["progressToken"] = call.token
        return True

    def _cancelled(self, params: JsonObject) -> bool:
        state = self._state
        if state.era is Era.LEGACY:
            held = state.waiting.take(Side.SERVER, params.get("requestId"))
            if held is not None:
                asking.forget(state, held)
                return False
            ask = state.asks.by_ident(params.get("requestId"))
            if ask is None:
                return False
            state.asks.cancel(ask)
            params["requestId"] = ask.number
            return True
        call = state.calls.get(params.get("requestId"))
        if call is None or call.method.kind is not Kind.LISTEN:
            return False
        state.calls.cancel(call)
        params["requestId"] = call.ident
        return True


class _WaitsError(Exception):
    """An answer waits, since a person decides on a request inside it."""

    def __init__(self, held: Held) -> None:
        super().__init__(held.ticket)
        self.held = held


def ask_fault(name: str, params: JsonObject) -> str:
    """Why a server's request may not reach a person or a model whatever policy says, or the empty string.

    Source: MCP client/elicitation, Safe URL Handling and form mode (no secrets); client/sampling (no context of
    other servers without the capability).
    """
    if name == "sampling/createMessage" and params.get("includeContext") == "allServers":
        return "sampling must not read what other servers said"
    if name == "elicitation/create" and params.get("mode") == "url":
        return _url_fault(params.get("url"))
    if name == "elicitation/create":
        schema = params.get("requestedSchema")
        properties = schema.get("properties") if type(schema) is dict else None
        names = properties if type(properties) is dict else {}
        secret = any(word in key.lower() for key in names for word in ("password", "passwd", "secret"))
        return "a form must not ask for secrets" if secret else ""
    return ""


def _url_fault(url: Json) -> str:
    if type(url) is not str or len(url) > limits.URI_CHARS or not url.isprintable():
        return "the page to open is not a URL"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the page to open is not a URL"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "a page to open is https"
    if parts.username is not None or parts.password is not None:
        return "the page to open hides its host behind user information"
    return ""
