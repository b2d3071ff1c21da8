"""`mcpguard cert`: the certificate registry. Who is authorised, until when, last used, pinned where.

Exit codes: 0 done; 1 declined; 2 usage; 5 refused, nothing has changed.
"""

from __future__ import annotations

import click

from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def cert() -> None:
    """Which certificates are authorised, until when, when they were last used, where they are pinned."""


@cert.command("list")
@click.option(
    "--all", "everything", is_flag=True, help="Those that were renewed, revoked or have ended, too."
)
@_JSON
def list_(everything: bool, as_json: bool) -> None:
    """List the certificates of the registry."""
    from mcpguard.cli import certified, certwords
    from mcpguard.identity.certificates import read
    from mcpguard.system.truststore import wall_clock

    with errors_told(as_json=as_json):
        held, now = certified.held(), wall_clock().timestamp()
        current = ("valid", "pinned", "not yet")
        entries = [
            each
            for each in held.registry.entries
            if everything or certwords.state(each, read(each.der), now) in current
        ]
        if as_json:
            print_json({"ok": True, "certificates": [certwords.as_json(each, held, now) for each in entries]})
            return
        say(*(certwords.line(each, held, now) for each in entries))
        if not entries:
            tell("no certificates: mcpguard ca issue NAME, or mcpguard cert pin SERVER FILE")


@cert.command()
@click.argument("what", metavar="NAME|FINGERPRINT")
@_JSON
def show(what: str, as_json: bool) -> None:
    """Show every certificate called NAME, or one by its fingerprint."""
    from mcpguard.cli import certified, certwords
    from mcpguard.system.truststore import wall_clock

    with errors_told(as_json=as_json):
        held, now = certified.held(), wall_clock().timestamp()
        entries = held.registry.named(what)
        if as_json:
            print_json({"ok": True, "certificates": [certwords.as_json(each, held, now) for each in entries]})
            return
        for at, each in enumerate(entries):
            say(*([""] if at else []), *certwords.lines(each, held, now))


@cert.command()
@click.argument("server")
@click.argument("file")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def pin(server: str, file: str, yes: bool, as_json: bool) -> None:
    """Let SERVER have the certificate in FILE, whoever signed it; from then on only what is pinned counts for it.

    Undo: mcpguard cert unpin SERVER.
    """
    from mcpguard.cli import certified
    from mcpguard.identity.certificates import pem, read, read_pem
    from mcpguard.identity.pathcheck import utc

    with errors_told(as_json=as_json):
        der = read_pem(certified.read_file(file))[0]
        found = read(der)
        tell(
            f"{', '.join(found.names.all) or found.subject}, until {utc(found.ends)}",
            f"SHA-256 {found.fingerprint}",
            f"key {found.pin}",
        )
        confirm(f"Pin it for {server}?", yes=yes)
        reply = certified.ask("cert-pin", text=pem([der]).decode("ascii"), name=server)
        if as_json:
            print_json({"ok": True, "name": server, "fingerprint": reply["fingerprint"]})
            return
        say(f"pinned for {server}: {reply['fingerprint']}")


@cert.command()
@click.argument("server")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def unpin(server: str, yes: bool, as_json: bool) -> None:
    """Take the certificates that were pinned for SERVER out of the registry."""
    from mcpguard.cli import certified

    with errors_told(as_json=as_json):
        confirm(f"Take out what is pinned for {server}?", yes=yes)
        reply = certified.ask("cert-unpin", name=server)
        if as_json:
            print_json({"ok": True, "name": server, "unpinned": reply["unpinned"]})
            return
        say(f"{reply['unpinned']} no longer pinned for {server}")
