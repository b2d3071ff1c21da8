"""`mcpguard serve`: let peers beyond stdio in while this verb runs; show and reload the listeners of `serve.toml`."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any, Final

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.cli import client
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.model import JsonObject, how_many, toml_text
from mcpguard.system.servefile import REGISTRY, Listen, parse

_COMMAND_LINE: Final = "the command line"


@click.command()
@click.option("--listen", "address", metavar="ADDRESS", help="unix:PATH or tls:HOST:PORT; never plain TCP.")
@click.option("--server", help="The one registered server that is reached; all of them if it is left out.")
@click.option(
    "--auth", multiple=True, metavar="KIND", help="A credential that peers must show; several: all of them."
)
@click.option("--name", help="What records call the listener.")
@click.option("--speak", type=click.Choice(["http", "ndjson"]), help="http if it is left out.")
@click.option("--uid", "uids", type=int, multiple=True, help="A user who may connect to unix:PATH.")
@click.option("--certificate", type=click.Path(resolve_path=True), help="PEM, for tls:.")
@click.option("--key", type=click.Path(resolve_path=True), help="PEM, for tls:.")
@click.option("--cert", metavar="NAME", help="For tls:, a certificate of mcpguard ca, instead of files.")
@click.option("--client-ca", type=click.Path(resolve_path=True), help="CA of client certificates, PEM.")
@click.option("--host", "hosts", multiple=True, help="A value of Host under which it is called, too.")
@click.option("--origin", "origins", multiple=True, help="An origin whose pages may call.")
@click.option("--url", help="How it is called from outside: https://HOST:PORT.")
@click.option("--recheck", metavar="TIME", help="Look at credentials again so often: 10s, 5m.")
@click.option("--list", "listing", is_flag=True, help="Show the listeners and what was refused.")
@click.option("--reload", "reloading", is_flag=True, help="Read serve.toml again and show the listeners.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def serve(address: str | None, listing: bool, reloading: bool, as_json: bool, **options: Any) -> None:
    """Listen for peers beyond stdio until Ctrl-C: containers, WSL, ssh-forwarded sockets, other machines.

    \b
    mcpguard serve --listen unix:$HOME/guard.sock
    mcpguard serve --listen tls:0.0.0.0:8443 --certificate C.pem --key K.pem --client-ca CA.pem

    Every registered server is at /mcp/NAME, by Streamable HTTP. What peers may is policy's to say, by
    who = ["uid:1000"], ["cert:build-agent"], ["key:..."], ["jwt:..."], ["spiffe://..."]. Listeners that
    outlive a terminal stand in serve.toml.
    """  # noqa: D301 (click reads the mark)
    if listing or reloading:
        if address:
            raise click.UsageError("--listen opens a listener; --list and --reload show those that are open")
        reply = client.request({"verb": "listeners-reload" if reloading else "listeners"})
        _show(reply, as_json=as_json)
        return
    if not address:
        raise click.UsageError("say where: --listen unix:PATH or --listen tls:HOST:PORT; or --list")
    text = _text(address, options)
    try:
        (listen,) = parse(text, _COMMAND_LINE)
    except ConfigError as error:
        raise ConfigError(error.message, file=_COMMAND_LINE, key=error.key, hint=error.hint) from error
    client.ensure()
    _hold(text, listen, as_json=as_json)


def _text(address: str, options: dict[str, Any]) -> str:
    """The listener as `serve.toml` would have it, so that both are read alike."""
    members: JsonObject = {"name": options.pop("name") or f"serve-{int(time.time())}", "listen": address}
    if cert := options.pop("cert"):
        if options["certificate"]:
            raise click.UsageError("the certificate is in a file, or in the registry: give one of them")
        options["certificate"] = f"{REGISTRY}{cert}"
    for key, value in options.items():
        if value:
            members[key] = list(value) if isinstance(value, tuple) else value
    rows = "".join(f"{key} = {_toml(value)}\n" for key, value in members.items())
    return f"version = 1\n[[listener]]\n{rows}"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return toml_text(value) if isinstance(value, str) else str(value)


def _hold(text: str, listen: Listen, *, as_json: bool) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with client.held({"verb": "serve", "source": _COMMAND_LINE, "text": text}) as (reply, over):
        found = reply["listener"]
        if as_json:
            click.echo(msgspec.json.encode({"v": 1, **found}).decode())
        else:
            click.echo(
                f"listening at {visible(found['listen'])} for {_auth(found)}; Ctrl-C ends it", err=True
            )
            _where(found, listen)
        try:
            reason = over()
        except KeyboardInterrupt:
            return
    raise DaemonError(f"the listener is closed: {visible(reason)}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _where(found: JsonObject, listen: Listen) -> None:
    """What a peer is given."""
    if listen.speak == "ndjson":
        return
    name = listen.server or "NAME"
    if listen.path:
        words = f"curl --unix-socket {listen.path} http://localhost/mcp/{name}"
        click.echo(f"reached by: {visible(words)}", err=True)
    else:
        click.echo(
            f"reached by: https://{visible(found['listen'].removeprefix('tls:'))}/mcp/{name}", err=True
        )


def _show(reply: JsonObject, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"v": 1, **reply}).decode())
        return
    if reply["failure"]:
        click.echo(f"serve.toml is not read: {visible(reply['failure'])}", err=True)
    if not reply["listeners"]:
        click.echo(f"nothing listens; see: mcpguard serve --help, or write {visible(reply['file'])}")
    for each in reply["listeners"]:
        if "listen" not in each:
            click.echo(f"{visible(each['name'])}: not open: {visible(each['trouble'])}")
            continue
        counts = f"{each['accepted']} let in, {each['refused']} refused, {each['kept_away']} kept away"
        click.echo(
            f"{visible(each['name'])}: {visible(each['listen'])} for {_auth(each)}, {each['speak']}; "
            f"{how_many(each['sessions'], 'session')}, {counts}"
        )
        if each["trouble"]:
            click.echo(f"  {visible(each['trouble'])}")


def _auth(found: JsonObject) -> str:
    return visible(" and ".join(found["auth"]))
