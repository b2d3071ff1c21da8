"""Which key of this user signs, and how it is unlocked; on first use, the first key and the first trust set."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection
from typing import Final

from mcpguard.cli import passphrase, trusted
from mcpguard.cli.terminal import confirm, tell
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import encode_envelope, sign
from mcpguard.identity.keys import PrivateKey, PublicKey
from mcpguard.identity.statement import format_time
from mcpguard.identity.trust import LOCAL, Role, TrustSet
from mcpguard.system import paths
from mcpguard.system.keyfiles import Kept, KeyFiles
from mcpguard.system.truststore import wall_clock

TRUST_DAYS: Final = 365
"""How long a trust set holds."""


def key_files() -> KeyFiles:
    """The keys of this user."""
    return KeyFiles(paths.keys_dir())


def chosen(key: str | None, preferred: Collection[str] = ()) -> Kept:
    """The key that is named by its id or the beginning of it; without a name the only one.

    Of several, the only one among the `preferred` ids, so that a key that was rotated out asks for nothing.

    Raises:
        TrustError: There is none, or there are several.
    """
    files = key_files()
    if key is not None:
        return files.find(key)
    usable = [kept for kept in files.list() if not kept.problem]
    if not usable:
        raise TrustError("you have no signing key", hint="mcpguard key generate")
    usable = [kept for kept in usable if kept.ident in preferred] or usable
    if len(usable) > 1:
        raise TrustError(
            f"you have {len(usable)} signing keys", hint="name one with --key: mcpguard key list"
        )
    return usable[0]


def unlocked(kept: Kept, passphrase_file: str | None = None) -> PrivateKey:
    """The private key, after its passphrase was asked for; the keyring asks for its own.

    Raises:
        TrustError: The passphrase is wrong, or nobody can be asked.
    """
    words = "" if kept.place == "keyring" else passphrase.of(kept.ident, passphrase_file)
    return key_files().load(kept.ident, words)


def generated(comment: str, *, keyring: bool = False, passphrase_file: str | None = None) -> PrivateKey:
    """A new key, kept encrypted or in the keyring.

    Raises:
        TrustError: There is no passphrase, or it cannot be kept.
    """
    files = key_files()
    if keyring:
        private = PrivateKey(secrets.token_bytes(32))
        files.create_in_keyring(private, comment)
        return private
    words = passphrase.new(passphrase_file)
    private = PrivateKey(secrets.token_bytes(32))
    files.create(private, words, comment)
    return private


def local_signer(key: str | None, *, passphrase_file: str | None = None, yes: bool = False) -> PrivateKey:
    """The private key that signs manifests of this user's own servers.

    On first use it explains and asks, makes a key, and makes that key root, revoker and signer of `local`.

    Args:
        key: Id of the key, or the beginning of it; None for the only one that may.
        passphrase_file: File whose first line is the passphrase; None asks.
        yes: The question of first use is answered.

    Raises:
        TrustError: There is no such key, its passphrase is wrong, it may not sign here, or nobody can be asked.
        DaemonError: The daemon does not answer.
    """
    trust = trusted.held().trust
    if trust is not None:
        role = trust.publishers.get(LOCAL)
        kept = chosen(key, role.keys if role else ())
        if role is None or kept.ident not in role.keys:
            raise TrustError(
                f"the key {kept.ident} may not sign your own servers",
                hint=f'mcpguard trust add-key {LOCAL} "{kept.line}"',
            )
        return unlocked(kept, passphrase_file)
    if key is None and not key_files().list():
        _explain_first_use()
        confirm("Make a key and trust it?", yes=yes)
        private = generated("", passphrase_file=passphrase_file)
    else:
        kept = chosen(key)
        tell(f"No keys are trusted yet. {kept.ident} becomes root, revoker and signer of your own servers.")
        confirm("Trust it?", yes=yes)
        private = unlocked(kept, passphrase_file)
    make_first_trust(private)
    return private


def make_first_trust(private: PrivateKey, days: int = TRUST_DAYS) -> TrustSet:
    """Put the first trust set in force: one key is root, revoker and signer of `local`.

    Raises:
        TrustError: There is one already, or the daemon refuses.
        DaemonError: The daemon does not answer.
    """
    trust = first_trust_set(private.public, wall_clock(), days)
    trusted.put("trust-put", encode_envelope(sign(trust.encode(), private)))
    tell(
        f"trusted: {private.public.ident} as root, for revocations and for your own servers, until {trust.expires}"
    )
    return trust


def first_trust_set(public: PublicKey, now: dt.datetime, days: int = TRUST_DAYS) -> TrustSet:
    """Version 1 with one key in every role."""
    alone = Role(keys=(public.ident,), threshold=1)
    return TrustSet(
        version=1,
        expires=format_time(now + dt.timedelta(days=days)),
        keys={public.ident: public},
        root=alone,
        revocation=alone,
        publishers={LOCAL: alone},
    )


def _explain_first_use() -> None:
    tell(
        "A server runs only with a signed manifest, and you have no key to sign with yet.",
        f"This makes an Ed25519 key, kept encrypted with a passphrase in {paths.keys_dir()}.",
        "It becomes your root key: it decides whose signatures count. To share or replace it: mcpguard trust --help",
    )
