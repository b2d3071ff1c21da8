"""`mcpguard init`: every server of every host behind mcpguard, watching only; one question, and it can be undone.

Nothing is fetched, no server is started, and policy stays as it is: where none is in force mcpguard watches and
refuses nothing. Run again, it does what is new.

Exit codes: 0 done, or nothing to do; 1 declined; 2 usage; 5 nobody to ask; 6 a file was left as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.cli import client
from mcpguard.cli.hostwrap import carried_out, restarts
from mcpguard.cli.main import CONFIG, FAILED
from mcpguard.cli.terminal import at_terminal, errors_told, print_json, say, tell
from mcpguard.cli.wrapplan import Fault, Plan, diff, to_wrap
from mcpguard.errors import GuardError, TrustError
from mcpguard.hosts.entries import Entry
from mcpguard.hosts.inventory import Remark, remarks
from mcpguard.model import JsonObject, Mode
from mcpguard.system import paths
from mcpguard.system.hostfiles import HostFile, present
from mcpguard.system.ownhosts import places
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.program import stable_program
from mcpguard.system.wrapstore import FileRecord, WrapStore

_NUMBERS: Final = re.compile(r"\s*\d+(?:[\s,]+\d+)*[\s,]*")
_SHOWN: Final = 10


class Outcome(msgspec.Struct, frozen=True):
    """What `init` has done.

    Attributes:
        plans: The files that were changed.
        faults: What was left as it is, and why.
        secrets: Secrets in plain text that were seen.
        files: All configurations that were found.
    """

    plans: list[Plan]
    faults: list[Fault]
    secrets: list[Remark]
    files: list[HostFile]


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def init(*, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Put every server of every agent host behind mcpguard, which watches and refuses nothing.

    Shows what changes in which file, and asks once. Undone by: mcpguard host unwrap --all
    """
    with errors_told(as_json=as_json):
        files = list(present(places()))
        store = WrapStore(paths.wrapped_dir())
        records = store.load()
        program = stable_program()
        plans, faults = to_wrap(files, records, program)
        secrets = [one for one in remarks(s for f in files for s in f.servers) if one.kind == "secret"]
        if not as_json:
            _introduce(files, faults, secrets)
        if plans and not dry_run:
            plans = _agreed(plans, records, program, yes=yes, as_json=as_json)
        elif not as_json:
            _show(plans)
        if plans and not dry_run:
            client.ensure()  # before anything is changed: servers behind a daemon that cannot start are lost
            plans, failed = carried_out(plans, store)
            faults = [*faults, *failed]
            tell(*(f"left alone: {fault.sentence}" for fault in failed))
        outcome = Outcome(plans, faults, secrets, files)
        if as_json:
            print_json(_told(outcome, dry_run=dry_run))
        else:
            say(*_conclusion(outcome, dry_run=dry_run))
    if faults:
        sys.exit(CONFIG)


def _introduce(files: list[HostFile], faults: list[Fault], secrets: list[Remark]) -> None:
    """What there is."""
    if not files:
        tell(
            "no agent host of this user has a configuration with servers; mcpguard scan says where it looked"
        )
    for file in files:
        started = [server for server in file.servers if server.entry.starts]
        remote = len([server for server in file.servers if server.entry.url])
        guarded = sum(server.wrapped for server in started)
        more = f", {guarded} guarded already" if guarded else ""
        more += f", {remote} remote (left alone)" if remote else ""
        tell(f"{file.place.title}: {_many(len(started))} in {file.path}{more}")
    tell(*(f"left alone: {fault.sentence}" for fault in faults))
    if secrets:
        tell("secrets in plain text; they stay where they are, and can be moved:")
        tell(*(f"  {one.file}:{one.line}: {one.server}: {one.words}" for one in secrets[:_SHOWN]))


def _many(servers: int) -> str:
    return "1 server" if servers == 1 else f"{servers} servers"


def _show(plans: list[Plan]) -> None:
    for plan in plans:
        tell(*diff(plan))


