import json
from typing import Any

from tests.cli.keeping import VALUE, vaulted
from tests.lifecycle.stage import House, house


def told(place: House, check: str) -> list[dict[str, Any]]:
    found = json.loads(place.mcpguard("doctor", "--json").stdout)["findings"]
    return [one for one in found if one["check"] == check]


def test_doctor_says_where_the_key_would_be_where_no_keyring_is() -> None:
    with house() as place:
        (found,) = told(place, "vault")
        assert found["level"] == "ok"
        assert "a passphrase would open it, since no keyring of this desktop keeps secrets" in found["words"]


def test_doctor_tells_what_has_expired_and_what_is_damaged() -> None:
    with vaulted() as place:
        place.mcpguard("secret", "set", "soon", "--expires", "2d", input=VALUE)
        place.mcpguard("secret", "set", "later", "--expires", "90d", input=VALUE)
        (found,) = told(place, "secret")
        assert (found["level"], "soon expires on" in found["words"]) == ("note", True)
        (found,) = told(place, "vault")
        assert "2 secrets; a passphrase opens it" in found["words"]
        (place.state / "secrets" / "vault.json").write_text("{")
        (found,) = told(place, "vault")
        assert (found["level"], "it is damaged" in found["words"]) == ("bad", True)
