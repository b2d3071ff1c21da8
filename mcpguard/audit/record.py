"""One record: how its members are written, and how a line is read back.

Rule 1. A body is a comma-joined run of JSON members without braces; the chain puts the envelope around it.
Rule 2. Text of others is cut at `TEXT_CHARS` and written without a control, bidirectional or unassigned character:
JSON escapes stand for them, which loses nothing and keeps a raw log harmless on a terminal.
Rule 3. Arguments are not written, only their keyed digest and their size; while policy only watches, also their
shape (`shape`), and where a rule says so, themselves: redacted and encrypted (`sealed`).
Rule 4. Every text goes through `redact.current()` before it is cut, so before it is hashed: no secret is in the log.

Cost: `call` 0.21 us, `outcome` 0.24 us, `digest` of 100 bytes 0.65 us, `parse_line` 2.4 us for a record of 418 bytes
(CPython 3.11 on a 2-core virtual machine, best of 9 timeit runs of 100,000; tests/audit/test_record.py measures it
with --benchmark-enable). The rest runs once for a connection, or once for a (method, tool, decision) that the caller
caches.

Decided: *`side` names who sent the request, in calls and in outcomes alike*, so that (conn, side, id) joins the two;
rejected: the sender of the answer, which would need a second word in every query.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from mcpguard import limits, model
from mcpguard.audit import redact
from mcpguard.audit.marks import Marks
from mcpguard.audit.shape import BYTES, shape
from mcpguard.errors import JournalError
from mcpguard.model import Json, JsonObject, Side, Verdict

TEXT_CHARS: Final = 512
"""Longest text in a record, characters. Escapes take up to 12 bytes each, so the five texts of a call take at most
30 KiB of `limits.RECORD_BYTES`."""
HOST_BYTES: Final = 8192
"""Longest encoded host evidence, bytes; longer evidence has its texts cut until it fits."""
MEMBERS_BYTES: Final = 16384
"""Longest encoded further members of a session, policy or log record, bytes; longer ones are cut likewise."""
DIGEST_BYTES: Final = 16
"""Size of an argument digest, bytes."""

OK: Final = b"ok"
"""Outcome: a result."""
TOOL_ERROR: Final = b"tool_error"
"""Outcome: a result that says `isError`."""
ERROR: Final = b"error"
"""Outcome: a JSON-RPC error."""
REFUSED: Final = b"refused"
"""Outcome: an answer that was not passed on."""
LOST: Final = b"lost"
"""Outcome: no answer came."""

ENVELOPE: Final = ("v", "seq", "prev", "t", "boot", "mac")
"""Members that the chain writes and a body may not."""

_HEAD = re.compile(
    rb'\{"v":([12]),"seq":([1-9][0-9]{0,18}),"prev":"([0-9a-f]{64})",'
    rb'"t":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)","boot":"([0-9a-f]{32})",',
)
_MAC = re.compile(rb',"mac":"[0-9a-f]{64}"\}')
_MAC_BYTES: Final = 74
_ABOUT: Final = len('{"arguments":,"cut":true}')
_NAME_CHARS: Final = 64  # names of members are not cut below this, so that no two become one

visible: Final = model.visible
"""What verbs show to people is written as what they read in the log."""


class Record(msgspec.Struct, frozen=True):
    """One line of the log, read back.

    Attributes:
        seq: Position in the chain, from 1.
        prev: SHA-256 of the previous line with its LF, hex.
        time: UTC, `2026-11-22T18:00:00.123456Z`.
        boot: Boot id, 32 hex digits.
        type: `call`, `outcome`, `drop`, `finding`, `approval`, `flow`, `session`, `policy`, `trust`, `host`,
            `certificate`, `credential`, `quarantine`, `secret`, `token` or `log`; readers skip types they do not
            know.
        body: Every member outside the envelope, `type` included.
    """

    seq: int
    prev: str
    time: str
    boot: str
    type: str
    body: JsonObject


def harmless(line: bytes) -> str:
    """A raw line for a terminal: the same JSON, in which only JSON escapes stand for what cannot be seen."""
    return model.escape(line.rstrip(b"\n").decode("utf-8", "replace"))


class _Begun(str):
    """The beginning of a text, and how many characters were left out."""

    __slots__ = ("beyond",)

    beyond: int


def cut(value: str, limit: int = TEXT_CHARS) -> str:
    """At most `limit` characters of a text, and how many were left out. Lone surrogates become escapes."""
    beyond = value.beyond if isinstance(value, _Begun) else 0
    if len(value) > limit or beyond:
        value = f"{value[:limit]}…(+{max(len(value) - limit, 0) + beyond})"
    return value.encode("utf-8", "backslashreplace").decode()


def _begun(value: Json, reach: int) -> Json:
    """A JSON value in which no text is longer than is looked at to redact what will be written of it."""
    if isinstance(value, str):
        return value[:reach]
    if isinstance(value, dict):
        return {str(key): _begun(item, reach) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_begun(item, reach) for item in value]
    return value


def _redacted(value: Json) -> Json:
    """A value without secrets; of long texts no more than will be written. The names of its members are ours."""
    redactor = redact.current()
    reach = TEXT_CHARS + redactor.reach
    if isinstance(value, str):
        text = redactor.text(value[:reach])
        if len(value) > reach:
            begun = _Begun(text)
            begun.beyond = len(value) - reach
            return begun
        return text
    return redactor.value(_begun(value, reach), names=False)


def _tame(value: Json, limit: int) -> Json:
    """A JSON value with every text in it cut, keys included, and every list."""
    if isinstance(value, str):
        return cut(value, limit)
    if isinstance(value, dict):
        return {cut(str(key), max(limit, _NAME_CHARS)): _tame(item, limit) for key, item in value.items()}
    if isinstance(value, list | tuple):
        left_out = [f"…(+{len(value) - limit})"] if len(value) > limit else []
        return [_tame(item, limit) for item in value[:limit]] + left_out
    return value


def encode(value: Json) -> bytes:
    """JSON of a value as records hold it. Call once and keep the bytes: this is not for every message."""
    return _plain(msgspec.json.encode(_tame(_redacted(value), TEXT_CHARS)))


def _plain(raw: bytes) -> bytes:
    """The same JSON, in which JSON escapes stand for what cannot be seen."""
    return model.escape(raw.decode()).encode()


def encode_object(members: JsonObject, most: int) -> bytes:
    """JSON of an object in at most `most` bytes: the more it holds, the shorter its texts and lists."""
    return _fitted(_redacted(members), most)


def _fitted(members: JsonObject, most: int) -> bytes:
    limit = TEXT_CHARS
    while limit:
        raw = msgspec.json.encode(_tame(members, limit))
        if len(raw) <= most and len(data := _plain(raw)) <= most:
            return data
        limit //= 4
    return b'{"cut":true}'


def keyed(key: bytes) -> hashlib.blake2b:
    """What `digest` starts from; made once for each connection, because taking in the key costs as much as a call."""
    return hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)


def digest(start: hashlib.blake2b, data: bytes) -> bytes:
    """Keyed BLAKE2b-128 of encoded arguments, hex. Without the key, short arguments cannot be guessed from a log."""
    hashed = start.copy()
    hashed.update(data)
    return hashed.hexdigest().encode()


def prefix(conn: str, host: JsonObject, server: str) -> bytes:
    """Members that every record of one connection starts with; `host` is the evidence of who is calling."""
    evidence = encode_object(host, HOST_BYTES)
    return b'"conn":%b,"host":%b,"server":%b,' % (encode(conn), evidence, encode(server))


def outcome_tail(side: Side, method: str, target: str | None) -> bytes:
    """What `outcome` needs of a request beside its id. `side` sent it; `target` is the tool, prompt or URI."""
    member = b"tool" if method == "tools/call" else b"target"
    named = b'"%b":%b,' % (member, encode(target)) if target is not None else b""
    return b'"side":"%b","method":%b,%b' % (side.value.encode(), encode(method), named)


def call_tail(
    side: Side, method: str, target: str | None, verdict: Verdict, rule: str, *, binding: bool = True
) -> bytes:
    """What `call` needs of a decision. Not `binding`: the verdict was recorded and not carried out (observe)."""
    observed = b"" if binding else b'"binding":false,'
    word = verdict.name.lower().encode()
    return b'%b"decision":"%b",%b"rule":%b,' % (
        outcome_tail(side, method, target),
        word,
        observed,
        encode(rule),
    )


def call(
    start: bytes,
    ident: int,
    tail: bytes,
    hashed: bytes | None,
    size: int,
    shaped: bytes = b"",
    kept: bytes = b"",
) -> bytes:
    """A decision on a request, in either direction.

    `start` is from `prefix`, `tail` from `call_tail`, `hashed` from `digest` (None: no arguments), `size` in bytes of
    the encoded arguments. `ident` is the id on our side of the wire. `shaped` is from `shaped`, `kept` from
    `sealed.member`, empty for none.
    """
    if (shaped or kept) and hashed is not None:
        more = (b',"shape":%b' % shaped if shaped else b"") + kept
        args = b'{"digest":"%b","size":%d%b}' % (hashed, size, more)
        return b'"type":"call",%b"id":%d,%b"args":%b' % (start, ident, tail, args)
    if hashed is None:
        return b'"type":"call",%b"id":%d,%b"args":{"size":%d}' % (start, ident, tail, size)
    return b'"type":"call",%b"id":%d,%b"args":{"digest":"%b","size":%d}' % (start, ident, tail, hashed, size)


def shaped(arguments: JsonObject) -> bytes:
    """What arguments look like (`shape.shape`), encoded."""
    return _fitted(shape(arguments, redact.current()), BYTES)


def arguments(value: Json, marks: Marks | None, most: int) -> bytes:
    """Arguments as a record may keep them: redacted, and in at most `most` bytes of JSON.

    An object with the member `arguments`, and `cut` if that is not all of them.
    """
    redactor = redact.current()
    begun = _begun(value, most + redactor.reach)
    if len(msgspec.json.encode(begun)) > limits.RECORDED_LOOK_BYTES:
        return b'{"arguments":null,"cut":true}'
    raw = msgspec.json.encode(redactor.value(begun, marks))
    if len(raw) + _ABOUT <= most:
        return b'{"arguments":%b}' % raw
    redacted = msgspec.json.decode(raw)
    limit = most
    while limit:
        shorter = msgspec.json.encode(_tame(redacted, limit))
        if len(shorter) + _ABOUT <= most:
            return b'{"arguments":%b,"cut":true}' % shorter
        limit //= 2
    return b'{"arguments":null,"cut":true}'


def outcome(start: bytes, ident: int, tail: bytes, status: bytes, latency_us: int, size: int) -> bytes:
    """The answer to a forwarded request: `tail` from `outcome_tail`, `size` of the answer in bytes."""
    return b'"type":"outcome",%b"id":%d,%b"status":"%b","latency_us":%d,"size":%d' % (
        start,
        ident,
        tail,
        status,
        latency_us,
        size,
    )


def drop(start: bytes, side: Side, reason: str, size: int) -> bytes:
    """Something of `side` that is not passed on; `size` in bytes."""
    return b'"type":"drop",%b"side":"%b","reason":%b,"bytes":%d' % (
        start,
        side.value.encode(),
        encode(reason),
        size,
    )


def finding(start: bytes, kind: str, name: str, fault: str, pinned: str, seen: str) -> bytes:
    """Something that a server said of itself and that is not what its manifest pins.

    `kind` and `name` say what, `fault` what is wrong; `pinned` and `seen` are digests of the whole definition, empty
    where there is none.
    """
    return b'"type":"finding",%b"kind":%b,"name":%b,"fault":%b,"pinned":%b,"seen":%b' % (
        start,
        encode(kind),
        encode(name),
        encode(fault),
        encode(pinned),
        encode(seen),
    )


def detected(kind: str, subject: str, says: str, members: JsonObject) -> bytes:
    """Something unusual that detectors have found in other records (`findings.Finding`).

    It has `event`, `detected`, and a `severity`, by which it is told from a deviation of one definition; `kind`,
    `name` and `fault` say what was found, about what, in words, as those of a deviation do.
    """
    head = b'"type":"finding","event":"detected","kind":%b,"name":%b,"fault":%b' % (
        encode(kind),
        encode(subject),
        encode(says),
    )
    return _members(head, members, ("kind", "name", "fault"))


def quarantine(event: str, held: list[str], **members: Json) -> bytes:
    """What is in quarantine has changed, or is so at the start of a daemon: `imposed`, `lifted`, `still`.

    `held` is all of it, as `how server:NAME` or `how host:NAME`: the newest such record is what the next daemon
    compares its file with.
    """
    head = b'"type":"quarantine","event":%b,"held":%b' % (encode(event), _plain(msgspec.json.encode(held)))
    return _members(head, members, ("held",))


def approval(event: str, ticket: str, start: bytes = b"", **members: Json) -> bytes:
    """A question to a person: `asked`, `granted`, `denied`, `expired`, `void`, or `left` by a call that gave up.

    Also `presence-set` and `presence-removed`, of no ticket: how people show presence has changed.

    `start` is from `prefix`, where it happened on a connection. What was allowed is in the record of the call.
    """
    head = b'"type":"approval",%b"event":%b,"ticket":%b' % (start, encode(event), encode(ticket))
    return _members(head, members, ("conn", "host", "server", "ticket"))


def approved(tail: bytes, ticket: str) -> bytes:
    """The tail of `call_tail` for a call that a person has approved."""
    return b'%b"approval":%b,' % (tail, encode(ticket))


def secret(event: str, credential: str, start: bytes = b"", **members: Json) -> bytes:
    """Something that happened to a secret, by its reference; its value is never here.

    `event`: `given` to a server that starts, `filled` into a call; `set`, `rotated`, `removed`, `bound`, `revealed`,
    `expired`, and of the vault as a whole `created`, `unlocked`, `locked`, `unlock-failed`. `start` is from `prefix`,
    where it happened on a connection.
    """
    head = b'"type":"secret",%b"event":%b,"credential":%b' % (start, encode(event), encode(credential))
    return _members(head, members, ("conn", "host", "server", "credential"))


def flow(start: bytes, labels: list[str], tool: str) -> bytes:
    """Labels that an answer of a tool has brought, for the first time in this run of the host."""
    return b'"type":"flow",%b"tool":%b,"labels":%b' % (start, encode(tool), encode(labels))


def session(start: bytes, event: str, **members: Json) -> bytes:
    """The life of a connection: `begin`, `ready`, `end` (with exit code and counters); or that it was `refused`.

    `stage` is `caller` where who calls could not be established. `credential`: the id of the credential that a caller
    has shown, never the credential, and `remote`, where it came from if that was another machine; both of `begin`.
    """
    return _members(
        b'"type":"session",%b"event":%b' % (start, encode(event)), members, ("conn", "host", "server")
    )


def policy(old: str, new: str, source: str = "", event: str = "applied", **members: Json) -> bytes:
    """What is in force has changed: the digest of the one before (empty: none), of the one now, where it came from.

    `event`: `applied`; `folder-trusted` and `folder-forgotten` for the policy of a project's folder.
    """
    head = b'"type":"policy","event":%b,"old":%b,"new":%b,"source":%b' % (
        encode(event),
        encode(old),
        encode(new),
        encode(source),
    )
    return _members(head, members, ("old", "new", "source"))


def trust(event: str, **members: Json) -> bytes:
    """Who and what is trusted has changed, or is so at the start of the daemon; with the whole rollback state.

    `event`: `start`, `still`, `trust`, `revocations`, `trust-restored`, `manifest`, `manifest-removed`.
    """
    return _members(b'"type":"trust","event":%b' % encode(event), members, ())


def certificate(event: str, **members: Json) -> bytes:
    """The certificate registry is about to change, by whom, and what about it.

    `event`: `init`, `adopt`, `intermediate`, `root-exported`, `root-removed`, `unlock`, `issue`, `renew`, `revoke`,
    `list`, `trust`, `follow`, `forget`, `pin`, `unpin`; and of its use `refused`.
    """
    return _members(b'"type":"certificate","event":%b' % encode(event), members, ())


def host(event: str, name: str, **members: Json) -> bytes:
    """The list of enrolled hosts has changed: `enrolled`, `forgotten`, or `updated` as policy let it pass."""
    return _members(b'"type":"host","event":%b,"name":%b' % (encode(event), encode(name)), members, ("name",))


def credential(event: str, name: str, **members: Json) -> bytes:
    """A credential that peers show has changed: `created`, `rotated`, `revoked`; `name` is its id, never itself."""
    return _members(
        b'"type":"credential","event":%b,"name":%b' % (encode(event), encode(name)), members, ("name",)
    )


def token(event: str, server: str, **members: Json) -> bytes:
    """A token for a remote server: `login`, `refused`, `obtained`, `refreshed`, `lost`, `logout`. Never its value."""
    return _members(
        b'"type":"token","event":%b,"server":%b' % (encode(event), encode(server)), members, ("server",)
    )


def log(event: str, **members: Json) -> bytes:
    """The journal's own life: `opened`, `rotated` (names the segment before), `recovered`, `gap`.

    Also `unwatched`, what detectors have left out.
    """
    return _members(b'"type":"log","event":%b' % encode(event), members, ())


def _members(head: bytes, members: dict[str, Any], taken: tuple[str, ...]) -> bytes:
    """Head and further members; a name that the head or the envelope has is a bug of the caller."""
    clash = {"type", "event", *taken, *ENVELOPE} & members.keys()
    if clash:
        raise ValueError(f"members written twice: {', '.join(sorted(clash))}")
    return b"%b,%b" % (head, encode_object(members, MEMBERS_BYTES)[1:-1]) if members else head


def parse_line(line: bytes) -> Record:
    """Read one line, with or without its LF.

    Versions: 1 has no seal, 2 ends with the member `mac` (see `seal`).

    Not here: whether it continues a chain, and whether the seal holds; see `chain`.

    Raises:
        JournalError: It is not a record of these versions; the message says what is wrong.
    """
    head = _HEAD.match(line)
    if head is None:
        raise JournalError(_foreign(line))
    version, seq, prev, time, boot = head.groups()
    if version == b"2":
        end = len(line) - line.endswith(b"\n") - _MAC_BYTES
        if end < head.end() or not _MAC.match(line, end):
            raise JournalError("not a record: it has no seal")
        rest = b"{%b}" % line[head.end() : end]
    else:
        rest = b"{" + line[head.end() :]
    try:
        body = msgspec.json.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JournalError("not JSON") from error
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or not body.keys().isdisjoint(ENVELOPE):
        raise JournalError("not a record: its body has no type, or repeats a member of the envelope")
    return Record(int(seq), prev.decode(), time.decode(), boot.decode(), kind, body)


def _foreign(line: bytes) -> str:
    """Why a line without our envelope is no record, as narrowly as can be told."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not JSON"
    if isinstance(value, dict) and value.get("v", 1) not in (1, 2):
        return "a record of another version of the log"
    return "not a record: its envelope is not the one this log is written with"
