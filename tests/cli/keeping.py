"""A house with a vault, for the tests of the verbs of `mcpguard secret`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lifecycle.stage import House, house

VALUE = "planted-value-of-a-test"
PASSPHRASE = "the passphrase of a test"


@contextmanager
def vaulted() -> Iterator[House]:
    """A house whose vault is open; `PASSPHRASE` is in `passphrase`."""
    with house() as made:
        file = made.root / "passphrase"
        file.write_text(f"{PASSPHRASE}\n")
        file.chmod(0o600)
        ran = made.mcpguard("secret", "unlock", "--passphrase-file", str(file))
        assert ran.returncode == 0, ran.stderr
        yield made


def listed(place: House) -> dict[str, Any]:
    """What `secret list --json` says."""
    found: dict[str, Any] = json.loads(place.mcpguard("secret", "list", "--json").stdout)
    return found
