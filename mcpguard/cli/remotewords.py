"""Words for logins at remote servers."""

from __future__ import annotations

import datetime as dt
from typing import Final
from urllib.parse import urlsplit

from mcpguard.model import JsonObject

_HOW: Final = {
    "given": "as you registered it",
    "document": "by its document",
    "registered": "which it registered itself as",
}
_NO_SCOPES: Final = "(none named)"


def leads_to(told: JsonObject) -> list[str]:
    """What a person is shown before a login: where it leads, and what for."""
    lines = [
        f"{told['server']} sends you to log in",
        f"  at       {urlsplit(str(told['url'])).netloc}, for the issuer {told['issuer']}",
        f"  for      {told['resource'] or 'its identity provider'}",
        f"  scopes   {' '.join(told['scopes']) or _NO_SCOPES}",
        f"  as       {told['client_id']}, {_HOW.get(str(told['client']), '')}",
        f"  back to  {told['redirect']}",
    ]
    before = told.get("issuer_before", "")
    if before and before != told["issuer"]:
        lines.insert(1, f"  CHANGED: the last login was at {before}")
    return lines


def granted(told: JsonObject) -> list[str]:
    """What came of a login."""
    return [f"{told['server']}: logged in at {told['issuer']}", f"  {_good_for(told)}"]


def status_lines(told: JsonObject, now: float) -> list[str]:
    """One server of the status."""
    if "error" in told:
        return [f"{told['server']}  unusable: {told['error']}"]
    state = _state(told, now)
    if told["flow"] == "code" and not told["resource"]:
        return [f"{told['server']}  {state}", f"  identity provider  {told['url']}"]
    lines = [f"{told['server']}  {state}", f"  issuer  {told['issuer']}", f"  {_good_for(told)}"]
    if told["wanted"]:
        lines.append(f"  wants   {' '.join(told['wanted'])}: mcpguard remote login {told['server']}")
    return lines


def _state(told: JsonObject, now: float) -> str:
    refreshes = "refreshed by itself" if told["refreshes"] else "then a new login"
    if not told["expires"]:
        return "logged in, until the server refuses"
    if told["expires"] <= now:
        return (
            "expired, refreshed with the next call" if told["refreshes"] else "expired: a new login is needed"
        )
    return f"logged in until {_moment(told['expires'])}, {refreshes}"


def _good_for(told: JsonObject) -> str:
    kind = ", bound to a key of ours" if told["kind"] == "DPoP" else ""
    return f"scopes  {' '.join(told['scopes']) or _NO_SCOPES}; for {told['resource']}{kind}"


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
