"""`mcpguard trust`: whose signatures count, and what no longer does.

Every change is a next version of a signed document. It is shown, asked about, signed with the keys that are kept
here, and put in force by the daemon. Where that is not enough signatures, it is written to a file instead: others add
theirs with `mcpguard sign FILE`, and `mcpguard trust import FILE` puts it in force, here and on every other machine.

Decided:
    *A file that is passed on, not a pending version in the daemon*, because those who sign sit at other machines;
    rejected: a second state beside the one in force, which could be forgotten, or mistaken for it.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from mcpguard.cli import signer, signing, trusted, trustwords
from mcpguard.cli.terminal import confirm, errors_told, print_json, say, tell
from mcpguard.errors import TrustError
from mcpguard.identity import succession
from mcpguard.identity.dsse import IN_TOTO, Envelope, encode_envelope, signed_by
from mcpguard.identity.keys import PublicKey, parse_public_key
from mcpguard.identity.statement import format_time, parse_time
from mcpguard.identity.trust import (
    REVOCATION,
    ROOT,
    Revocations,
    Role,
    TrustSet,
    open_envelope,
    parse_revocations,
    parse_trust,
    stored_trust,
)
from mcpguard.model import JsonObject, how_many
from mcpguard.system.truststore import wall_clock

REVOCATION_DAYS: Final = 90
"""How long a revocation file holds before it counts as stale."""
_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A day, a moment, or days from now; as RFC 3339."""
    if value is None:
        return None
    if days := _DAYS.fullmatch(value):
        return format_time(wall_clock() + dt.timedelta(days=int(days[1])))
    try:
        return format_time(
            parse_time(f"{value}T00:00:00Z" if len(value) == len("2027-01-31") else value, "it")
        )
    except TrustError as error:
        raise click.BadParameter(
            "expected a day (2027-01-31), a moment (2027-01-31T00:00:00Z) or days from now (90d)", ctx, param
        ) from error


_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_OUTPUT = click.option(
    "--output", metavar="FILE", help="Write the signed document here; put nothing in force."
)
_PASSPHRASE = click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class _Way(msgspec.Struct, frozen=True):
    """How a change is carried out: without a question, into a file, with a passphrase from a file."""

    yes: bool
    output: str | None
    passphrase_file: str | None


@click.group()
def trust() -> None:
    """Say whose signatures count: keys, namespaces, thresholds, revocations."""


@trust.command()
@_JSON
def show(as_json: bool) -> None:
    """Show what is in force: roles, keys, revocations. WHEN something expires is shown in UTC."""
    with errors_told(as_json=as_json):
        found = trusted.held()
        now = wall_clock()
        if as_json:
            print_json(_as_json(found, now))
            return
        if found.trust is None:
            say("no keys are trusted yet", "next: mcpguard trust init")
            return
        say(*trustwords.described(found.trust))
        if found.trust.expired(now):
            say("it has expired, nothing is vouched for: mcpguard trust renew")
        if found.revocations is None:
            say("nothing is revoked")
            return
        say(*trustwords.revoked(found.revocations))
        if found.revocations.stale(now):
            say("the revocation file is stale: mcpguard trust revoke --renew")


@trust.command()
@click.option("--key", metavar="ID", help="The key to start with; without it the only one, or a new one.")
@_YES
@_OUTPUT
@_PASSPHRASE
def init(key: str | None, yes: bool, output: str | None, passphrase_file: str | None) -> None:
    """Make the first trust set: one key of yours is root, revoker, and signer of your own servers."""
    with errors_told():
        if output is None:
            if trusted.held().trust is not None:
                raise TrustError("there is a trust set already", hint="mcpguard trust show")
            signer.local_signer(key, passphrase_file=passphrase_file, yes=yes)
            return
        private = signer.unlocked(signer.chosen(key), passphrase_file)
        first = signer.first_trust_set(private.public, wall_clock())
        signing.write(output, signing.with_key(Envelope(IN_TOTO, first.encode()), private))
        tell(f"written to {output}; nothing is in force yet: mcpguard trust import {output}")


