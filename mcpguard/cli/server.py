"""`mcpguard server`: register MCP servers, show what they are, and accept what has changed.

Exit codes: 0 done, 1 failed or declined, 2 usage, 5 refused, 7 a server is no longer what was pinned.

Rule 1: what is signed is what was shown.
Rule 2: what a server says is its own claim; nothing here believes it, and every character of it is visible.

Decided:
    *A draft is probed before it is shown*, because a manifest without definitions would pin nothing that matters;
    the command is run once in each era, as the host would have run it a moment later.
    *`trust` signs the next version*; rejected: editing the pins of the one in force, which nobody signed.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from mcpguard.cli import acceptance, drafting, loggingin, remoteadd, remoteprobe, serverwords, sources
from mcpguard.cli.main import DRIFT, REFUSED
from mcpguard.cli.pinning import pin
from mcpguard.cli.registered import Servers, Shown, servers
from mcpguard.cli.signer import local_signer
from mcpguard.cli.signing import read
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.cli.trusted import held
from mcpguard.daemon.probe import probe_now
from mcpguard.daemon.probed import Probed
from mcpguard.errors import TrustError
from mcpguard.identity.described import Definitions, parse_definitions
from mcpguard.identity.dsse import parse_envelope
from mcpguard.identity.manifest import Manifest, parse_manifest
from mcpguard.identity.pinlevel import LABELS
from mcpguard.identity.remote import Remote
from mcpguard.identity.statement import parse_json
from mcpguard.model import JsonObject, how_many
from mcpguard.system import paths
from mcpguard.system.serverstore import check_name
from mcpguard.system.truststore import wall_clock

_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_key = click.option("--key", metavar="ID", help="Sign with this key; the beginning of its id is enough.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_expires = click.option(
    "--expires", metavar="TIME", help="How long the manifest holds: 90d, 26w, 1y (default)."
)


@click.group()
def server() -> None:
    """Say what each MCP server is: register it, pin it, and compare it with what was pinned."""


server.add_command(pin)


@server.command()
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--from", "source", metavar="FILE", help="Register a signed manifest, server.json or bundle.")
@click.option(
    "--pass", "passed", metavar="VAR", multiple=True, help="Give the server this variable of the host."
)
@click.option("--set", "fixed", metavar="VAR=VALUE", multiple=True, help="Set a variable for the server.")
@click.option(
    "--secret",
    "secret",
    metavar="VAR=REF",
    multiple=True,
    help="Set a variable to a secret, by its reference (vault://NAME), when the server starts.",
)
@click.option("--cwd", metavar="DIR", help="Run it here; otherwise where the host starts it.")
@click.option("--host-argv", metavar="WORDS", help="What the host's configuration says, if not the command.")
@remoteadd.remote_options
@_expires
@_key
@_yes
def add(name: str, command: tuple[str, ...], source: str | None, *, yes: bool, **options: Any) -> None:
    """Register a server: `server add NAME -- COMMAND...`, or `server add NAME --url URL`.

    Starts the command once in each era, in a scratch directory and without your environment, and asks what it offers.
    Shows what it runs, what it may see and what it offers; asks; signs that with your key. From then on
    `mcpguard run NAME`, and `mcpguard run -- COMMAND...`, run exactly this.
    """
    if [bool(command), bool(source), bool(options["url"])].count(True) != 1:
        raise click.UsageError("give one of -- COMMAND..., --url URL and --from FILE")
    with errors_told():
        check_name(name)
        known = servers()
        _require_new(known, name)
        remote = remoteadd.described(options)
        if remote is not None:
            lasting = drafting.lasting(options["expires"] or drafting.EXPIRES)
            _add_remote(known, name, remote, lasting, options, yes=yes)
            return
        if source and not sources.is_draft(read(source)):
            _add_published(known, name, source, yes=yes)
            return
        cwd, host_argv = options["cwd"], options["host_argv"]
        lasting = drafting.lasting(options["expires"] or drafting.EXPIRES)
        with sources.drafted(source) as found:
            asked = drafting.Asked(
                name=name,
                argv=command or found.argv,
                host_argv=tuple(shlex.split(host_argv)) if host_argv else (),
                cwd=str(Path(cwd).resolve(strict=True)) if cwd else "",
                passed=tuple(dict.fromkeys((*options["passed"], *found.variables))),
                fixed=found.fixed | drafting.variables(options["fixed"]),
                secret=drafting.secrets(options["secret"]),
            )
            _add_command(known, asked, lasting, options["key"], yes=yes)


@server.command("list")
@_json
def list_(as_json: bool) -> None:
    """List the registered servers and what is wrong with each."""
    with errors_told(as_json=as_json):
        found = servers().list()
        if as_json:
            print_json({"ok": True, "servers": found})
            return
        for each in found:
            say(_in_a_line(each))
        if not found:
            tell("no servers yet: mcpguard server add NAME -- COMMAND...")


@server.command()
@click.argument("name")
@_json
def show(name: str, as_json: bool) -> None:
    """Show what a server is: what runs, what it may see, what it offers."""
    with errors_told(as_json=as_json):
        shown = servers().show(name)
        if as_json:
            parts = {"manifest": shown.manifest, "definitions": shown.definitions, "observed": shown.observed}
            print_json({"ok": True, **shown.facts, **parts})
            return
        say(*serverwords.in_words(shown.manifest, shown.definitions))
        _say_state(shown)


@server.command()
@click.argument("name")
@_json
def verify(name: str, as_json: bool) -> None:
    """Check the signature, the validity, and the digests of everything that a server runs, now.

    Exits 5 if anything differs.
    """
    with errors_told(as_json=as_json):
        shown = servers().show(name)
        faults = [shown.problem] if shown.problem else []
        faults += acceptance.what_differs(name, shown.manifest, paths.store_dir())
        if as_json:
            print_json({"ok": not faults, "name": name, "version": shown.manifest.version, "faults": faults})
        elif not faults:
            say(f"{name}: version {shown.manifest.version}, signed by {', '.join(shown.facts['keys'])}")
            say(f"{len(shown.manifest.subject)} digests are what was signed")
        for fault in faults:
            tell(f"mcpguard: {fault}")
        sys.exit(REFUSED if faults else 0)


@server.command()
@click.argument("name")
@_json
def diff(name: str, as_json: bool) -> None:
    """Compare what a server last said of itself with what was pinned.

    Exits 7 if it differs. Accept it with `mcpguard server trust NAME`.
    """
    with errors_told(as_json=as_json):
        shown = servers().show(name)
        if as_json:
            print_json({"ok": not shown.observed, "name": name, "observed": shown.observed})
        elif shown.observed:
            say(*serverwords.differences(shown.definitions, shown.observed))
            tell(f"accept it: mcpguard server trust {name}")
        else:
            say(f"{name}: nothing was seen that differs from version {shown.manifest.version}")
        sys.exit(DRIFT if shown.observed else 0)


@server.command()
@click.argument("name")
@click.option("--probe", is_flag=True, help="Start it again and take what it says and runs now.")
@_expires
@_key
@_yes
def trust(name: str, probe: bool, expires: str | None, key: str | None, *, yes: bool) -> None:
    """Accept what has changed: shows it, asks, and signs the next version of the manifest.

    Without --probe, what was seen while the server ran. With it, also programs that were updated.
    """
    with errors_told():
        known = servers()
        shown = known.show(name)
        if "/" in shown.manifest.name:
            raise TrustError(
                f"{name} has a manifest of its publisher, {shown.manifest.name!a}",
                hint=f"get a newer one: mcpguard server add {name} --from FILE, after mcpguard server remove {name}",
            )
        manifest, definitions = _accepted(shown, probe=probe)
        lines = acceptance.changes(shown, manifest, definitions)
        if not lines and not expires and not shown.problem:
            say(f"{name}: nothing differs from version {shown.manifest.version}, which stays in force")
            return
        say(*(lines or [f"{name}: nothing differs; the next version is signed to renew it"]))
        now, seen = wall_clock(), held().seen.manifests
        before = seen[manifest.name].version if manifest.name in seen else 0
        manifest = acceptance.next_version(
            shown, manifest, before, now, drafting.lasting(expires or drafting.EXPIRES)
        )
        confirm(f"Sign version {manifest.version}?", yes=yes)
        known.sign_and_put(name, manifest, definitions, local_signer(key, yes=yes))
        say(f"{name}: version {manifest.version} is in force until {manifest.expires}")


@server.command()
@click.argument("name")
@_yes
def remove(name: str, *, yes: bool) -> None:
    """Unregister a server and end its connections."""
    with errors_told():
        check_name(name)
        confirm(f"Remove {name}?", yes=yes)
        kept = servers().remove(name)["kept"]
        say(f"{name}: removed")
        tell(f"undo it: mcpguard server add {name} --from {shlex.quote(f'{kept}/manifest.json')}")


# --- add -----------------------------------------------------------------------------------------------------


def _require_new(known: Servers, name: str) -> None:
    if any(each["name"] == name for each in known.list()):
        raise TrustError(
            f"{name} is registered already",
            hint=f"accept changes: mcpguard server trust {name}; or begin anew: mcpguard server remove {name}",
        )


def _add_command(
    known: Servers, asked: drafting.Asked, lasting: dt.timedelta, key: str | None, *, yes: bool
) -> None:
    program = drafting.resolved(asked.argv[0], asked.cwd)
    tell(f"starting {shlex.join(asked.argv)}")
    probed = probe_now(
        [program, *asked.argv[1:]],
        environ=os.environb,
        passed=asked.passed,
        fixed=asked.probing,
        cwd=asked.cwd,
        tell=tell,
    )
    seen = held().seen.manifests
    version = 1 + (seen[asked.name].version if asked.name in seen else 0)
    manifest = drafting.draft(asked, probed, version=version, now=wall_clock(), lasting=lasting)
    say(*serverwords.in_words(manifest, probed.definitions))
    _tell_probed(probed, drafting.doubts(asked, os.environb))
    confirm("Sign this and let it run?", yes=yes)
    known.sign_and_put(asked.name, manifest, probed.definitions, local_signer(key, yes=yes))
    say(f"{asked.name}: registered, version {version}, until {manifest.expires}")
    if manifest.pin == "P0":
        tell(f"note: what it runs is not pinned; pin it: mcpguard server pin {asked.name}")


def _add_remote(
    known: Servers, name: str, remote: Remote, lasting: dt.timedelta, options: dict[str, Any], *, yes: bool
) -> None:
    said = remoteadd.as_options(options)
    probed = remoteprobe.probed(name, remote, lambda: loggingin.log_in(name, place=remote), said, yes=yes)
    seen = held().seen.manifests
    version = 1 + (seen[name].version if name in seen else 0)
    manifest = remoteadd.draft(name, remote, probed, version=version, now=wall_clock(), lasting=lasting)
    say(*serverwords.in_words(manifest, probed.definitions))
    _tell_probed(probed, [])
    confirm("Sign this and let hosts use it?", yes=yes)
    known.sign_and_put(name, manifest, probed.definitions, local_signer(options["key"], yes=yes))
    say(f"{name}: registered, version {version}, until {manifest.expires}")


def _tell_probed(probed: Probed, doubts: list[str]) -> None:
    for era, reason in probed.silent.items():
        tell(f"note: it does not speak the {era} era: {reason}")
    for finding in (*probed.findings, *doubts):
        tell(f"note: {finding}")


def _add_published(known: Servers, name: str, source: str, *, yes: bool) -> None:
    """Register a signed manifest as it is; who signed it must be trusted already."""
    data = read(source)
    if "payloadType" not in parse_json(data, "the file"):
        raise TrustError(
            f"{source!a} is no signed manifest", hint="sign it with mcpguard sign, or give a command"
        )
    manifest = parse_manifest(parse_envelope(data).payload)
    definitions = _beside(Path(source), manifest)
    say(*serverwords.in_words(manifest, definitions))
    tell("This is what the manifest says; the daemon checks who signed it before it is stored.")
    confirm("Let it run?", yes=yes)
    reply = known.put(name, data, definitions)
    say(f"{name}: registered, version {manifest.version}, vouched for by {reply['publisher']}")


def _beside(path: Path, manifest: Manifest) -> Definitions:
    """The definitions in `definitions.json` beside a manifest, if they are those that it pins."""
    try:
        return parse_definitions(path.with_name("definitions.json").read_bytes(), manifest)
    except (OSError, TrustError):
        return Definitions()


# --- trust ---------------------------------------------------------------------------------------------------


def _accepted(shown: Shown, *, probe: bool) -> tuple[Manifest, Definitions]:
    """Manifest and definitions with what is to be accepted, version and times as they were."""
    if not probe:
        if problem := shown.facts.get("definitions_problem"):
            raise TrustError(str(problem))
        return acceptance.observed(shown)
    launch = shown.manifest.launch
    if launch.remote is not None:
        probed = remoteprobe.again(shown.name, launch.remote)
    else:
        argv, fixed = acceptance.placed(shown.manifest, paths.store_dir())
        tell(f"starting {shlex.join(argv)}")
        probed = probe_now(
            argv,
            environ=os.environb,
            passed=launch.env_pass,
            fixed=fixed,
            cwd=launch.cwd if launch.cwd.startswith("/") else "",
            tell=tell,
        )
    _tell_probed(probed, [])
    manifest = acceptance.updated(shown.manifest)
    manifest = msgspec.structs.replace(
        manifest, server_requests=probed.requests, capabilities=probed.capabilities
    )
    return drafting.described(manifest, probed.definitions, server_name=probed.name), probed.definitions


# --- words ---------------------------------------------------------------------------------------------------


def _in_a_line(found: JsonObject) -> str:
    if "version" not in found:
        return f"{found['name']:<20}  {found['problem']}"
    level = found["pin"]
    state = found["problem"] or (
        f"{found['observed_count']} definitions differ: mcpguard server diff {found['name']}"
        if found["observed_count"]
        else ""
    )
    tools = f"{found['tools']} tool{'' if found['tools'] == 1 else 's'}"
    parts = [f"{found['name']:<20}", f"version {found['version']}", f"{level} {LABELS[level]}", tools]
    return "  ".join([*parts, f"until {found['expires']}", *([state] if state else [])])


def _say_state(shown: Shown) -> None:
    if shown.problem:
        tell(f"it would not start: {shown.problem}")
    else:
        say(f"  signed by         {', '.join(shown.facts['keys'])} ({shown.facts['publisher']})")
    if shown.observed:
        tell(
            f"{how_many(len(shown.observed), 'other definition')} than pinned: mcpguard server diff {shown.name}"
        )
