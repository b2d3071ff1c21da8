"""Signatures of this user on statements: with kept keys or through OpenSSH, and files that others add theirs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mcpguard import limits
from mcpguard.cli.signer import key_files, unlocked
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import (
    IN_TOTO,
    Envelope,
    Signature,
    add_signature,
    add_ssh_signature,
    encode_envelope,
    pae,
)
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.sshsig import NAMESPACE
from mcpguard.identity.statement import parse_json
from mcpguard.identity.trust import open_envelope
from mcpguard.system import sshkeygen


def opened(data: bytes) -> Envelope:
    """A signed envelope, or a bare statement as an envelope without signatures.

    Raises:
        TrustError: It is neither.
    """
    value = parse_json(data, "the file")
    if "payloadType" in value:
        return open_envelope(data)
    if "_type" in value:
        return Envelope(IN_TOTO, data)
    raise TrustError("the file is neither a statement nor a signed envelope", hint="mcpguard sign --help")


def with_key(envelope: Envelope, private: PrivateKey) -> Envelope:
    """The envelope with a signature of a kept key."""
    made = private.sign(pae(envelope.payload_type, envelope.payload))
    return add_signature(envelope, Signature(private.public.ident, made))


def with_ssh_key(envelope: Envelope, path: str) -> Envelope:
    """The envelope with a signature that OpenSSH made: a file, an agent's key, or a hardware key.

    Raises:
        TrustError: ssh-keygen did not sign, or with a kind of key that does not count.
    """
    armour = sshkeygen.sign(Path(path).expanduser(), pae(envelope.payload_type, envelope.payload), NAMESPACE)
    return add_ssh_signature(envelope, armour)


def with_kept_keys(
    payload: bytes, idents: Iterable[str], enough: Callable[[Envelope], bool], passphrase_file: str | None
) -> Envelope:
    """The payload, signed with kept keys out of `idents` until it is enough or no more are kept here."""
    envelope = Envelope(IN_TOTO, payload)
    kept = {each.ident: each for each in key_files().list() if not each.problem}
    for ident in dict.fromkeys(idents):
        if ident in kept and not enough(envelope):
            envelope = with_key(envelope, unlocked(kept[ident], passphrase_file))
    return envelope


def read(file: str) -> bytes:
    """A file that should hold a statement or an envelope; one byte too many if it is too large to be one.

    Raises:
        TrustError: It cannot be read.
    """
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limits.ENVELOPE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrustError(f"{file!a} cannot be read: {reason}", hint="give the path of a file") from error


def write(file: str, envelope: Envelope, *, replace: bool = False) -> None:
    """Write an envelope, or a statement that nobody has signed yet; all of it or nothing.

    Raises:
        TrustError: There is a file already that is not to be replaced, or it cannot be written.
    """
    data = encode_envelope(envelope) if envelope.signatures else envelope.payload
    path = Path(file)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("xb") as stream:
            stream.write(data)
        if replace:
            new.replace(path)
        else:
            os.link(new, path)
    except FileExistsError as error:
        raise TrustError(f"{file!a} is there already", hint="name another one with --output") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrustError(
            f"{file!a} cannot be written: {reason}", hint="name another one with --output"
        ) from error
    finally:
        new.unlink(missing_ok=True)