@trust.command("add-key")
@click.argument("namespace")
@click.argument("key", metavar="KEYFILE|LINE")
@click.option(
    "--prefix", metavar="TEXT", help="Names of manifests it may sign begin with this; default NAMESPACE/."
)
@click.option("--threshold", type=click.IntRange(1), metavar="N", help="How many of its keys must sign.")
@click.option(
    "--expires",
    callback=_moment,
    metavar="WHEN",
    help="The namespace's signatures no longer count from then on.",
)
@click.option(
    "--key-expires", callback=_moment, metavar="WHEN", help="This key no longer counts from then on."
)
@_YES
@_OUTPUT
@_PASSPHRASE
def add_key(
    namespace: str, key: str, prefix: str | None, threshold: int | None, expires: str | None, **options: Any
) -> None:
    """Let a public key sign for NAMESPACE: a publisher, `local`, `root` or `revocation`.

    KEYFILE holds an OpenSSH line or PEM; the line may be given itself. WHEN is a day, a moment, or as 90d.
    """
    until = options.pop("key_expires") or ""
    with errors_told():
        old, _ = trusted.trust_set()
        public = _public(key)
        new = succession.with_key(
            old, namespace, public, threshold=threshold or 0, prefix=prefix, expires=expires, until=until
        )
        _carry_out(old, new, _Way(**options))


@trust.command("remove-key")
@click.argument("namespace")
@click.argument("ident", metavar="ID")
@click.option("--threshold", type=click.IntRange(1), metavar="N", help="How many of the others must sign.")
@_YES
@_OUTPUT
@_PASSPHRASE
def remove_key(namespace: str, ident: str, threshold: int | None, **options: Any) -> None:
    """Take a key from NAMESPACE. A publisher whose last key goes is no longer trusted."""
    with errors_told():
        old, _ = trusted.trust_set()
        role = old.role(namespace)
        start = old
        if threshold is not None and role is not None:
            start = _with_role(old, namespace, msgspec.structs.replace(role, threshold=threshold))
        new = succession.without_key(start, namespace, _ident(old, ident))
        _carry_out(old, new, _Way(**options))


@trust.command()
@click.option("--key", metavar="ID", help="The key that goes; without it the root key that is kept here.")
@click.option("--to", metavar="KEYFILE|LINE|ID", help="The key that comes; without it a new one is made.")
@_YES
@_OUTPUT
@_PASSPHRASE
def rotate(key: str | None, to: str | None, **options: Any) -> None:
    """Replace a root key, in every role that it has. Both keys sign; what the old one signed no longer counts."""
    way = _Way(**options)
    with errors_told():
        old, _ = trusted.trust_set()
        ident = _ident(old, key) if key else _own_root(old)
        confirmed = False
        if to is None:
            confirm(f"Make a new key in the place of {ident}?", yes=way.yes)
            public, confirmed = signer.generated("", passphrase_file=way.passphrase_file).public, True
            tell(f"made {public.ident}; if this ends early, go on with --to {public.ident}")
        else:
            public = _own(to) or _public(to)
        new = succession.rotated(old, ident, public).lasting(_in_days(signer.TRUST_DAYS))
        _carry_out(old, new, msgspec.structs.replace(way, yes=way.yes or confirmed))
        tell(f"sign again what {ident} signed: mcpguard server list")


@trust.command()
@click.option("--expires", callback=_moment, metavar="WHEN", help="Until when; default a year.")
@_YES
@_OUTPUT
@_PASSPHRASE
def renew(expires: str | None, **options: Any) -> None:
    """Let the same trust set hold for longer."""
    with errors_told():
        old, _ = trusted.trust_set()
        _carry_out(old, succession.renewed(old, expires or _in_days(signer.TRUST_DAYS)), _Way(**options))


@trust.command()
@click.argument("what", metavar="[KEY|DIGEST|NAME]", required=False)
@click.option(
    "--below", type=click.IntRange(1), metavar="VERSION", help="With NAME: its manifests below VERSION."
)
@click.option(
    "--renew", "renewing", is_flag=True, help="Revoke nothing more; let the revocations hold for longer."
)
@click.option(
    "--expires", callback=_moment, metavar="WHEN", help=f"Stale from then on; default {REVOCATION_DAYS}d."
)
@_YES
@_OUTPUT
@_PASSPHRASE
def revoke(what: str | None, below: int | None, renewing: bool, expires: str | None, **options: Any) -> None:
    """Let a key, a digest, or old versions no longer count.

    KEY is SHA256:..., a publisher's. DIGEST is sha256:..., of a manifest or of anything that a manifest runs.
    """
    if (what is None) is not renewing or (below is not None and what is None):
        raise click.UsageError("name one thing to revoke, or say --renew")
    way = _Way(**options)
    with errors_told():
        trust_set, found = trusted.trust_set()
        chosen = _revoked(trust_set, what, below) if what is not None else {}
        until = expires or _in_days(REVOCATION_DAYS)
        new = succession.revoke(found.revocations, expires=until, **chosen)
        if new.version <= found.seen.revocations.version:
            new = msgspec.structs.replace(new, version=found.seen.revocations.version + 1)
        say(*trustwords.revoked_more(found.revocations, new))
        role = trust_set.revocation
        _offer(new.encode(), [(role, trust_set)], f"revocations-{new.version}.json", "revocations-put", way)


