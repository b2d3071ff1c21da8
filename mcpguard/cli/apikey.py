"""`mcpguard apikey`: keys for programs that reach mcpguard over a listener, not through a shim.

A key is shown once, when it is made. What is kept is a digest, so that it cannot be shown again.

Exit codes: 0 done; 1 it could not be written or recorded; 3 no daemon runs (for what only reads); 5 refused: there is
no such key, or what a connected host has started may not change keys.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any, Final, Self

import click
import msgspec

from mcpguard.cli import client
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.credentials.apikey import is_key
from mcpguard.errors import DaemonError, TrustError
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject

_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DEFAULT: Final = "90d"
_NEVER: Final = "never"


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds, from 90d, 12h, 30m or 10s; 0 for never."""
    if value is None:
        return None
    if value in ("0", _NEVER):
        return 0.0
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter("expected a time, as in 90d, 12h, 30m or 10s", ctx, param)
    return float(int(found[1]) * _UNITS[found[2]])


def _called(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A name or an id; a key itself is not repeated."""
    if is_key(value):
        raise click.BadParameter("this is a key itself; say its name or id", ctx, param)
    return value


_NAME = click.argument("name", metavar="NAME|ID", callback=_called)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_OUTPUT = click.option(
    "--output", metavar="FILE", help="Write the key to a new FILE for you alone (0600), and do not print it."
)


@click.group()
def apikey() -> None:
    """Make, list, rotate and revoke keys for programs that come over a listener.

    A key is recognised by policy as key:ID. It is shown once; mcpguard keeps only a digest.
    """


@apikey.command()
@click.argument("name")
@click.option(
    "--expires", callback=_duration, default=_DEFAULT, show_default=True, metavar="TIME",
    help="It no longer counts after 90d, 12h, ...; never, for a key without an end.",
)  # fmt: skip
@click.option("--server", "servers", multiple=True, metavar="PATTERN", help="It reaches these servers alone.")
@click.option("--tool", "tools", multiple=True, metavar="PATTERN", help="It calls these tools alone.")
@click.option("--uid", "uids", multiple=True, type=click.IntRange(0), help="Only this user may show it.")
@click.option(
    "--cert", "certificates", multiple=True, metavar="SHA256",
    help="Only beside this client certificate, or the one in this PEM file.",
)  # fmt: skip
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from this network.")
@_OUTPUT
@_JSON
def create(name: str, output: str | None, as_json: bool, expires: float, **bounds: Any) -> None:
    """Make a key called NAME and show it, this once."""
    with errors_told(as_json=as_json):
        certificates = [_fingerprint(each) for each in bounds.pop("certificates")]
        wanted = {"seconds": expires, "certificates": certificates, **{k: list(v) for k, v in bounds.items()}}
        with _Place(output) as place:
            client.ensure()
            reply = client.request({"verb": "apikey-create", "name": name, "text": _encoded(wanted)})
            place.put(reply["key"])
        _show_once(reply, place, as_json=as_json)


@apikey.command()
@_NAME
@click.option(
    "--overlap", callback=_duration, default="1h", show_default=True, metavar="TIME",
    help="The old key counts for so long beside the new one; 0 for not at all.",
)  # fmt: skip
@click.option(
    "--expires", callback=_duration, metavar="TIME", help="The key ends so long from now; else as before."
)
@_OUTPUT
@_JSON
def rotate(name: str, overlap: float, expires: float | None, output: str | None, as_json: bool) -> None:
    """Give a key another secret, and show it, this once. Its id, scopes and bindings stay."""
    with errors_told(as_json=as_json):
        if expires == 0.0:
            raise click.UsageError("--expires needs a time here; make another key for one that never ends")
        with _Place(output) as place:
            client.ensure()
            wanted = {"seconds": expires or 0.0}
            reply = client.request(
                {"verb": "apikey-rotate", "name": name, "seconds": overlap, "text": _encoded(wanted)}
            )
            place.put(reply["key"])
        _show_once(reply, place, as_json=as_json)


@apikey.command()
@_NAME
@click.option("--reason", default="", help="Why, for the log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def revoke(name: str, reason: str, yes: bool, as_json: bool) -> None:
    """End a key now, and the connections that came with it. It cannot be undone."""
    with errors_told(as_json=as_json):
        client.ensure()
        confirm(f"Revoke the API key {name}? What uses it fails from then on.", yes=yes)
        reply = client.request({"verb": "apikey-revoke", "name": name, "reason": reason})
        if as_json:
            print_json(_plain(reply))
        else:
            say(f"the API key {reply['name']} ({reply['id']}) is revoked")


@apikey.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are revoked.")
@_JSON
def list_keys(everything: bool, as_json: bool) -> None:
    """List keys: who, until when, last used."""
    with errors_told(as_json=as_json):
        keys = [key for key in _keys() if everything or key["state"] != "revoked"]
        if as_json:
            print_json({"keys": keys})
            return
        if not keys:
            say("there are no API keys", "next: mcpguard apikey create NAME")
        for key in keys:
            until = "never expires" if not key["expires"] else f"until {_time(key['expires'])}"
            used = f"used {_time(key['used'])}" if key["used"] else "never used"
            say(f"{key['id']}  {key['name']:<20} {key['state']:<8} {until}, {used}")


@apikey.command()
@_NAME
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show what is known of a key; never the key itself."""
    with errors_told(as_json=as_json):
        found = [key for key in _keys() if name.removeprefix("key:") in (key["id"], key["name"])]
        if not found:
            raise TrustError(f"there is no API key {name!a}", hint="mcpguard apikey list")
        key = next((key for key in found if key["state"] != "revoked"), found[-1])
        if as_json:
            print_json(key)
            return
        say(*_described(key))


def _described(key: JsonObject) -> list[str]:
    lines = [
        f"name       {key['name']}",
        f'policy     who = ["{key["principal"]}"]',
        f"state      {key['state']}",
        f"made       {_time(key['created'])} by {key['by']}",
        f"expires    {_time(key['expires']) if key['expires'] else _NEVER}",
        f"last used  {_time(key['used']) if key['used'] else _NEVER}",
    ]
    if key["rotated"]:
        old = f", the one before counts until {_time(key['old_until'])}" if key["old_until"] else ""
        lines.append(f"rotated    {_time(key['rotated'])}{old}")
    for member, word in (
        ("servers", "servers"),
        ("tools", "tools"),
        ("uids", "for uid"),
        ("networks", "from"),
    ):
        if key[member]:
            lines.append(f"{word:<10} {', '.join(map(str, key[member]))}")
    lines += [f"beside     certificate {each}" for each in key["certificates"]]
    return lines


class _Place:
    """Where a key is written to, if not to standard output: opened before the key is made, so that none is lost."""

    def __init__(self, output: str | None) -> None:
        self.path = Path(output) if output is not None else None
        self._descriptor = -1
        self._kept = False
        if self.path is not None:
            try:
                self._descriptor = os.open(
                    self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600
                )
            except OSError as error:
                raise DaemonError(
                    f"cannot make {self.path}: {error.strerror}", hint="nothing was changed; name a new file"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self.path is not None and not self._kept:
            self.path.unlink(missing_ok=True)

    def put(self, key: str) -> None:
        if self._descriptor >= 0:
            os.fchmod(self._descriptor, 0o600)
            os.write(self._descriptor, key.encode() + b"\n")
            os.fsync(self._descriptor)
        self._kept = True


def _show_once(reply: JsonObject, place: _Place, *, as_json: bool) -> None:
    key = reply.pop("key")
    if as_json:
        shown = {"output": str(place.path)} if place.path is not None else {"key": key}
        print_json({**_plain(reply), **shown})
        return
    if place.path is None:
        say(key)
    where = f"it is in {place.path}" if place.path is not None else "this is the only time that it is shown"
    tell(f"API key {reply['name']}, in policy {reply['principal']}; {where}")
    if reply["old_until"]:
        tell(f"the one before counts until {_time(reply['old_until'])}")


def _keys() -> list[JsonObject]:
    found: list[JsonObject] = client.request({"verb": "apikeys"})["keys"]
    return found


def _plain(reply: JsonObject) -> JsonObject:
    return {key: value for key, value in reply.items() if key not in ("v", "ok")}


def _encoded(wanted: JsonObject) -> str:
    return msgspec.json.encode(wanted).decode()


def _time(seconds: float) -> str:
    return format_time(dt.datetime.fromtimestamp(int(seconds), dt.UTC))


def _fingerprint(text: str) -> str:
    """The SHA-256 of a certificate, as it is given, or of the certificate in a PEM file."""
    plain = text.removeprefix("sha256:").replace(":", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return plain
    from cryptography import x509

    from mcpguard.credentials.certificate import fingerprint

    try:
        read = x509.load_pem_x509_certificate(Path(text).read_bytes())
    except (OSError, ValueError) as error:
        raise TrustError(
            f"{text!a} is neither a SHA-256 of 64 hex digits nor a PEM file with a certificate"
        ) from error
    from cryptography.hazmat.primitives.serialization import Encoding

    return fingerprint(read.public_bytes(Encoding.DER))
