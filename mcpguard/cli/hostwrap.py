"""`mcpguard host wrap`, `unwrap`, `diff` and `backups`: mcpguard in the configurations of hosts.

Exit codes: 0 done, or nothing to do; 1 declined; 2 usage; 5 nobody to ask; 6 a file could not be changed, the others
were; 7 `diff --check`: some server starts without mcpguard.

Decided:
    *Copies are listed and not put back by a verb*, because a whole file from before loses whatever its host has
    written since, which may be all of its state; `unwrap` gives back what mcpguard has changed.
"""

from __future__ import annotations

import datetime as dt
import difflib
import sys
from pathlib import Path
from typing import Final

import click

from mcpguard.cli.main import CONFIG, DRIFT
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.cli.wrapplan import Fault, Plan, called, carry_out, diff, to_unwrap, to_wrap, unclear
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.places import Place, Scope
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.hostfiles import HostFile, look, place_of, present
from mcpguard.system.ownhosts import places, titles
from mcpguard.system.program import stable_program
from mcpguard.system.wrapstore import WrapStore

_KEYS: Final = {Dialect.TOML: (("mcp_servers",),), Dialect.YAML: (("extensions",), ("mcpServers",))}
_JSON_KEYS: Final = (
    ("mcpServers",),
    ("servers",),
    ("context_servers",),
    ("amp.mcpServers",),
    ("mcp",),
    ("mcp", "servers"),
)
_ENDINGS: Final = {".toml": Dialect.TOML, ".yaml": Dialect.YAML, ".yml": Dialect.YAML}


