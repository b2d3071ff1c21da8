"""Turn a run into text that two runs of the same thing have in common.

Everything both sides said is compared: what each SDK gave to its caller, every message as it came off the
wire on the client's side, and every message that reached the server. Object members keep their order and
numbers their text. What legitimately varies is taken out, by one function per reason:

ids              JSON-RPC ids, progress tokens, cancel ids and subscription ids become what they refer to
order            messages of different methods are not ordered among each other; answers belong to requests
cursors          opaque: the pages are compared, not the text
request_state    opaque and sealed anew each time; that the client gives back what it got is compared
scrub            times, UUIDs, the directory of the run
polls            how often a task was asked for depends on timing
cancelled calls  how far a call came before it was cancelled depends on timing
cache            the one thing a guard changes by design (see there)
"""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from harness import Process, Run

LISTS = {"tools/list", "resources/list", "resources/templates/list", "prompts/list"}
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LONGEST = 2000
MAX_TTL_MS = 1000

_PATTERNS = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    # The task ids of the TypeScript SDK.
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    # Date.prototype.toString and toLocaleTimeString.
    (re.compile(r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT[+-]\d{4} \([^)]*\)"), "<time>"),
    (re.compile(r"created at \d{1,2}:\d\d:\d\d( [AP]M)?"), "created at <time>"),
)


def compare_text(run: Run, *, exits: bool = True) -> list[str]:
    """Give the lines that must be equal for two runs.

    A server that does not end by itself (`exits` is false) is killed by the client, at the latest after four
    seconds; how it ends then depends on who was faster, and only that it is gone is compared.
    """
    client = _Wire(run)
    closed = next((record["closed"] for record in run.records if "closed" in record), {})
    child = {"status": closed.get("status"), "within 2 s": closed.get("seconds", 99) < 2}
    if not exits:
        child = {"within 4 s": closed.get("seconds", 99) < 4.5}
    document = {
        "steps": client.steps(),
        "exchanges": [client.exchange(exchange) for exchange in client.ordered()],
        "requests of the server": client.requests,
        "notifications of the server": client.notifications,
        "notifications of the client": client.sent_notifications,
        "nothing known": client.strays,
        "stderr": _stderr(run),
        "child": child,
        "servers": [_server(process, run.directory, exits=exits) for process in run.servers],
        "servers gone": run.gone(),
    }
    return json.dumps(document, indent=1, ensure_ascii=True).splitlines()


def parse(raw: str) -> Any:
    """Parse a message; numbers that are not integers keep their text, since 1.0 is not 1 to everybody."""
    return json.loads(raw, parse_float=lambda text: f"<number {text}>")


