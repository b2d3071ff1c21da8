import json

from tests.cli.keeping import vaulted
from tests.lifecycle.stage import house


def test_the_vault_is_locked_and_opened_again() -> None:
    with vaulted() as place:
        assert place.mcpguard("secret", "lock").stdout == "the vault is locked\n"
        assert "it is locked" in place.mcpguard("doctor").stdout
        words = ("secret", "unlock", "--passphrase-file", str(place.root / "passphrase"))
        ran = place.mcpguard(*words, "--json")
        assert json.loads(ran.stdout)["vault"] == {"state": "open", "key": "passphrase"}
        assert json.loads(place.mcpguard("secret", "lock", "--json").stdout)["ok"]
        (place.root / "passphrase").chmod(0o644)
        ran = place.mcpguard(*words)
        assert (ran.returncode, "others may read the passphrase" in ran.stderr) == (5, True)


def test_lock_needs_a_daemon() -> None:
    with house() as place:
        place.mcpguard("daemon", "stop")
        assert place.mcpguard("secret", "lock").returncode == 3
