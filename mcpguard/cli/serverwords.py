"""A server as a person reads it: what runs, what it may see, what it offers, and what has changed.

Everything that comes from a server is its own claim, and is shown through `cli.terminal.say`, which makes every
character visible.
"""

from __future__ import annotations

import difflib
import json
import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mcpguard.audit.record import cut
from mcpguard.cli.drafting import risk_of
from mcpguard.cli.remoteadd import in_words as in_words_of
from mcpguard.credentials.environment import MINIMUM
from mcpguard.identity.described import KINDS, Definitions, Observation
from mcpguard.identity.manifest import HOST_CWD, SESSION_TMP, ExecutablePin, Manifest
from mcpguard.identity.pinlevel import FREE, LABELS
from mcpguard.model import Json, JsonObject

_TEXT: Final = 1000
"""Longest text of a server that is shown in full, characters."""
_URIS: Final = 8
_RISKS: Final = {
    "read": "says it only reads",
    "write": "says it writes",
    "destructive": "says it may destroy",
}
_REMOTE: Final = "P1, who answers; may still change: everything that runs there"
_PLACES: Final = {
    HOST_CWD: "the directory that the host starts it in",
    SESSION_TMP: "a directory made for each session",
}


def in_words(manifest: Manifest, definitions: Definitions) -> list[str]:
    """A manifest, line by line."""
    return [
        f"{manifest.name}, version {manifest.version}, valid from {manifest.not_before} to {manifest.expires}",
        *_runs(manifest),
        *_sees(manifest),
        *_offers(manifest, definitions),
    ]


def _runs(manifest: Manifest) -> list[str]:
    launch, level = manifest.launch, manifest.pin
    if launch.remote is not None:
        return [*(_line(*each) for each in in_words_of(launch.remote)), _line("pinned", _REMOTE)]
    lines = [
        _line("runs", shlex.join(launch.argv)),
        _line("when a host says", shlex.join(launch.host_argv)),
        _line("in", _PLACES.get(launch.cwd, launch.cwd)),
        _line("pinned", f"{level}, {LABELS[level]}; may still change: {FREE[level]}"),
    ]
    lines += [_line("file", _file(pin)) for pin in manifest.executables]
    lines += [
        _line(
            "packages",
            f"{pin.count} of {pin.ecosystem}, tree sha256 {pin.tree}, scripts: {pin.install_scripts}",
        )
        for pin in manifest.packages
    ]
    return lines


def _file(pin: ExecutablePin) -> str:
    return f"{pin.path}  sha256 {pin.sha256}  {pin.size} bytes  {owner(pin.path)}"


def owner(path: str) -> str:
    """Who could change a file."""
    try:
        facts = Path(path).stat()
    except OSError:
        return "not there now"
    try:
        name = pwd.getpwuid(facts.st_uid).pw_name
    except KeyError:
        name = f"uid {facts.st_uid}"
    whose = f"yours ({name})" if facts.st_uid == os.geteuid() else f"of {name}"
    return f"{whose}, writable by others" if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else whose


def _sees(manifest: Manifest) -> list[str]:
    launch = manifest.launch
    lines = (
        []
        if launch.remote is not None
        else [
            _line("gets", f"of the host's environment {', '.join(sorted(name.decode() for name in MINIMUM))}")
        ]
    )
    if launch.env_pass:
        lines.append(_line("and", ", ".join(launch.env_pass)))
    lines += [_line("set", f"{name}={value}") for name, value in launch.env_set.items()]
    lines += [_line("secret", f"{name} from {reference}") for name, reference in launch.secret.items()]
    if manifest.server_requests:
        lines.append(_line("asks hosts for", ", ".join(manifest.server_requests)))
    return lines


def _offers(manifest: Manifest, definitions: Definitions) -> list[str]:
    lines = [_line("calls itself", manifest.server_name or "nothing")]
    for kind, word in KINDS.items():
        table = {"tools": manifest.tools, "prompts": manifest.prompts}.get(kind, manifest.resource_templates)
        known = definitions.of(kind)
        lines += [_line(word, _offer(name, known.get(name), manifest)) for name in table]
    if manifest.resources:
        more = len(manifest.resources) - _URIS
        some = ", ".join(manifest.resources[:_URIS]) + (f" and {more} more" if more > 0 else "")
        lines.append(_line("resources", some))
    if manifest.instructions_sha256:
        lines.append(_line("instructions", cut(definitions.instructions, _TEXT) or "pinned, text not known"))
    if manifest.ignored:
        lines.append(_line("not enforced", f"{', '.join(manifest.ignored)}: this version does not know them"))
    return [*lines, "  What the server says of its tools is its own claim."] if manifest.tools else lines


def _offer(name: str, definition: JsonObject | None, manifest: Manifest) -> str:
    if definition is None:
        return f"{name}  (its definition is pinned, its text not known)"
    risk = _RISKS.get(risk_of(definition), "says nothing of its risk") if name in manifest.tools else ""
    text = definition.get("description") or definition.get("title") or ""
    return "  ".join(part for part in (name, risk, cut(str(text), _TEXT)) if part)


def _line(word: str, text: str) -> str:
    return f"  {word:<17} {text}"


# --- what has changed ----------------------------------------------------------------------------------------


def differences(definitions: Definitions, observed: Iterable[Observation]) -> list[str]:
    """What was pinned against what was seen, as unified diffs of their JSON."""
    lines: list[str] = []
    for each in observed:
        lines += _difference(each, _pinned(definitions, each), each.definition)
    return lines


def between(before: Definitions, after: Definitions) -> list[str]:
    """What another set of definitions changes."""
    lines: list[str] = []
    for kind in KINDS:
        old, new = before.of(kind), after.of(kind)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                fault = "is new" if name not in old else "is gone" if name not in new else "has changed"
                lines += _difference(Observation(kind, name, fault), old.get(name), new.get(name))
    if before.instructions != after.instructions:
        lines += _difference(
            Observation("instructions", "", "have changed"),
            before.instructions or None,
            after.instructions or None,
        )
    return lines


def _pinned(definitions: Definitions, observation: Observation) -> Json:
    if observation.kind in KINDS:
        return definitions.of(observation.kind).get(observation.name)
    return (
        definitions.instructions or None if observation.kind == "instructions" else observation.pinned or None
    )


def _difference(observation: Observation, before: Json, after: Json) -> list[str]:
    what = KINDS.get(observation.kind, observation.kind)
    head = f"{what} {observation.name}".rstrip() + f" {observation.fault}"
    if after is None and observation.seen:
        return [head, "  what was seen is too large to be kept, or was not given"]
    if before is None and observation.pinned and observation.kind != "serverInfo":
        head += " (the pinned text is not known here)"
    return [head, *(f"  {line}" for line in _unified(before, after))]


def _unified(before: Json, after: Json) -> list[str]:
    return list(difflib.unified_diff(_lines(before), _lines(after), "pinned", "seen", lineterm="", n=2))


def _lines(value: Json) -> list[str]:
    """A definition, a member on each line; nothing for none."""
    return (
        [] if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).split("\n")
    )
