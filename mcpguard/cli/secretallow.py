"""`mcpguard secret allow`: keep a secret for the server of a configuration that refers to it, as it is there now."""

from __future__ import annotations

import json
import shlex

import click

from mcpguard.cli import client
from mcpguard.cli.hostwrap import files
from mcpguard.cli.secret import ready
from mcpguard.cli.secretplan import binding_of, policy_name
from mcpguard.cli.terminal import confirm, errors_told, print_json, say
from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Entry
from mcpguard.hosts.inventory import without_secrets
from mcpguard.hosts.secretvalues import reference, referred
from mcpguard.hosts.wrapping import original


@click.command()
@click.argument("name")
@click.argument("hosts", nargs=-1)
@click.option("--server", metavar="NAME", help="Only for this server.")
@click.option("--project", metavar="DIR", help="The files of this folder instead of the user's.")
@click.option(
    "--pass",
    "passed",
    multiple=True,
    metavar="VAR",
    help="A variable of the host that the server needs besides those of its entry.",
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line opens the vault.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def allow(
    name: str, hosts: tuple[str, ...], server: str | None, *, yes: bool, as_json: bool, **options: object
) -> None:
    """Give NAME to the servers whose configuration says mcpguard-secret://NAME, with the command that stands there.

    Needed where the reference was written by hand, or where command or variables have changed since: until then the
    server does not start.
    """
    with errors_told(as_json=as_json):
        project, passed = options["project"], options["passed"]
        found: list[tuple[str, Entry, str]] = [
            (str(one.found.target), each.entry, variable)
            for one in files(hosts, project if isinstance(project, str) else None) if one.found
            for each in one.servers if each.wrapped and server in (None, policy_name(each.entry.argv))
            for variable, named in referred(each.entry).items() if named == name
        ]  # fmt: skip
        if not found:
            raise ConfigError(
                f"no server behind mcpguard has a variable that says {reference(name)}",
                file="configurations of hosts",
                hint="put it there in the place of the secret, or name the file or --server",
            )
        if not as_json:
            say(
                *(
                    f"{file}: {policy_name(entry.argv)}: {variable}: {_words(entry)}"
                    for file, entry, variable in found
                )
            )
        confirm(f"Give {name} to {'it' if len(found) == 1 else 'them'}, with this command?", yes=yes)
        file = options["passphrase_file"]
        ready(file if isinstance(file, str) else None)
        more = tuple(map(str, passed)) if isinstance(passed, tuple) else ()
        bound = [
            {"binding": _kept(binding_of(entry, variable, file, more), name)}
            for file, entry, variable in found
        ]
        client.request({"verb": "secret-bind", "name": name, "text": json.dumps(bound)})
        servers = sorted({str(one["binding"]["server"]) for one in bound})
        if as_json:
            print_json({"ok": True, "name": name, "servers": servers})
        else:
            say(f"{name} is given to: {', '.join(servers)}")


def _words(entry: Entry) -> str:
    return without_secrets(shlex.join(original(entry.argv)), [entry]) or "as registered"


def _kept(binding: dict[str, object], name: str) -> dict[str, object]:
    """A binding that gives back what its import knew, if there was one: else there is nothing to undo."""
    for one in client.request({"verb": "secrets"})["secrets"]:
        if one["name"] == name and any(each["undo"] == binding["undo"] for each in one["bindings"]):
            return binding
    return {**binding, "undo": ""}