def _known(_ctx: click.Context, _param: click.Parameter, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts that are known, and files."""
    for host in hosts:
        if "/" not in host and host not in titles():
            near = difflib.get_close_matches(host, titles(), n=1)
            hint = f"did you mean {near[0]}?" if near else "mcpguard scan lists those that are here"
            raise click.BadParameter(f"{host!r} is no host that is known, and no path: {hint}")
    return hosts


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in titles() if name.startswith(incomplete)]


_HOSTS: Final = click.argument("hosts", nargs=-1, callback=_known, shell_complete=_complete)
_SERVER: Final = click.option(
    "--server", "servers", multiple=True, metavar="NAME", help="Only this server; may be repeated."
)
_PROJECT: Final = click.option(
    "--project", metavar="DIR", help="The files of this folder instead of the user's."
)
_DRY: Final = click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
_YES: Final = click.option("--yes", is_flag=True, help="Do not ask.")
_AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command("wrap")
@_HOSTS
@_SERVER
@_PROJECT
@_DRY
@_YES
@_AS_JSON
def wrap_(
    hosts: tuple[str, ...],
    servers: tuple[str, ...],
    project: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put mcpguard before the servers of HOSTS, or of all hosts that are here. A path is a host, too.

    Only the command and its arguments change; the rest of each file stays as it is, byte for byte.
    """
    with errors_told(as_json=as_json):
        store = WrapStore(paths.wrapped_dir())
        store.load()  # one that is damaged is said before anything is asked
        chosen = files(hosts, project)
        _require(servers, chosen)
        plans, faults = to_wrap(chosen, stable_program(), called(servers))
        if not servers:
            _tell_unclear(chosen)
        finish(plans, faults, store, "wrapped", dry_run=dry_run, yes=yes, as_json=as_json)


@click.command("unwrap")
@_HOSTS
@_SERVER
@_PROJECT
@click.option("--all", "every", is_flag=True, help="Everything that was ever wrapped, wherever it is.")
@click.option(
    "--force", is_flag=True, help="Also where the command was changed since; what was changed stays."
)
@_DRY
@_YES
@_AS_JSON
def unwrap_(
    hosts: tuple[str, ...],
    servers: tuple[str, ...],
    project: str | None,
    *,
    every: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take mcpguard away from the servers of HOSTS again: each entry is as it was before.

    An entry that was changed since is left alone, and said.
    """
    if every and (hosts or project is not None):
        raise click.UsageError("--all means every host and every folder: name none beside it")
    with errors_told(as_json=as_json):
        store = WrapStore(paths.wrapped_dir())
        records = store.load()
        chosen = files(hosts, project)
        if every:
            known = {one.found.target for one in chosen if one.found}
            chosen += [one for path in records for one in anywhere(Path(path)) if Path(path) not in known]
        _require(servers, chosen)
        plans, faults = to_unwrap(chosen, records, called(servers), force=force)
        finish(plans, faults, store, "unwrapped", dry_run=dry_run, yes=yes, as_json=as_json)


@click.command("diff")
@_HOSTS
@_PROJECT
@click.option("--check", "checked", is_flag=True, help="Exit 7 if any server starts without mcpguard.")
@_AS_JSON
def diff_(hosts: tuple[str, ...], project: str | None, *, checked: bool, as_json: bool) -> None:
    """Show what `wrap` would change: the servers of HOSTS, or of all hosts, that start without mcpguard."""
    with errors_told(as_json=as_json):
        store = WrapStore(paths.wrapped_dir())
        store.load()  # one that is damaged is said before anything is asked
        chosen = files(hosts, project)
        plans, faults = to_wrap(chosen, stable_program())
        _tell_unclear(chosen)
        show(plans, faults, as_json=as_json)
        if not plans and not faults and not as_json:
            say("every server that can be wrapped is")
        if checked and plans:
            sys.exit(DRIFT)
        _end(faults)


@click.command("backups")
@_AS_JSON
def backups_(*, as_json: bool) -> None:
    """List the copies that were kept of configurations, each as it was before mcpguard was put into it.

    `host unwrap` takes mcpguard out and leaves what else was changed since; a copy is for when that is not enough.
    """
    with errors_told(as_json=as_json):
        found = WrapStore(paths.wrapped_dir()).copies()
        if as_json:
            told = [{"file": copy.path, "at": copy.at, "copy": str(path)} for copy, path in found]
            print_json({"ok": True, "copies": told})
            return
        say(*(f"{copy.at}  {copy.path}  {path}" for copy, path in found))
        if found:
            tell("to have one back: close its host, look at what is lost (diff COPY FILE), then cp COPY FILE")
        else:
            tell("no copies: mcpguard has changed no configuration")


def files(hosts: tuple[str, ...], project: str | None) -> list[HostFile]:
    """The files that are meant: of these hosts and at these paths, or all that are known.

    Raises:
        ConfigError: One that is named is not there.
    """
    named = [host for host in hosts if "/" not in host]
    found = []
    for path in (host for host in hosts if "/" in host):
        found += (there := anywhere(Path(path).absolute()))
        if not there:
            raise ConfigError("no such file", file=path)
    if named or not hosts:
        if project is not None:
            found += present(places(tuple(named), Scope.PROJECT), Path(project).resolve())
        else:
            found += present(places(tuple(named)))
    return found


def _require(servers: tuple[str, ...], chosen: list[HostFile]) -> None:
    """Every server that is named is in one of the files: a slip of the pen is no reason to do nothing."""
    there = {server.entry.name for one in chosen for server in one.servers}
    for name in servers:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!a}?" if near else "mcpguard scan lists those that are here"
            raise click.BadParameter(f"no server is called {name!a}: {hint}", param_hint="--server")


def anywhere(path: Path) -> list[HostFile]:
    """A file by its path alone: of a host that is known, or by its ending."""
    place = place_of(path, [*places(), *places(scope=Scope.PROJECT)])
    if place is None:
        dialect = _ENDINGS.get(path.suffix, Dialect.JSONC)
        place = Place("other", path.name, str(path), str(path), "", dialect, _KEYS.get(dialect, _JSON_KEYS))
    found = look(place, path)
    return [found] if found is not None else []


def finish(
    plans: list[Plan],
    faults: list[Fault],
    store: WrapStore,
    word: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show, ask once, carry out, and say what was done."""
    show(plans, faults, as_json=as_json and dry_run)
    if not plans:
        if not as_json:
            say("nothing to do")
        elif not dry_run:
            print_json({"ok": not faults, "changed": [], "left": [fault.sentence for fault in faults]})
        _end(faults)
        return
    if dry_run:
        if not as_json:
            say("nothing was changed (dry run)")
        _end(faults)
        return
    servers = sum(len(plan.names) for plan in plans)
    confirm(f"Change {_files(len(plans))}, {servers} server{'' if servers == 1 else 's'}?", yes=yes)
    done, failed = carried_out(plans, store)
    if as_json:
        changed = [_told(plan) for plan in done]
        print_json(
            {
                "ok": not failed and not faults,
                "changed": changed,
                "left": [one.sentence for one in (*faults, *failed)],
            }
        )
    else:
        for plan in done:
            say(f"{word} in {plan.host_file.path}: {', '.join(plan.names)}")
        tell(*(f"mcpguard: {one.sentence}" for one in failed))
        _restart(done)
    _end([*faults, *failed])


def carried_out(plans: list[Plan], store: WrapStore) -> tuple[list[Plan], list[Fault]]:
    """Those that were changed, and why others were not."""
    done, failed = [], []
    at = format_time(dt.datetime.now(dt.UTC))  # noqa: TID251 (the command line is where time comes from)
    for plan in plans:
        try:
            carry_out(plan, store, at)
        except (ConfigError, DaemonError) as error:
            failed.append(Fault(str(plan.host_file.path), error.sentence()))
        else:
            done.append(plan)
    return done, failed


def show(plans: list[Plan], faults: list[Fault], *, as_json: bool) -> None:
    """What would change, and what is left as it is."""
    if as_json:
        print_json(
            {
                "ok": not faults,
                "would_change": [_told(plan) for plan in plans],
                "left": [one.sentence for one in faults],
            }
        )
        return
    tell(*(f"mcpguard: {fault.sentence}" for fault in faults))
    for plan in plans:
        tell(*diff(plan))


def _tell_unclear(chosen: list[HostFile]) -> None:
    tell(*(f"mcpguard: {line}: left alone" for one in chosen for line in unclear(one.servers)))


def restarts(plans: list[Plan]) -> list[str]:
    """The hosts that have to be started again to see what changed."""
    return sorted({plan.host_file.place.title for plan in plans if plan.host_file.place.restart})


def _restart(done: list[Plan]) -> None:
    if titled := restarts(done):
        say(f"restart: {', '.join(titled)}")


def _told(plan: Plan) -> JsonObject:
    return {"file": str(plan.host_file.path), "host": plan.host_file.place.host, "servers": list(plan.names)}


def _files(many: int) -> str:
    return f"{many} file{'' if many == 1 else 's'}"


def _end(faults: list[Fault]) -> None:
    if faults:
        sys.exit(CONFIG)
