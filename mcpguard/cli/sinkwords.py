"""A sink of the audit log in one line for a person, for `audit sink list` and `status`."""

from __future__ import annotations

import datetime as dt

from mcpguard.audit.record import visible
from mcpguard.cli.recordwords import local
from mcpguard.model import JsonObject


def in_a_line(each: JsonObject) -> str:
    """A sink for a person."""
    sent = local(utc(each["sent_at"])) if each["sent_at"] else "never"
    left = each["waiting"] if each["waiting"] >= 0 else "?"
    wrong = f"; failing: {visible(each['error'])}" if each["error"] else ""
    gaps = f", {each['gaps']} gaps" if each["gaps"] else ""
    return (
        f"{each['name']}  {each['kind']} {visible(each['to'])}  {each['sent']} events sent{gaps}, last {sent}; "
        f"{left} records wait{wrong}"
    )


def utc(at: float) -> str:
    """A Unix time as records have it."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