@trust.command()
@click.argument("file")
@click.option("--revocations", "revoking", is_flag=True, help="The revocation file instead of the trust set.")
def export(file: str, revoking: bool) -> None:
    """Write the signed trust set to FILE: a copy to restore from, or for other machines. `-` is standard output."""
    with errors_told():
        _, found = trusted.trust_set()
        data = found.revocations_envelope if revoking else found.trust_envelope
        if not data:
            raise TrustError(
                "nothing is revoked, there is no revocation file", hint="mcpguard trust revoke --help"
            )
        if file == "-":
            click.echo(data.decode())
            return
        signing.write(file, open_envelope(data))
        tell(f"written to {file}")


@trust.command("import")
@click.argument("file")
@_YES
def import_(file: str, yes: bool) -> None:
    """Put a signed trust set or revocation file in force: the first one, or the one that follows."""
    with errors_told():
        data = signing.read(file)
        envelope = signing.opened(data)
        if not envelope.signatures:
            raise TrustError("nobody has signed this file", hint=f"mcpguard sign {file}")
        found = trusted.held()
        document = _document(envelope.payload)
        if isinstance(document, Revocations):
            say(*trustwords.revoked_more(found.revocations, document))
            verb = "revocations-put"
        else:
            first = found.trust is None
            say(
                *(
                    trustwords.described(document)
                    if found.trust is None
                    else trustwords.changes(found.trust, document)
                )
            )
            if first:
                tell("this is the first trust set: compare the root keys with what their owners told you")
            verb = "trust-put"
        confirm("Put it in force?", yes=yes)
        reply = trusted.put(verb, data)
        tell(f"in force: version {reply['version']}")


@trust.command()
@click.argument("file")
@_YES
def restore(file: str, yes: bool) -> None:
    """Go on from a copy although the trust files are damaged or went back. The audit log tells of it.

    FILE was made by `mcpguard trust export`, or is the trust.json.previous that the message names.
    """
    with errors_told():
        data = signing.read(file)
        document = stored_trust(data)
        say(*trustwords.described(document), f"the clock says {format_time(wall_clock())}")
        tell(
            "This trust set comes into force as it is, also if a newer one has been seen.",
            "Revocations that cannot be read any more are out of force, and the clock is believed.",
        )
        confirm("Do you vouch for this trust set and for the clock?", yes=yes)
        reply = trusted.put("trust-put", data, name="restore")
        tell(f"restored: version {reply['version']}")


# --- carrying out ---------------------------------------------------------------------------------------


def _carry_out(old: TrustSet, new: TrustSet, way: _Way) -> None:
    """Show, ask, sign, and put the next trust set in force."""
    if old.expired(wall_clock()) and new.expires == old.expires:
        raise TrustError(f"the trust set expired at {old.expires}", hint="mcpguard trust renew")
    say(*trustwords.changes(old, new))
    _offer(new.encode(), [(old.root, old), (new.root, new)], f"trust-{new.version}.json", "trust-put", way)


def _offer(payload: bytes, roles: list[tuple[Role, TrustSet]], file: str, verb: str, way: _Way) -> None:
    """Ask, sign with what is kept here; put it in force if that is enough, else write it for others to sign."""
    confirm("Sign this?", yes=way.yes)
    idents = [ident for role, _ in roles for ident in role.keys]
    envelope = signing.with_kept_keys(
        payload, idents, lambda made: not _missing(made, roles), way.passphrase_file
    )
    missing = _missing(envelope, roles)
    if not missing and way.output is None:
        reply = trusted.put(verb, encode_envelope(envelope))
        tell(f"in force: version {reply['version']}")
        return
    name = way.output or file
    signing.write(name, envelope)
    tell(f"written to {name}; nothing is in force yet", *missing)
    if missing:
        tell(f"each of them: mcpguard sign {name}")
    tell(f"then: mcpguard trust import {name}")


