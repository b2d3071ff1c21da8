"""The verbs about secrets, asked of a real daemon on admin.sock."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.keeping import PASSPHRASE, VALUE, vaulted
from tests.lifecycle.stage import House, house

BINDING = {
    "server": "gh",
    "argv": "0" * 64,
    "variable": "TOKEN",
    "file": "/x",
    "entry": ["a"],
    "undo": "import/1",
}


@pytest.fixture
def place() -> Iterator[House]:
    with vaulted() as made:
        yield made


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def put(place: House, name: str = "a", text: str = VALUE, **more: Any) -> dict[str, Any]:
    return place.ask({"verb": "secret-put", "name": name, "text": packed(text), **more})


def bind(place: House, *bound: dict[str, Any], name: str = "a", **more: Any) -> dict[str, Any]:
    return place.ask({"verb": "secret-bind", "name": name, "text": json.dumps(bound), **more})


def events(place: House) -> list[str]:
    return [one["event"] for one in place.records() if one["type"] == "secret"]


def test_every_change_is_recorded_with_the_name_and_without_the_value(place: House) -> None:
    assert put(place)["ok"]
    assert put(place, text=VALUE[::-1], source="rotate")["ok"]
    assert bind(place, {"binding": BINDING, "literal": packed(f'"{VALUE}"')})["bindings"] == 1
    assert place.ask({"verb": "secret-remove", "name": "a"})["ok"]
    assert events(place) == ["created", "set", "rotated", "bound", "removed"]
    log = json.dumps(place.records())
    assert VALUE not in log
    assert VALUE[::-1] not in log
    assert "uid " in next(one for one in place.records() if one["type"] == "secret")["by"]


@pytest.mark.parametrize("text", ["swordfish!", "§", "a" * 5])
def test_what_is_no_base64_is_refused_and_not_repeated(place: House, text: str) -> None:
    for verb in ("secret-put", "secret-unlock", "secret-seal"):
        reply = place.ask({"verb": verb, "name": "a", "text": text})
        assert (reply["ok"], reply["code"]) == (False, "secret")
        assert text not in reply["error"]


def test_only_what_was_imported_can_be_shown(place: House) -> None:
    put(place)
    for name in ("a", "import/1", "oauth/x", ""):
        reply = place.ask({"verb": "secret-reveal", "name": name})
        assert "only what was imported" in reply["error"], reply
    bind(place, {"binding": BINDING, "literal": packed('"literal-text"')})
    shown = place.ask({"verb": "secret-reveal", "name": "import/1"})
    assert base64.b64decode(shown["text"]) == b'"literal-text"'
    assert "revealed" in events(place)
    assert bind(place, {"binding": BINDING}, source="unbind")["bindings"] == 0
    assert not place.ask({"verb": "secret-reveal", "name": "import/1"})["ok"]
    assert place.ask({"verb": "secrets"})["own"] == 0


def test_where_presence_can_be_shown_it_has_to_be(place: House) -> None:
    put(place)
    bind(place, {"binding": BINDING, "literal": packed('"literal-text"')})
    assert place.ask({"verb": "presence-put", "name": "passphrase", "text": "open sesame"})["ok"]
    reply = place.ask({"verb": "secret-reveal", "name": "import/1"})
    assert (reply["ok"], reply["code"], reply["methods"]) == (False, "presence", ["passphrase"])
    challenge = json.loads(reply["challenge"])["challenge"]
    proof = {"challenge": challenge, "way": "passphrase", "passphrase": "wrong"}
    reply = place.ask({"verb": "secret-reveal", "name": "import/1", "proof": json.dumps(proof)})
    assert (reply["ok"], "text" in reply) == (False, False)
    reply = place.ask({"verb": "secret-reveal", "name": "import/1"})
    proof = {
        "challenge": json.loads(reply["challenge"])["challenge"],
        "way": "passphrase",
        "passphrase": "open sesame",
    }
    assert place.ask({"verb": "secret-reveal", "name": "import/1", "proof": json.dumps(proof)})["ok"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"binding": {}}]', json.dumps([{"binding": BINDING | {"more": 1}}])]
)
def test_bindings_that_cannot_be_read_change_nothing(place: House, text: str) -> None:
    put(place)
    reply = place.ask({"verb": "secret-bind", "name": "a", "text": text})
    assert (reply["ok"], reply["code"]) == (False, "secret")
    assert place.ask({"verb": "secrets"})["secrets"][0]["bindings"] == []


def test_a_binding_cannot_overwrite_what_mcpguard_keeps_for_itself(place: House) -> None:
    put(place)
    reply = bind(place, {"binding": BINDING | {"undo": "oauth/x"}, "literal": packed("x")})
    assert "kept below import/" in reply["error"]


def test_the_same_value_is_imported_twice_and_another_is_not(place: House) -> None:
    assert put(place, source="import")["ok"]
    assert put(place, source="import")["ok"]
    assert "there is a secret 'a' already" in put(place, text=VALUE[::-1], source="import")["error"]
    assert events(place) == ["created", "set"]


def test_a_locked_vault_keeps_nothing_and_says_so(place: House) -> None:
    put(place)
    assert place.ask({"verb": "secret-lock"})["ok"]
    for reply in (
        put(place, "b"), place.ask({"verb": "secret-remove", "name": "a"}), bind(place, {"binding": BINDING}),
        place.ask({"verb": "secret-seal", "text": packed(VALUE)}),
    ):  # fmt: skip
        assert "the vault is locked" in reply["error"]
    reply = place.ask({"verb": "secret-unlock", "text": packed("wrong")})
    assert "does not open the vault" in reply["error"]
    assert place.ask({"verb": "secret-unlock", "text": packed(PASSPHRASE)})["ok"]
    assert [one["name"] for one in place.ask({"verb": "secrets"})["secrets"]] == ["a"]


def test_a_keyring_that_is_there_keeps_the_key_over_restarts() -> None:
    with house() as place:
        folder = place.root / "backends"
        folder.mkdir()
        (folder / "filering.py").write_text(RING.format(file=place.root / "ring.json"))
        config = place.root / ".config" / "python_keyring"
        config.mkdir(parents=True)
        (config / "keyringrc.cfg").write_text(
            f"[backend]\ndefault-keyring=filering.Ring\nkeyring-path={folder}\n"
        )
        ran = place.mcpguard("secret", "set", "github", input=VALUE)
        assert ran.returncode == 0, ran.stderr
        assert place.ask({"verb": "secrets"})["vault"] == {"state": "open", "key": "keyring"}
        assert VALUE not in (place.root / "ring.json").read_text()
        place.mcpguard("daemon", "stop")
        assert place.daemon is not None
        place.daemon.wait(20)
        place.serve()
        assert place.ask({"verb": "secrets"})["vault"] == {"state": "locked", "key": "keyring"}
        assert put(place, "other")["ok"]  # opened by itself
        place.ask({"verb": "secret-lock"})
        (place.root / "ring.json").write_text("{}")
        assert "the keyring does not have the key of the vault" in put(place, "third")["error"]


RING = '''
import json, pathlib
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    """A keyring that keeps what it is given in a file."""

    priority = 5
    file = pathlib.Path("{file}")

    def _all(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {{}}

    def set_password(self, service, username, password):
        self.file.write_text(json.dumps(self._all() | {{service + "/" + username: password}}))

    def get_password(self, service, username):
        return self._all().get(service + "/" + username)

    def delete_password(self, service, username):
        kept = self._all()
        del kept[service + "/" + username]
        self.file.write_text(json.dumps(kept))
'''
