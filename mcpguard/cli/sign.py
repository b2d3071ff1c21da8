"""`mcpguard sign`: add a signature to a manifest, a trust set or revocations.

What is signed is DSSE's encoding of the statement's exact bytes. A key signs that is kept here, or `ssh-keygen` does,
with a key in a file, an agent, or a hardware token.
"""

from __future__ import annotations

import click

from mcpguard.cli import signer, signing, trusted, trustwords
from mcpguard.cli.terminal import errors_told, say, tell
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import Envelope, digest
from mcpguard.identity.manifest import PREDICATE, Manifest, parse_manifest
from mcpguard.identity.statement import parse_json
from mcpguard.identity.trust import REVOCATIONS, TRUST, parse_revocations, parse_trust


@click.command()
@click.argument("file")
@click.option("--key", metavar="ID", help="The kept key that signs; without it the only one.")
@click.option(
    "--ssh-key", metavar="PATH", help="An SSH key signs, as ssh -i takes it; agent and FIDO keys too."
)
@click.option(
    "--output", "-o", metavar="FILE", help="Where the envelope goes; default FILE itself, if it is one."
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase of --key.")
def sign(
    file: str, key: str | None, ssh_key: str | None, output: str | None, passphrase_file: str | None
) -> None:
    """Sign FILE: a statement, or an envelope that gets one more signature.

    A statement becomes an envelope in FILE.signed.json. What is signed is shown first.
    """
    if key and ssh_key:
        raise click.UsageError("--key and --ssh-key: one signature at a time")
    with errors_told():
        data = signing.read(file)
        before = signing.opened(data)
        tell(*_shown(before))
        if ssh_key:
            after = signing.with_ssh_key(before, ssh_key)
        else:
            after = signing.with_key(before, signer.unlocked(signer.chosen(key), passphrase_file))
        if after.signatures == before.signatures:
            tell("it has this signature already")
        name = output or (file if before.signatures else f"{file.removesuffix('.json')}.signed.json")
        signing.write(name, after, replace=name == file)
        say(name)
        tell(
            f"signed by {after.signatures[-1].keyid}, {len(after.signatures)} in all; digest {digest(after.payload)}"
        )


def _shown(envelope: Envelope) -> list[str]:
    """What a person is about to sign.

    Raises:
        TrustError: It is no statement of ours; nothing that is not understood is signed.
    """
    kind = parse_json(envelope.payload, "the statement").get("predicateType")
    if kind == PREDICATE:
        return manifest_lines(parse_manifest(envelope.payload))
    if kind == REVOCATIONS:
        return trustwords.revoked_more(trusted.held().revocations, parse_revocations(envelope.payload))
    if kind == TRUST:
        new, current = parse_trust(envelope.payload), trusted.held().trust
        following = current is not None and current.version + 1 == new.version
        return trustwords.changes(current, new) if current and following else trustwords.described(new)
    raise TrustError(
        f"the statement is a {str(kind)[:60]!a}, which mcpguard does not sign", hint="mcpguard sign --help"
    )


def manifest_lines(manifest: Manifest) -> list[str]:
    """A manifest in short: what it runs, for how long, with how many tools."""
    tools = ", ".join(sorted(manifest.tools)) or "none"
    return [
        f"manifest of {manifest.name}, version {manifest.version}",
        f"runs     {' '.join(manifest.launch.argv)}",
        f"valid    from {manifest.not_before} until {manifest.expires}",
        f"tools    {tools}",
        *(f"ignored  {member}" for member in manifest.ignored),
    ]
