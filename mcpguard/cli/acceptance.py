"""Accept what has changed of a server: the next manifest, and what is different in it."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import msgspec

from mcpguard.cli.drafting import PLACEHOLDER, described, pinned
from mcpguard.cli.registered import Shown
from mcpguard.cli.serverwords import between
from mcpguard.errors import TrustError
from mcpguard.identity.described import KINDS, Definitions, Observation
from mcpguard.identity.manifest import SESSION_TMP, STORE, Manifest
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject
from mcpguard.system.pinned import digest_of
from mcpguard.system.tree import tree_digest


def observed(shown: Shown) -> tuple[Manifest, Definitions]:
    """The manifest with the definitions that were seen last in the place of the pinned ones.

    Raises:
        TrustError: One of them was not kept, or may not be shown at all.
    """
    tables: dict[str, dict[str, JsonObject]] = {kind: dict(shown.definitions.of(kind)) for kind in KINDS}
    instructions, name = shown.definitions.instructions, shown.manifest.server_name
    for each in shown.observed:
        if each.kind == "serverInfo":
            name = each.seen
        elif each.kind == "instructions":
            instructions = _text(each, shown.name)
        else:
            tables[each.kind][each.name] = _definition(each, shown.name)
    definitions = Definitions(
        tools=tables["tools"],
        prompts=tables["prompts"],
        resource_templates=tables["resourceTemplates"],
        instructions=instructions,
        resources=shown.definitions.resources,
    )
    _require_whole(shown)
    return described(shown.manifest, definitions, server_name=name), definitions


def updated(manifest: Manifest) -> Manifest:
    """The manifest with the digests that its executables have now; package trees stay what they are.

    Raises:
        TrustError: One of them cannot be read.
    """
    pins = tuple(pin if pin.path.startswith(STORE) else pinned(pin.path) for pin in manifest.executables)
    return msgspec.structs.replace(manifest, executables=pins)


def next_version(
    shown: Shown, manifest: Manifest, seen: int, now: dt.datetime, lasting: dt.timedelta
) -> Manifest:
    """The manifest as the successor of the one in force. `seen` is the highest version that was seen."""
    return msgspec.structs.replace(
        manifest,
        version=max(seen, shown.manifest.version) + 1,
        supersedes=shown.digest,
        not_before=format_time(now),
        expires=format_time(now + lasting),
    )


def changes(shown: Shown, manifest: Manifest, definitions: Definitions) -> list[str]:
    """What the next manifest changes, as a person reads it; empty for nothing."""
    before = shown.manifest
    lines = [
        f"{pin.path}: sha256 {old.sha256} becomes {pin.sha256}"
        for old, pin in zip(before.executables, manifest.executables, strict=True)
        if old.sha256 != pin.sha256
    ]
    if before.server_name != manifest.server_name:
        lines.append(f"it called itself {before.server_name!a}, and now {manifest.server_name!a}")
    for word, old_names, names in (
        ("asks hosts for", before.server_requests, manifest.server_requests),
        ("resources", before.resources, manifest.resources),
    ):
        if gone := sorted(set(old_names) - set(names)):
            lines.append(f"{word}: no longer {', '.join(gone)}")
        if more := sorted(set(names) - set(old_names)):
            lines.append(f"{word}: now also {', '.join(more)}")
    return lines + between(shown.definitions, definitions)


def what_differs(name: str, manifest: Manifest, store: Path) -> list[str]:
    """Sentences about executables and trees of a server that are not what was signed, now."""
    faults: list[str] = []
    for pin in manifest.executables:
        path = pin.path.replace(STORE, os.fspath(store))
        try:
            found = digest_of(path)
        except TrustError as error:
            faults.append(error.sentence())
            continue
        if found != pin.sha256:
            faults.append(
                f"{path!a} has changed: its sha256 is {found[:12]}, and {pin.sha256[:12]} was signed; if it was "
                f"updated, mcpguard server trust {name} --probe"
            )
    for package in manifest.packages:
        try:
            found = tree_digest(store / package.ecosystem / package.tree).sha256
        except TrustError as error:
            faults.append(error.sentence())
            continue
        if found != package.tree:
            faults.append(
                f"the package tree has changed: it is {found[:12]}, and {package.tree[:12]} was signed; install it "
                f"again: mcpguard server pin {name}"
            )
    return faults


def placed(manifest: Manifest, store: Path) -> tuple[list[str], dict[str, str]]:
    """Command and variables with our store in the place of `{store}`.

    Raises:
        TrustError: They need a directory of a session, which a probe has not.
    """
    place, launch = os.fspath(store), manifest.launch
    argv = [word.replace(STORE, place) for word in launch.argv]
    fixed = {name: value.replace(STORE, place) for name, value in launch.env_set.items()}
    fixed |= dict.fromkeys(launch.secret, PLACEHOLDER)
    if any(SESSION_TMP in word for word in (*argv, *fixed.values())):
        raise TrustError("the command needs a directory of a session", hint="accept without --probe")
    return argv, fixed


def _text(observation: Observation, name: str) -> str:
    if observation.definition is None and not observation.seen:
        return ""
    if not isinstance(observation.definition, str):
        raise _not_kept(observation, name)
    return observation.definition


def _definition(observation: Observation, name: str) -> JsonObject:
    if not isinstance(observation.definition, dict):
        raise _not_kept(observation, name)
    if not observation.fault.startswith(("differs", "is not pinned")):
        raise TrustError(
            f"{KINDS[observation.kind]} {observation.name!a} {observation.fault}, and cannot be accepted",
            hint=f"see: mcpguard server diff {name}",
        )
    return observation.definition


def _not_kept(observation: Observation, name: str) -> TrustError:
    what = KINDS.get(observation.kind, observation.kind)
    return TrustError(
        f"what was seen of {what} {observation.name!a} was not kept",
        hint=f"mcpguard server trust {name} --probe",
    )


def _require_whole(shown: Shown) -> None:
    """Refuse to sign definitions some of which are pinned and not known here: they would no longer be pinned.

    Raises:
        TrustError: There are such.
    """
    pins, seen = shown.manifest.pins(), {(each.kind, each.name) for each in shown.observed}
    if pins.instructions and not shown.definitions.instructions and ("instructions", "") not in seen:
        raise _not_known("the instructions are", shown.name)
    for kind, table in (
        ("tools", pins.tools),
        ("prompts", pins.prompts),
        ("resourceTemplates", pins.templates),
    ):
        for name in table:
            if name not in shown.definitions.of(kind) and (kind, name) not in seen:
                raise _not_known(f"the definition of {KINDS[kind]} {name!a} is", shown.name)


def _not_known(what: str, name: str) -> TrustError:
    return TrustError(f"{what} pinned and not known here", hint=f"mcpguard server trust {name} --probe")