def _agreed(
    plans: list[Plan], records: dict[str, FileRecord], program: str, *, yes: bool, as_json: bool
) -> list[Plan]:
    """What may be changed: all of it, or on a terminal what a person has chosen.

    Raises:
        TrustError: There is nobody to ask.
    """
    if yes:
        if not as_json:
            _show(plans)
        return plans
    if not at_terminal():
        raise TrustError("this needs a yes, and there is no terminal to ask on", hint="say it with --yes")
    choices = [(plan, entry) for plan in plans for entry in plan.chosen]
    off: set[int] = set()
    _show(plans)
    while True:
        for number, (plan, entry) in enumerate(choices, 1):
            mark = " " if number in off else "x"
            where = f" (in {entry.path[1]})" if entry.path[0] == "projects" else ""
            tell(f"{number:>3} [{mark}] {plan.host_file.place.title}: {entry.name}{where}")
        tell("y: put mcpguard before those that are marked; numbers: mark them, or not; n: change nothing")
        answer = click.prompt("Change these files", default="n", err=True, show_default=False)
        if answer.strip().lower() in ("y", "yes"):
            if len(off) < len(choices):
                return _chosen(plans, choices, off, records, program)
            answer = ""
        if not _NUMBERS.fullmatch(answer):
            tell("nothing was changed")
            sys.exit(FAILED)
        off ^= {int(word) for word in re.findall(r"\d+", answer)} & set(range(1, len(choices) + 1))


def _chosen(
    plans: list[Plan],
    choices: list[tuple[Plan, Entry]],
    off: set[int],
    records: dict[str, FileRecord],
    program: str,
) -> list[Plan]:
    """The plans without the servers that were left out."""
    places = {
        (plan.target, entry.path) for number, (plan, entry) in enumerate(choices, 1) if number not in off
    }
    kept = []
    for plan in plans:

        def wanted(entry: Entry, target: Path = plan.target) -> bool:
            return (target, entry.path) in places

        kept += to_wrap([plan.host_file], records, program, wanted)[0]
    return kept


def _conclusion(outcome: Outcome, *, dry_run: bool) -> list[str]:
    """What was done, what is to be done, and how to undo it."""
    count = sum(len(plan.names) for plan in outcome.plans)
    hosts = sorted({plan.host_file.place.title for plan in outcome.plans})
    if dry_run:
        return [
            f"{_many(count)} in {len(outcome.plans)} files would be put behind mcpguard; nothing was changed"
        ]
    if not count and outcome.faults:
        return ["nothing was changed; what was left alone is said above"]
    if not count:
        return ["nothing to do: every server that a host starts is behind mcpguard", _NEXT]
    lines = [
        f"{_many(count)} of {', '.join(hosts)} {'starts' if count == 1 else 'start'} behind mcpguard now"
    ]
    if titled := restarts(outcome.plans):
        lines.append(f"restart: {', '.join(titled)}")
    return [*lines, *_policy_words(), _NEXT, "undo everything: mcpguard host unwrap --all"]


_NEXT: Final = (
    "next: mcpguard audit tail -f; after some days, mcpguard policy suggest makes a policy of what was done"
)


def _policy_words() -> list[str]:
    """What becomes of calls now."""
    try:
        current = PolicyStore(paths.policy_dir()).current()
    except GuardError as error:
        return [f"no policy can be read, so nothing passes: {error.sentence()}"]
    if current is None or current[1].mode is Mode.OBSERVE:
        return ["watching only: everything is recorded, nothing is refused"]
    words = f"a policy is in force ({current[0].source}): it decides about them from now on"
    if not current[1].unpinned:
        words += (
            '; servers without a manifest do not start under it (mcpguard server add, or unpinned = "allow")'
        )
    return [words]


def _told(outcome: Outcome, *, dry_run: bool) -> JsonObject:
    return {
        "ok": not outcome.faults,
        "dry_run": dry_run,
        "changed": [
            {"file": str(plan.host_file.path), "host": plan.host_file.place.host, "servers": list(plan.names)}
            for plan in outcome.plans
        ],
        "left": [fault.sentence for fault in outcome.faults],
        "secrets": [{"file": one.file, "line": one.line, "server": one.server} for one in outcome.secrets],
        "restart": restarts(outcome.plans),
    }
