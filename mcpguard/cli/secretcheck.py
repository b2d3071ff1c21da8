"""What `mcpguard doctor` looks at of secrets: where the key of the vault is, whether it is open, what has expired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from mcpguard.cli import client
from mcpguard.cli.checked import Finding, bad, note, ok
from mcpguard.errors import DaemonError, SecretError, TrustError
from mcpguard.model import JsonObject, how_many
from mcpguard.system import paths
from mcpguard.system.keyfiles import backend_name, desktop_keyring
from mcpguard.system.vault import Vault

_UNLOCK: Final = "mcpguard secret unlock"
_SOON: Final = 7 * 86_400.0
_WAYS: Final = {
    "keyring": "the keyring of the desktop has its key",
    "credential": "a credential of the daemon's unit opens it",
    "passphrase": "a passphrase opens it",
}


def vault() -> Iterator[Finding]:
    """The vault can be used, and what it holds has not expired."""
    kept = Vault(paths.secrets_dir())
    try:
        if not kept.exists:
            yield _none()
            return
        _, how = kept.how()
    except SecretError as error:
        yield bad("vault", error.message, error.hint)
        return
    try:
        reply = client.request({"verb": "secrets"})
    except DaemonError:
        yield ok("vault", f"{how_many(len(kept.facts()), 'secret')}; {_WAYS.get(how.way, how.way)}")
        return
    if reply["vault"]["state"] == "locked" and how.way == "passphrase":
        yield note("vault", "it is locked: servers that need a secret of it are not started", _UNLOCK)
    else:
        yield ok("vault", f"{how_many(len(kept.facts()), 'secret')}; {_WAYS.get(how.way, how.way)}")
    yield from (found for one in reply["secrets"] if (found := _of_one(one)) is not None)


def _none() -> Finding:
    """There is no vault: where its key would be kept."""
    try:
        found = backend_name(desktop_keyring())
    except TrustError as error:
        return ok("vault", f"there is none yet; a passphrase would open it, since {error.message}")
    return ok("vault", f"there is none yet; {found} would keep its key")


def _of_one(one: JsonObject) -> Finding | None:
    name, expires = one["name"], one["expires"]
    if one["expired"]:
        return bad(
            "secret", f"{name} has expired: its servers are not started", f"mcpguard secret rotate {name}"
        )
    if expires and expires - time.time() < _SOON:
        day = time.strftime("%Y-%m-%d", time.localtime(expires))
        return note("secret", f"{name} expires on {day}", f"mcpguard secret rotate {name}")
    return None
