"""Events in the Open Cybersecurity Schema Framework, as the classes that security teams search for.

Rule 1. What is written is valid for OCSF `VERSION`; tests hold every kind of record against the published schema.
Rule 2. Every member of a record that has no place in its class is under `unmapped.mcpguard`, and nothing is lost.
Rule 3. `metadata.uid` is the event's id, `metadata.sequence` its place in the chain.

The chain itself (`prev`) is under `unmapped`: the profile `record_integrity`, which has a place for it, is in no
released version.

Source: OCSF 1.8.0, classes authentication, authorize_session, user_access, api_activity, process_activity,
application_lifecycle, entity_management, detection_finding, event_log_activity; profiles ai_operation,
security_control, host.

Decided:
    *An answer is an API Activity of its own*, joined to the decision by `metadata.correlation_uid`; rejected: keeping
    decisions until they are answered, which would need a memory, and lose both in a crash.
    *A session that begins is a process launch where a server is started*, and a logon where its host is refused: the
    launch carries the evidence of who asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mcpguard import __version__
from mcpguard.audit.event import UNREADABLE, Event, Severity, text
from mcpguard.model import Json, JsonObject

VERSION: Final = "1.8.0"
"""Of the schema."""
_CATEGORIES: Final = {
    1: "System Activity",
    2: "Findings",
    3: "Identity & Access Management",
    6: "Application Activity",
}
_CLASSES: Final = {
    1007: "Process Activity",
    1008: "Event Log Activity",
    2004: "Detection Finding",
    3002: "Authentication",
    3003: "Authorize Session",
    3004: "Entity Management",
    3005: "User Access Management",
    6002: "Application Lifecycle",
    6003: "API Activity",
}
_READS: Final = frozenset({"resources/read", "prompts/get", "tools/list", "resources/list", "prompts/list"})
_TOOL_ROLE: Final = 3
_SHA_256: Final = 3
_REGULAR: Final = 1
_DEVICE: Final = {"type_id": 0, "hostname": "localhost"}
_ENVELOPE: Final = ("seq", "prev", "boot")

_Mapped = tuple[int, int, str, JsonObject]
"""Class, activity with its name, and what is particular to the class."""


def ocsf(event: Event, hostname: str = "") -> JsonObject:
    """The event as an object of its class; `hostname` is this machine's, empty if it is not known."""
    uid, activity, name, members = _mapped(event, hostname)
    record = event.record
    metadata: JsonObject = {
        "version": VERSION,
        "uid": event.id,
        "product": {"name": "mcpguard", "vendor_name": "mcpguard", "version": __version__},
        "log_name": "audit",
        "event_code": event.name[:128],
        "original_time": record.time,
        "profiles": members.pop("_profiles", []),
    }
    if record.seq:
        metadata["sequence"] = record.seq
    if conn := event.text("conn"):
        metadata["correlation_uid"] = (
            f"{conn}/{event.text('side')}/{event.text('id')}" if "id" in event.body else conn
        )
    return {
        "class_uid": uid,
        "class_name": _CLASSES[uid],
        "category_uid": uid // 1000,
        "category_name": _CATEGORIES[uid // 1000],
        "activity_id": activity,
        "activity_name": name,
        "type_uid": uid * 100 + activity,
        "time": event.milliseconds,
        "severity_id": int(event.severity),
        "severity": event.severity.name.capitalize(),
        "message": event.sentence,
        "metadata": metadata,
        **members,
        "unmapped": {"mcpguard": _unmapped(event)},
    }


def _mapped(event: Event, hostname: str) -> _Mapped:
    maker = _MAKERS.get(event.record.type, _other)
    return maker(event, {"type_id": 0, "hostname": hostname} if hostname else _DEVICE)


def _unmapped(event: Event) -> JsonObject:
    record = event.record
    return {"seq": record.seq, "prev": record.prev, "boot": record.boot, **record.body}


# --- what several classes have -----------------------------------------------------------------------------


def _user(event: Event) -> JsonObject:
    return {"uid": text(event.host.get("uid")) or "unknown"}


def _actor(event: Event) -> JsonObject:
    """Who called: the host's process, its user, and its name where it is enrolled."""
    host = event.host
    actor: JsonObject = {"user": _user(event), "app_name": text(host.get("host")) or "unrecognised host"}
    if conn := event.text("conn"):
        actor["session"] = {"uid": conn}
    if type(host.get("pid")) is int and host["pid"] > 0:
        actor["process"] = _process(host["pid"], text(host.get("exe")), text(host.get("sha256")))
    return actor


def _process(pid: int, path: str, digest: str = "") -> JsonObject:
    process: JsonObject = {"pid": pid}
    if path:
        name = path.rpartition("/")[2] or path
        process["name"] = name
        process["file"] = {"name": name, "path": path, "type_id": _REGULAR}
        if digest:
            process["file"]["hashes"] = [{"algorithm_id": _SHA_256, "algorithm": "SHA-256", "value": digest}]
    return process


def _control(event: Event) -> JsonObject:
    """What the guard did about it (profile security_control)."""
    match event.text("decision") or event.text("status") or event.word:
        case "allow" | "begin" | "ready" | "ok" | "tool_error" | "error" | "granted":
            return {"action_id": 1, "action": "Allowed", "disposition_id": 1, "disposition": "Allowed"}
        case "deny" | "refused" if event.body.get("binding") is not False:
            return {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}
        case "ask":
            return {"action_id": 99, "action": "Asked", "disposition_id": 23, "disposition": "Challenge"}
        case _:
            return {"action_id": 3, "action": "Observed", "disposition_id": 17, "disposition": "Logged"}


def _status(*, good: bool | None, detail: str = "") -> JsonObject:
    if good is None:
        return {"status_id": 0, "status": "Unknown"}
    found: JsonObject = {"status_id": 1 if good else 2, "status": "Success" if good else "Failure"}
    return found | ({"status_detail": detail} if detail else {})


# --- the classes -------------------------------------------------------------------------------------------


def _call(event: Event, device: JsonObject) -> _Mapped:
    """A request that was decided, or its answer: API Activity."""
    method = event.text("method")
    activity, name = (2, "Read") if method in _READS else (99, method or "other")
    answered = event.record.type == "outcome"
    api: JsonObject = {
        "operation": f"{method} {event.target}".strip() or "unknown",
        "service": {"name": event.text("server") or "unknown"},
    }
    if "id" in event.body:
        api["request"] = {"uid": event.text("id")}
    status = event.text("status")
    if answered and status not in ("ok", ""):
        api["response"] = {"error": status}
    application = text(event.host.get("host")) or text(event.host.get("name")) or "unrecognised host"
    members: JsonObject = {
        "_profiles": ["ai_operation", "host", "security_control"],
        "actor": _actor(event),
        "api": api,
        "src_endpoint": {"hostname": device["hostname"], "svc_name": application},
        "device": device,
        "message_context": {
            "application": {"name": application},
            "service": {"name": event.text("server") or "unknown"},
            "ai_role_id": _TOOL_ROLE,
            "ai_role": "Tool",
        },
        **_control(event),
        **(
            _status(good=status == "ok", detail=status if status != "ok" else "")
            if answered
            else _status(good=None)
        ),
    }
    if event.target:
        members["resources"] = [{"name": event.target, "type": "tool" if "tool" in event.body else method}]
    if not answered:
        members["firewall_rule"] = {"name": event.text("rule") or "default"}
    if type(latency := event.body.get("latency_us")) is int:
        members["duration"] = latency // 1000
    return 6003, activity, name, members


def _session(event: Event, device: JsonObject) -> _Mapped:
    """The life of a connection: a server starts and ends, or its host is refused."""
    if event.word == "refused":
        return 3002, 1, "Logon", _logon(event, device, good=False)
    if event.word in ("ready", "begin"):
        return 1007, 1, "Launch", _started(event, device)
    if event.word == "end":
        ended = _started(event, device)
        code = event.body.get("code")
        return 1007, 2, "Terminate", ended | ({"exit_code": code} if type(code) is int else {})
    return 3002, 99, event.word or "other", _logon(event, device, good=None)


def _logon(event: Event, device: JsonObject, *, good: bool | None) -> JsonObject:
    return {
        "_profiles": ["host", "security_control"],
        "actor": _actor(event),
        "user": _user(event),
        "service": {"name": event.text("server") or "mcpguard"},
        "auth_protocol_id": 99,
        "auth_protocol": "unix-peer",
        "is_remote": False,
        "device": device,
        **_control(event),
        **_status(good=good, detail=event.text("reason")),
    }


def _started(event: Event, device: JsonObject) -> JsonObject:
    command = event.body.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    pid = event.body.get("pid")
    process = _process(pid if type(pid) is int and pid > 0 else 0, words[0] if words else "")
    process["name"] = event.text("server") or process.get("name", "unknown")
    if not process["pid"]:
        del process["pid"]
    process["uid"] = event.text("conn") or "unknown"
    if words:
        process["cmd_line"] = " ".join(words)
    return {
        "_profiles": ["host", "security_control"],
        "actor": _actor(event),
        "device": device,
        "process": process,
        **_control(event),
    }


def _approval(event: Event, device: JsonObject) -> _Mapped:
    """A question to a person: rights for one session are given, or are taken back or refused."""
    privilege = f"{event.text('server')}: {event.text('ticket') or event.word}".removeprefix(": ")
    members: JsonObject = {
        "_profiles": ["host", "security_control"],
        "actor": _actor(event),
        "user": _user(event),
        "privileges": [privilege],
        "device": device,
        **_control(event),
    }
    if event.word == "granted":
        return 3003, 1, "Assign Privileges", members | _status(good=True)
    if event.word in ("denied", "expired", "void", "left"):
        return 3005, 2, "Revoke Privileges", members | _status(good=True, detail=event.text("reason"))
    return 3003, 99, event.word or "other", members | _status(good=None)


def _entity(kind: str) -> Callable[[Event, JsonObject], _Mapped]:
    """Something that people manage has changed: Entity Management."""
    activities = {
        "applied": (3, "Update"), "updated": (3, "Update"), "trust": (3, "Update"), "revocations": (3, "Update"),
        "folder-trusted": (8, "Enable"), "folder-forgotten": (9, "Disable"),
        "enrolled": (6, "Enroll"), "forgotten": (7, "Unenroll"),
        "created": (1, "Create"), "rotated": (3, "Update"), "revoked": (9, "Disable"),
        "start": (2, "Read"), "still": (2, "Read"), "trust-restored": (3, "Update"),
    }  # fmt: skip

    def made(event: Event, device: JsonObject) -> _Mapped:
        if event.word in ("manifest", "manifest-removed"):
            return _manifest(event, device)
        activity, name = activities.get(event.word, (99, event.word or "other"))
        title = event.target or event.text("source") or kind
        entity: JsonObject = {"name": title, "type": kind}
        if new := event.text("new"):
            entity["uid"] = new
        if kind == "policy":
            entity |= {
                "type_id": 5,
                "type": "Policy",
                "policy": {"name": title, **({"uid": new} if new else {})},
            }
        members: JsonObject = {
            "_profiles": ["host"],
            "actor": {"app_name": "mcpguard"},
            "entity": entity,
            "device": device,
            **_status(good=True),
        }
        return 3004, activity, name, members

    return made


def _manifest(event: Event, device: JsonObject) -> _Mapped:
    """A server is registered, gets another manifest, or is removed: Application Lifecycle."""
    removed = event.word == "manifest-removed"
    app: JsonObject = {"name": event.target or "unknown", "vendor_name": event.text("publisher") or "unknown"}
    if version := event.text("version"):
        app["version"] = version
    if digest := event.text("manifest"):
        app["uid"] = digest
    members: JsonObject = {"_profiles": ["host"], "app": app, "device": device, **_status(good=True)}
    return 6002, 2 if removed else 1, "Remove" if removed else "Install", members


def _finding(event: Event, device: JsonObject) -> _Mapped:
    """Something that should not be: Detection Finding."""
    kind = event.text("kind") or event.record.type
    info: JsonObject = {
        "uid": event.id,
        "title": event.text("title")
        or f"{kind}: {event.text('fault') or event.text('reason') or event.sentence}",
        "desc": event.sentence,
        "types": [kind],
        "created_time": event.milliseconds,
        "product": {"name": "mcpguard", "vendor_name": "mcpguard"},
    }
    if attacks := _attacks(event.body):
        info["attacks"] = attacks
    if ids := _ids(event.body, "owasp"):
        info["tags"] = [{"name": "owasp", "values": ids}]
    members: JsonObject = {
        "_profiles": ["host", "security_control"],
        "finding_info": info,
        "is_alert": event.severity >= Severity.HIGH,
        "device": device,
        **_control(event),
        "status_id": 1,
        "status": "New",
    }
    if event.text("server"):
        members["resources"] = [{"name": event.text("server"), "type": "MCP server"}]
    if next_step := event.text("step"):
        members["remediation"] = {"desc": next_step}
    return 2004, 1, "Create", members


def _attacks(body: JsonObject) -> list[JsonObject]:
    """MITRE ATLAS techniques that a finding names."""
    return [{"technique": {"uid": ident, "name": ident}, "version": "ATLAS"} for ident in _ids(body, "atlas")]


def _ids(body: JsonObject, member: str) -> list[str]:
    found: Json = body.get(member)
    return (
        [found]
        if isinstance(found, str) and found
        else [str(each) for each in found]
        if isinstance(found, list)
        else []
    )


def _log(event: Event, device: JsonObject) -> _Mapped:
    """The log's own life: Event Log Activity."""
    activities = {
        "opened": (6, "Start"), "rotated": (5, "Rotate"), "closed": (7, "Stop"), "exported": (3, "Export"),
        "tombstone": (2, "Delete"), "unsent": (2, "Delete"),
    }  # fmt: skip
    activity, name = activities.get(event.word, (99, event.word or "other"))
    members: JsonObject = {
        "_profiles": ["host"],
        "log_name": "audit",
        "log_provider": "mcpguard",
        "log_type_id": 2,
        "log_type": "Application",
        "device": device,
        "actor": {"app_name": "mcpguard"},
        **_status(good=event.word not in ("gap", "unsent", "recovered"), detail=event.text("reason")),
    }
    return 1008, activity, name, members


def _other(event: Event, device: JsonObject) -> _Mapped:
    """What has no class of its own: an entry of a log."""
    uid, _, _, members = _log(event, device)
    return uid, 99, event.record.type or "other", members | _status(good=None)


_MAKERS: Final = {
    "call": _call,
    "outcome": _call,
    "session": _session,
    "approval": _approval,
    "policy": _entity("policy"),
    "trust": _entity("trust"),
    "host": _entity("host"),
    "credential": _entity("credential"),
    "finding": _finding,
    "drop": _finding,
    "log": _log,
    UNREADABLE: _finding,
}
