"""`mcpguard secret import`: secrets in plain text move out of the configurations of hosts, and back if need be.

Decided:
    *Only servers behind mcpguard*, because another would be given the reference instead of the secret.
    *The name in the vault stands in the diff*; where it turns out to be taken by another value, `-2` follows it.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from mcpguard.cli import client, presence
from mcpguard.cli.hostwrap import anywhere, files
from mcpguard.cli.main import CONFIG
from mcpguard.cli.secret import ready
from mcpguard.cli.secretplan import SecretPlan, carry_out, to_import
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.cli.wrapplan import Fault, called
from mcpguard.errors import ConfigError, GuardError, PeerError
from mcpguard.hosts.secretvalues import Place, check, put_back
from mcpguard.hosts.wrapping import Edit, File, edited
from mcpguard.model import JsonObject
from mcpguard.system import configfile, paths
from mcpguard.system.wrapstore import WrapStore


@click.command("import")
@click.argument("hosts", nargs=-1)
@click.option("--server", "servers", multiple=True, metavar="NAME", help="Only this server; may be repeated.")
@click.option("--project", metavar="DIR", help="The files of this folder instead of the user's.")
@click.option(
    "--pass",
    "passed",
    multiple=True,
    metavar="VAR",
    help="A variable of the host that these servers need besides those of their entry.",
)
@click.option("--undo", is_flag=True, help="Put everything back that was imported.")
@click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_(
    hosts: tuple[str, ...],
    servers: tuple[str, ...],
    passphrase_file: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Move secrets in plain text out of the configurations of HOSTS, or of all hosts that are here, into the vault.

    Shows a diff and asks once. A reference stays in the file, which gives the secret to this one server and its
    command; `--undo` puts every byte back.
    """
    with errors_told(as_json=as_json):
        if options["undo"]:
            _undo(servers, passphrase_file, dry_run=dry_run, yes=yes, as_json=as_json)
            return
        plans, faults = to_import(files(hosts, options["project"]), called(servers))
        _show(plans, faults, as_json=as_json)
        if not plans or dry_run:
            _told(plans if dry_run else [], faults, as_json=as_json, dry_run=dry_run)
            return
        many = sum(len(plan.moves) for plan in plans)
        confirm(f"Move {many} secret{'' if many == 1 else 's'} into the vault?", yes=yes)
        ready(passphrase_file)
        store, done = WrapStore(paths.wrapped_dir()), []
        for plan in plans:
            try:
                carry_out(plan, store, options["passed"])
            except PeerError:
                raise  # whoever asks may not: so it is for every file
            except GuardError as error:
                faults.append(Fault(str(plan.host_file.path), error.sentence()))
                tell(f"mcpguard: {error.sentence()}")
            else:
                done.append(plan)
        _told(done, faults, as_json=as_json, dry_run=False)


def _show(plans: list[SecretPlan], faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        return
    tell(*(f"mcpguard: {fault.sentence}" for fault in faults))
    for plan in plans:
        tell(*plan.diff())


def _told(plans: list[SecretPlan], faults: list[Fault], *, as_json: bool, dry_run: bool) -> None:
    changed = [
        {
            "file": str(plan.host_file.path),
            "secrets": [
                {"server": move.entry.name, "variable": move.variable, "name": move.name} for move in plan.moves
            ],
        }
        for plan in plans
    ]  # fmt: skip
    if as_json:
        key = "would_change" if dry_run else "changed"
        print_json({"ok": not faults, key: changed, "left": [fault.sentence for fault in faults]})
    elif dry_run:
        say("nothing was changed (dry run)")
    elif not plans:
        say("nothing to do")
    for plan in plans if not (as_json or dry_run) else ():
        say(f"moved out of {plan.host_file.path}: {', '.join(move.name for move in plan.moves)}")
    if plans and not (as_json or dry_run):
        say("restart the hosts; undo it: mcpguard secret import --undo")
        tell(
            "copies that a host or an editor has made of the file still hold the secrets: make new ones there"
        )
    if faults:
        sys.exit(CONFIG)


# --- undo ----------------------------------------------------------------------------------------------------


def _undo(
    servers: tuple[str, ...], passphrase_file: str | None, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    ready(passphrase_file)
    secrets = client.request({"verb": "secrets"})["secrets"]
    wanted: dict[str, list[tuple[str, JsonObject]]] = {}
    for one in secrets:
        for binding in one["bindings"]:
            if binding["undo"] and binding["file"] and (not servers or binding["server"] in servers):
                wanted.setdefault(str(binding["file"]), []).append((str(one["name"]), binding))
    many = sum(map(len, wanted.values()))
    if not many:
        _undone([], [], as_json=as_json)
        return
    if not as_json:
        lines = [
            f"{file}: {binding['server']}: {binding['variable']}"
            for file, each in wanted.items()
            for _, binding in each
        ]
        tell("these would be in plain text again:", *(f"  {line}" for line in lines))
    if dry_run:
        _undone([], [], as_json=as_json)
        return
    confirm(f"Put {many} secret{'' if many == 1 else 's'} back into plain text?", yes=yes)
    done: list[str] = []
    faults: list[Fault] = []
    for file, each in wanted.items():
        try:
            _put_back(file, each)
        except PeerError:
            raise
        except GuardError as error:
            faults.append(Fault(file, error.sentence()))
            tell(f"mcpguard: {error.sentence()}")
        else:
            done.append(file)
    _undone(done, faults, as_json=as_json)


def _put_back(file: str, each: list[tuple[str, JsonObject]]) -> None:
    """Put the secrets of one file back, then forget that they were moved."""
    there = anywhere(Path(file))
    if not there or there[0].found is None or there[0].fault:
        why = there[0].fault if there else "it is not there any more"
        raise ConfigError(why, file=file, hint="nothing was written")
    host_file, found = there[0], there[0].found
    old, entries = host_file.file(), {server.entry.path: server.entry for server in host_file.servers}
    edits: list[Edit] = []
    changed: dict[Place, str | None] = {}
    for name, binding in each:
        path = tuple(binding["entry"])
        if path not in entries:
            raise ConfigError(
                f"{binding['server']!a} is not in it any more", file=file, hint="nothing was written"
            )
        text = base64.b64decode(_revealed(str(binding["undo"])))
        edits.append(put_back(old, entries[path], binding["variable"], name, text))
        changed[path, str(binding["variable"])] = None
    new = edited(old.data, edits)
    check(old, File(new, old.name, old.dialect, old.paths), changed)
    with WrapStore(paths.wrapped_dir()).alone():
        configfile.replace(found, new)
    for name, binding in each:
        request = [{"binding": {**binding, "undo": ""}}]
        client.request({"verb": "secret-bind", "name": name, "source": "unbind", "text": json.dumps(request)})


def _revealed(undo: str) -> str:
    request = {"verb": "secret-reveal", "name": undo}
    try:
        return str(client.request(request)["text"])
    except client.PresenceWanted as wanted:
        proof = presence.prove(wanted.methods, wanted.challenge)
        return str(client.request({**request, "proof": proof})["text"])


def _undone(done: list[str], faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": not faults, "changed": done, "left": [fault.sentence for fault in faults]})
    elif not done and not faults:
        say("nothing to do")
    for file in done if not as_json else ():
        say(f"put back in {file}")
    if done and not as_json:
        say("the secrets stay in the vault, too; forget one: mcpguard secret rm NAME")
    if faults:
        sys.exit(CONFIG)