class _Wire:
    """The messages of a session as the client saw them, put together."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.exchanges: list[dict[str, Any]] = []
        self.requests: dict[str, list[Any]] = {}
        self.notifications: dict[str, list[Any]] = {}
        self.sent_notifications: dict[str, list[Any]] = {}
        self.strays: list[Any] = []
        self._open: dict[tuple[str, Any], dict[str, Any]] = {}
        self._asked: dict[tuple[str, Any], dict[str, Any]] = {}
        self._tokens: dict[tuple[str, Any], dict[str, Any]] = {}
        self._states: list[str] = []
        step, number = {}, -1
        for record in run.records:
            if "step" in record:
                step, number = record, number + 1
            elif "wire" in record:
                message = parse(record["raw"])
                (self._sent if record["wire"] == "sent" else self._received)(message, step, number)

    # ids: a message is filed under what its id refers to; type and value of an id must match exactly.

    @staticmethod
    def _key(value: Any) -> tuple[str, Any]:
        return type(value).__name__, value

    def _sent(self, message: Any, step: dict[str, Any], number: int) -> None:
        method = message.get("method")
        if method is None:
            entry = self._asked.pop(self._key(message["id"]), None)
            (
                self.strays.append(message)
                if entry is None
                else entry.update(answer=self._scrub(self._body(message)))
            )
        elif "id" in message:
            exchange = {"method": method, "params": message.get("params"), "step": number, "progress": []}
            exchange["unordered"] = bool(step.get("unordered"))
            exchange["id"] = message["id"]
            self.exchanges.append(exchange)
            self._open[self._key(message["id"])] = exchange
            token = (message.get("params") or {}).get("_meta", {}).get("progressToken")
            if token is not None:
                self._tokens[self._key(token)] = exchange
        else:
            params = message.get("params")
            if method == "notifications/cancelled":
                exchange = self._open.get(self._key(params["requestId"]))
                if exchange is not None:
                    exchange["cancelled"] = True
                params = {**params, "requestId": f"<of {exchange and exchange['method']}>"}
            self.sent_notifications.setdefault(method, []).append(self._scrub(params))

    def _received(self, message: Any, _step: dict[str, Any], _number: int) -> None:
        method = message.get("method")
        if method is None:
            exchange = self._open.pop(self._key(message.get("id")), None)
            (
                self.strays.append(message)
                if exchange is None
                else exchange.update(outcome=self._body(message))
            )
        elif "id" in message:
            entry = {"params": self._scrub(_without_token(message.get("params")))}
            self._asked[self._key(message["id"])] = entry
            self.requests.setdefault(method, []).append(entry)
        elif method == "notifications/progress":
            params = dict(message["params"])
            exchange = self._tokens.get(self._key(params.pop("progressToken")))
            if exchange is None:
                self.strays.append(message)
            else:
                # A progress report that comes after the answer is lost on the caller.
                exchange["progress"].append(["late" if "outcome" in exchange else "in time", params])
        else:
            self.notifications.setdefault(method, []).append(self._subscription(message.get("params")))

    def _subscription(self, params: Any) -> Any:
        meta = params.get("_meta", {}) if params else {}
        if SUBSCRIPTION in meta:
            listens = [
                exchange for exchange in self.exchanges if exchange["method"] == "subscriptions/listen"
            ]
            for number, exchange in enumerate(listens):
                if self._key(exchange["id"]) == self._key(meta[SUBSCRIPTION]):
                    params = {**params, "_meta": {**meta, SUBSCRIPTION: f"<listen {number}>"}}
        return self._scrub(params)

    @staticmethod
    def _body(message: Any) -> Any:
        return {key: value for key, value in message.items() if key not in {"id", "jsonrpc"}}

    # order: requests in the order they were sent, except where a step sent many at once.

    def ordered(self) -> list[dict[str, Any]]:
        def key(exchange: dict[str, Any]) -> tuple[int, str]:
            text = json.dumps(exchange["params"], sort_keys=True) if exchange["unordered"] else ""
            return exchange["step"], text

        found: list[dict[str, Any]] = []
        for exchange in sorted(self.exchanges, key=key):
            # polls: keep one of each kind.
            if exchange["method"] == "tasks/get" and found and found[-1]["method"] == "tasks/get":
                continue
            found.append(exchange)
        return found

    def exchange(self, exchange: dict[str, Any]) -> dict[str, Any]:
        method, params = exchange["method"], exchange["params"]
        shown: dict[str, Any] = {"method": method, "params": self._scrub(_without_token(params))}
        if exchange.get("cancelled"):
            shown["outcome"] = "<cancelled>"
        elif method == "tasks/get" and "result" in exchange.get("outcome", {}):
            shown["outcome"] = sorted(exchange["outcome"]["result"])
        else:
            outcome = exchange.get("outcome", "<none>")
            shown["outcome"] = self._scrub(cache(outcome) if method in LISTS else outcome)
            shown["progress"] = self._scrub(exchange["progress"])
        return shown

    def steps(self) -> list[Any]:
        """Give what the SDK gave to its caller."""
        found: list[dict[str, Any]] = []
        for record in self.run.records:
            if "step" in record:
                found.append({"step": record["step"], "name": record.get("name")})
            elif "result" in record or "error" in record:
                body = {key: value for key, value in record.items() if key in {"result", "error"}}
                found[-1].update(self._scrub(cache(body) if found[-1]["step"] == "list" else body))
            elif "unexpected" in record:
                found.append(record)
        for entry in found:
            if entry["step"] == "wait":
                entry["result"] = [_anonymous(notification) for notification in entry["result"]]
        return found

    def _scrub(self, value: Any) -> Any:
        return scrub(value, self.run.directory, self._states)


def _without_token(params: Any) -> Any:
    if params and "progressToken" in params.get("_meta", {}):
        return {**params, "_meta": {**params["_meta"], "progressToken": "<token>"}}
    return params


def cache(value: Any) -> Any:
    """Apply the one change a guard makes by design: a list is `private`, and fresh for a second at most.

    It may leave lists alone while it only observes, so this is allowed here and demanded in test_policy.py. What a principal may see is decided anew as policy changes, and differs between principals. Legacy
    results have neither member and are left alone (the Python SDK adds both on its caller's side).
    """
    if isinstance(value, list):
        return [cache(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: cache(item) if key == "result" else item for key, item in value.items()}
    if "cacheScope" in changed:
        changed["cacheScope"] = "private"
    if isinstance(changed.get("ttlMs"), int):
        changed["ttlMs"] = min(changed["ttlMs"], MAX_TTL_MS)
    return changed


def scrub(value: Any, directory: str, states: list[str], key: str = "") -> Any:
    """Replace what differs from one run to the next, and shorten what is long."""
    if isinstance(value, dict):
        return {name: scrub(item, directory, states, name) for name, item in value.items()}
    if isinstance(value, list):
        return [scrub(item, directory, states) for item in value]
    if not isinstance(value, str):
        return value
    if key in {"cursor", "nextCursor"}:
        return "<cursor>"
    if key == "requestState":
        # In the order of their first appearance: that a state comes back where it belongs is compared.
        if value not in states:
            states.append(value)
        return f"<state {states.index(value)}>"
    if key == "blob":
        value = _text_of(value)
    value = value.replace(directory, "<dir>")
    for pattern, replacement in _PATTERNS:
        value = pattern.sub(replacement, value)
    if len(value) > LONGEST:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return f"<{len(value)} characters, sha256 {digest}>"
    return value


def _text_of(blob: str) -> str:
    """Show a blob as text where it is text with a time in it, which would differ."""
    try:
        text = base64.b64decode(blob, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return blob
    return f"<base64 of> {text}" if "created at" in text else blob


def _anonymous(notification: Any) -> Any:
    """Forget the subscription id: it is compared, with what it refers to, among the wire messages."""
    text = json.dumps(notification)
    return json.loads(re.sub(rf'("{re.escape(SUBSCRIPTION)}": )("[^"]*"|\d+)', r'\1"<listen>"', text))


def _stderr(run: Run) -> list[str]:
    """Give the server's lines: they pass through, the wrapper's own are not the server's."""
    lines = [
        line
        for line in run.stderr.splitlines()
        if line and not line.startswith(("mcpguard: ", "(node:", "(Use `node"))
    ]
    return [scrub(line, run.directory, []) for line in lines]


def _server(process: Process, directory: str, *, exits: bool) -> dict[str, Any]:
    """Give what reached one server process, with ids taken out as on the client's side."""
    states: list[str] = []
    pending: dict[str, str] = {}
    requests, rest = [], []
    for line in process.lines:
        message = parse(line)
        method, params = message.get("method"), message.get("params")
        body = {key: value for key, value in message.items() if key != "id"}
        if method and "id" in message:
            pending[repr(message["id"])] = method
            if params:
                body["params"] = _without_token(params)
            requests.append(scrub(_members(body), directory, states))
        else:
            if method == "notifications/cancelled":
                body["params"] = {**params, "requestId": f"<of {pending.get(repr(params['requestId']))}>"}
            rest.append(scrub(_members(body), directory, states))
    # A client that negotiates on a process of its own kills it as soon as it has the answer.
    probe = [request["method"] for request in requests] == ["server/discover"] and not rest
    return {
        "requests": _runs(requests),
        "answers and notifications": sorted(rest, key=lambda item: json.dumps(item, sort_keys=True)),
        "status": "<killed>" if probe or not exits else process.status,
    }


def _members(body: dict[str, Any]) -> dict[str, Any]:
    """The envelope has no order of its own; what is inside keeps its order."""
    return {key: body[key] for key in sorted(body)}


def _runs(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort runs of calls of one tool (concurrent calls have no order), and drop repeated polls."""
    found: list[list[dict[str, Any]]] = []
    for request in requests:
        name = (request.get("params") or {}).get("name")
        kind = (request["method"], name)
        if found and request["method"] == "tasks/get" == found[-1][0]["method"]:
            continue
        if found and kind == (found[-1][0]["method"], (found[-1][0].get("params") or {}).get("name")):
            found[-1].append(request)
        else:
            found.append([request])
    return [
        request
        for group in found
        for request in sorted(group, key=lambda item: json.dumps(item, sort_keys=True))
    ]