def _missing(envelope: Envelope, roles: list[tuple[Role, TrustSet]]) -> list[str]:
    """Which signatures are still needed, in words."""
    lines = []
    for role, of in roles:
        signed = signed_by(envelope, [of.keys[ident] for ident in role.keys])
        if (short := role.threshold - len(signed)) > 0:
            others = ", ".join(ident for ident in role.keys if ident not in signed)
            lines.append(f"needs {how_many(short, 'more signature')} of: {others}")
    return list(dict.fromkeys(lines))


def _with_role(old: TrustSet, name: str, role: Role) -> TrustSet:
    """The same version with another role in it; not checked, because the next step is."""
    if name == ROOT:
        return msgspec.structs.replace(old, root=role)
    if name == REVOCATION:
        return msgspec.structs.replace(old, revocation=role)
    return msgspec.structs.replace(old, publishers={**old.publishers, name: role})


def _revoked(trust_set: TrustSet, what: str, below: int | None) -> JsonObject:
    """What is revoked, as `succession.revoke` takes it."""
    if below is not None:
        if what.startswith(("sha256:", "SHA256:")):
            raise TrustError("--below goes with the name of a manifest", hint="mcpguard trust revoke --help")
        return {"minimum": {what: below}}
    if _DIGEST.fullmatch(what):
        return {"manifests": [what], "packages": [what]}
    if not what.startswith("SHA256:"):
        raise TrustError(f"{what!a} is neither a key nor a digest", hint="for a name say --below VERSION")
    ident = _ident(trust_set, what) if len(what) < len("SHA256:") + 43 else what
    if ident in trust_set.root.keys or ident in trust_set.revocation.keys:
        tell(
            f"note: {ident} stays in the root or revocation role; to replace it there: mcpguard trust rotate"
        )
    return {"keys": [ident]}


def _document(payload: bytes) -> TrustSet | Revocations:
    try:
        return parse_trust(payload)
    except TrustError as error:
        try:
            return parse_revocations(payload)
        except TrustError:
            raise error from None


def _public(text: str) -> PublicKey:
    """A key from a file, or from the text itself."""
    if " " not in text.strip() or Path(text).is_file():
        text = signing.read(text).decode("utf-8", "replace")
    return parse_public_key(text)


def _own(text: str) -> PublicKey | None:
    """A key that is kept here, by its id; None if the text is none."""
    return parse_public_key(signer.chosen(text).line) if text.startswith("SHA256:") else None


def _own_root(trust_set: TrustSet) -> str:
    own = {kept.ident for kept in signer.key_files().list()} & set(trust_set.root.keys)
    if len(own) != 1:
        raise TrustError(f"{len(own)} root keys are kept here", hint="name the one that goes with --key")
    return own.pop()


def _ident(trust_set: TrustSet, text: str) -> str:
    """The id of a key in the trust set, which begins with the text, with or without `SHA256:`."""
    wanted = text.removeprefix("SHA256:")
    found = [ident for ident in trust_set.keys if ident.removeprefix("SHA256:").startswith(wanted)]
    if len(found) != 1 or not wanted:
        raise TrustError(f"{len(found)} trusted keys begin with {text!a}", hint="mcpguard trust show")
    return found[0]


def _in_days(days: int) -> str:
    return format_time(wall_clock() + dt.timedelta(days=days))


def _as_json(found: trusted.Trusted, now: dt.datetime) -> JsonObject:
    trust_set, revocations = found.trust, found.revocations
    content: JsonObject = {
        "ok": True,
        "trust": None,
        "revocations": None,
        "seen": msgspec.to_builtins(found.seen),
    }
    if trust_set is not None:
        content["trust"] = {
            "version": trust_set.version,
            "expires": trust_set.expires,
            "expired": trust_set.expired(now),
            "keys": {
                ident: {"public": key.line(), "expires": trust_set.until.get(ident, "")}
                for ident, key in trust_set.keys.items()
            },
            "roles": {
                name: {field: getattr(role, field) for field in Role.__struct_fields__}
                for name, role in trust_set.roles().items()
            },
        }
    if revocations is not None:
        lists = {name: sorted(getattr(revocations, name)) for name in ("keys", "manifests", "packages")}
        content["revocations"] = {
            "version": revocations.version,
            "expires": revocations.expires,
            "stale": revocations.stale(now),
            "minimum": revocations.minimum,
            **lists,
        }
    return content
