"""`mcpguard init`: every server of every host behind mcpguard, watching only; one question, and it can be undone.

Nothing is fetched, no server is started, and policy stays as it is: where none is in force mcpguard watches and
refuses nothing. Run again, it does what is new. The service and the key are no reason to fail (`cli.besides`).

Exit codes: 0 done, or nothing to do; 1 declined; 2 usage; 5 nobody to ask; 6 a file was left as it is.
"""

from __future__ import annotations

import sys
from typing import Final

import click
import msgspec

from mcpguard.cli import besides, client
from mcpguard.cli.besides import Besides, State
from mcpguard.cli.checklist import agreed
from mcpguard.cli.hostwrap import carried_out, restarts
from mcpguard.cli.main import CONFIG
from mcpguard.cli.terminal import at_terminal, errors_told, print_json, say, tell
from mcpguard.cli.wrapplan import Fault, Plan, diff, to_wrap, unclear
from mcpguard.errors import DaemonError, GuardError
from mcpguard.hosts.inventory import Remark, remarks
from mcpguard.model import JsonObject, Mode, how_many
from mcpguard.system import paths
from mcpguard.system.hostfiles import HostFile, present
from mcpguard.system.ownhosts import places
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.program import stable_program
from mcpguard.system.wrapstore import WrapStore

_SHOWN: Final = 10


class Outcome(msgspec.Struct, frozen=True):
    """What `init` has done.

    Attributes:
        plans: The files that were changed.
        faults: What was left as it is, and why.
        secrets: Secrets in plain text that were seen.
        files: All configurations that were found.
        besides: The service and the key.
    """

    plans: list[Plan]
    faults: list[Fault]
    secrets: list[Remark]
    files: list[HostFile]
    besides: list[Besides]


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-service", is_flag=True, help="Leave the service manager of the system alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def init(*, dry_run: bool, yes: bool, no_service: bool, as_json: bool) -> None:
    """Put every server of every agent host behind mcpguard, which watches and refuses nothing.

    Where a service manager answers, the daemon becomes a service of yours. Shows what changes in which file, and asks
    once. Undone by: mcpguard host unwrap --all; mcpguard daemon uninstall
    """
    with errors_told(as_json=as_json):
        files = list(present(places()))
        store = WrapStore(paths.wrapped_dir())
        store.load()  # one that is damaged is said before anything is asked
        program = stable_program()
        plans, faults = to_wrap(files, program)
        beside = besides.planned(service=not no_service, at_terminal=at_terminal() and not yes)
        secrets = [one for one in remarks(s for f in files for s in f.servers) if one.kind == "secret"]
        if not as_json:
            _introduce(files, faults, secrets)
            _show(plans, beside)
        wanted = bool(plans) or any(one.state is State.PLANNED and one.marked for one in beside)
        if wanted and not dry_run:
            if not yes:
                plans, beside = agreed(plans, beside, program)
            plans, failed, beside = _carried_out(plans, beside, store)
            faults = [*faults, *failed]
            tell(*(f"left alone: {fault.sentence}" for fault in failed))
        elif not dry_run:
            beside = [one.left() if one.state is State.PLANNED else one for one in beside]
        outcome = Outcome(plans, faults, secrets, files, beside)
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
        tell(f"{file.place.title}: {how_many(len(started), 'server')} in {file.path}{more}")
    tell(*(f"left alone: {line}" for file in files for line in unclear(file.servers)))
    tell(*(f"left alone: {fault.sentence}" for fault in faults))
    if secrets:
        tell("secrets in plain text; they stay where they are, until: mcpguard secret import")
        tell(*(f"  {one.file}:{one.line}: {one.server}: {one.words}" for one in secrets[:_SHOWN]))


def _show(plans: list[Plan], beside: list[Besides]) -> None:
    """What would be done."""
    for plan in plans:
        tell(*diff(plan))
    for one in beside:
        if one.state is State.PLANNED and one.marked:
            tell(*(f"{one.what}: {line}" for line in one.plan))


def _carried_out(
    plans: list[Plan], beside: list[Besides], store: WrapStore
) -> tuple[list[Plan], list[Fault], list[Besides]]:
    """What was changed, what was not, and what came of the rest: the service first, which starts the daemon."""
    service, key = beside
    if plans or service.state is State.PLANNED:
        service = _daemon(service)
    done, failed = carried_out(plans, store)
    return done, failed, [service, besides.carried_out(key)]


def _daemon(service: Besides) -> Besides:
    """Have a daemon that answers, before anything is changed: servers behind one that cannot start are lost.

    Raises:
        DaemonError: None can be started.
    """
    done = besides.carried_out(service)
    try:
        client.ensure()
        client.request({"verb": "status"})  # where a manager listens, connecting says nothing yet
    except DaemonError as error:
        if done.state is not State.DONE:
            raise
        done = besides.taken_back(done, error.sentence())
        client.ensure()
    return done


def _done(outcome: Outcome) -> list[str]:
    """What was done to configurations."""
    count = sum(len(plan.names) for plan in outcome.plans)
    hosts = sorted({plan.host_file.place.title for plan in outcome.plans})
    if not count and outcome.faults:
        return ["nothing was changed; what was left alone is said above"]
    if not count:
        idle = all(one.state in (State.THERE, State.LATER) for one in outcome.besides)
        doubt = any(unclear(file.servers) for file in outcome.files)
        known = ", as far as that is understood," if doubt else ""
        already = f"every server that a host starts{known} is behind mcpguard"
        return [f"nothing to do: {already}" if idle else f"{already} already"]
    lines = [
        f"{how_many(count, 'server')} of {', '.join(hosts)} {'starts' if count == 1 else 'start'} behind mcpguard now"
    ]
    if titled := restarts(outcome.plans):
        lines.append(f"restart: {', '.join(titled)}")
    return lines


def _conclusion(outcome: Outcome, *, dry_run: bool) -> list[str]:
    """What was done, what is to be done, and how to undo it."""
    beside = [f"{one.what}: {one.words}" for one in outcome.besides if one.state is not State.THERE]
    if dry_run:
        count = sum(len(plan.names) for plan in outcome.plans)
        files = how_many(len(outcome.plans), "file")
        would = f"{how_many(count, 'server')} in {files} would be put behind mcpguard; "
        return [*beside, f"{would if count else ''}nothing was changed"]
    undo = [one.undo for one in outcome.besides if one.state is State.DONE]
    undo = ["mcpguard host unwrap --all", *undo] if outcome.plans else undo
    return [
        *_done(outcome),
        *beside,
        *(_policy_words() if outcome.plans else []),
        *([_NEXT] if outcome.plans or not outcome.faults else []),
        *([f"undo everything: {'; '.join(undo)}"] if undo else []),
    ]


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
        "unclear": [line for file in outcome.files for line in unclear(file.servers)],
        "secrets": [{"file": one.file, "line": one.line, "server": one.server} for one in outcome.secrets],
        "restart": restarts(outcome.plans),
        **{one.what: one.told() for one in outcome.besides},
    }
