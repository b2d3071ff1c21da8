"""`mcpguard apikey` with a real daemon: a key is shown once, and is in no log, list, record or sentence."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from mcpguard.credentials import apikey
from tests.lifecycle.forms import FORMS, arrive, enrol, inside
from tests.lifecycle.stage import MCPGUARD, House, house

KEY = re.compile(r"mcpg_[a-z0-9]{10}_[0-9A-Za-z]{49}")


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        yield made


def made(place: House, *words: str) -> dict[str, Any]:
    done = place.mcpguard("apikey", *words, "--json")
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def everything(place: House) -> str:
    """All that the daemon has written: its state, its log, what is in its memory of records."""
    texts = [
        path.read_bytes().decode("utf-8", "replace") for path in place.state.rglob("*") if path.is_file()
    ]
    return "".join(texts) + json.dumps(place.ask({"verb": "recent"})) + json.dumps(place.status())


def test_a_key_is_shown_once_alone_on_standard_output(place: House) -> None:
    done = place.mcpguard(
        "apikey", "create", "ci", "--server", "files", "--tool", "read_*", "--expires", "30d"
    )
    assert KEY.fullmatch(done.stdout.strip())
    assert "this is the only time that it is shown" in done.stderr
    assert f"in policy key:{apikey.parse(done.stdout.strip())}" in done.stderr
    assert done.stdout.strip() not in done.stderr
    secret = done.stdout.strip().rpartition("_")[2]
    for words in (["list"], ["list", "--json"], ["show", "ci"], ["show", "ci", "--json"]):
        shown = place.mcpguard("apikey", *words)
        assert shown.returncode == 0
        assert "ci" in shown.stdout
        assert secret not in shown.stdout + shown.stderr
    assert secret not in everything(place)
    assert "files" in place.mcpguard("apikey", "show", "ci").stdout


def test_into_a_file_that_is_new_and_ours_alone(place: House) -> None:
    target = place.root / "key"
    done = place.mcpguard("apikey", "create", "ci", "--output", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert KEY.fullmatch(target.read_text().strip())
    assert target.stat().st_mode & 0o777 == 0o600
    again = place.mcpguard("apikey", "create", "other", "--output", str(target))
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert [key["name"] for key in json.loads(place.mcpguard("apikey", "list", "--json").stdout)["keys"]] == [
        "ci"
    ]
    refused = place.mcpguard("apikey", "create", "ci", "--output", str(place.root / "second"))
    assert refused.returncode == 5
    assert not (place.root / "second").exists(), "no empty file is left behind"


def test_a_link_in_its_place_is_not_followed(place: House) -> None:
    (place.root / "link").symlink_to(place.root / "elsewhere")
    assert place.mcpguard("apikey", "create", "ci", "--output", str(place.root / "link")).returncode == 1
    assert not (place.root / "elsewhere").exists()


def test_rotate_and_revoke(place: House) -> None:
    first = made(place, "create", "ci")
    second = made(place, "rotate", "ci", "--overlap", "1h")
    assert (second["id"], second["principal"]) == (first["id"], first["principal"])
    assert second["key"] != first["key"]
    assert second["old_until"] == pytest.approx(second["rotated"] + 3600)
    assert "the one before counts until" in place.mcpguard("apikey", "rotate", f"key:{first['id']}").stderr
    done = place.mcpguard("apikey", "revoke", "ci", "--reason", "lost", "--yes")
    assert done.stdout == f"the API key ci ({first['id']}) is revoked\n"
    assert json.loads(place.mcpguard("apikey", "list", "--json").stdout)["keys"] == []
    assert (
        json.loads(place.mcpguard("apikey", "list", "--all", "--json").stdout)["keys"][0]["state"]
        == "revoked"
    )
    events = [(one["event"], one["name"]) for one in place.records() if one["type"] == "credential"]
    assert events == [(event, first["id"]) for event in ("created", "rotated", "rotated", "revoked")]
    assert place.mcpguard("apikey", "rotate", "ci").returncode == 5


def test_it_outlives_the_daemon(place: House) -> None:
    key = made(place, "create", "ci")
    assert place.daemon
    place.daemon.terminate()
    place.daemon.wait(20)
    assert place.mcpguard("apikey", "list").returncode == 3
    place.serve()
    assert made(place, "show", "ci")["id"] == key["id"]


def test_without_a_yes_nothing_is_revoked(place: House) -> None:
    made(place, "create", "ci")
    done = place.mcpguard("apikey", "revoke", "ci", stdin=subprocess.DEVNULL)
    assert (done.returncode, "say it with --yes" in done.stderr) == (5, True)
    assert made(place, "show", "ci")["state"] == "valid"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "Bad Name"], 5, "1 to 64 of a-z"),
        (["create", "ci", "--expires", "soon"], 2, "expected a time"),
        (["create", "ci", "--network", "home"], 5, "is not a network"),
        (["create", "ci", "--cert", "nothing"], 5, "neither a SHA-256"),
        (["create", "ci", "--tool", ""], 5, "no pattern"),
        (["create", "ci", "--uid", "-1"], 2, "uid"),
        (["rotate", "ci", "--expires", "never"], 2, "needs a time here"),
        (["rotate", "nobody"], 5, "mcpguard apikey list"),
        (["show", "nobody"], 5, "there is no API key"),
        (["show", "mcpg_abcdefghjk_secretsecret"], 2, "this is a key itself"),
        (["revoke", "mcpg_abcdefghjk_secretsecret", "--yes"], 2, "this is a key itself"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(place: House, words: list[str], code: int, said: str) -> None:
    done = place.mcpguard("apikey", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done
    assert "secretsecret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_certificate_is_named_by_its_file_or_its_digest(place: House) -> None:
    file = place.root / "cert.pem"
    trustme.CA().issue_cert("a.example").cert_chain_pems[0].write_to_path(str(file))
    by_file = made(place, "create", "one", "--cert", str(file))["certificates"]
    colons = ":".join(by_file[0][at : at + 2] for at in range(0, 64, 2)).upper()
    assert made(place, "create", "two", "--cert", colons)["certificates"] == by_file
    assert f"certificate {by_file[0]}" in place.mcpguard("apikey", "show", "one").stdout


def test_what_an_enrolled_host_has_started_changes_no_key(place: House) -> None:
    place.policy(
        'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'
    )
    first = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, first, "acme")
    first.close_stdin()
    first.wait()
    host = arrive(place, FORMS["pipes"], name="box").greet()
    made(place, "create", "ci")
    for words in (["create", "mine"], ["rotate", "ci"], ["revoke", "ci", "--yes"]):
        code, said = inside(host, *MCPGUARD, "apikey", *words)
        assert code == 5, said
        assert "host has started" in said, said
        assert not KEY.search(said)
    assert inside(host, *MCPGUARD, "apikey", "list")[0] == 0, "it may look"
    assert [
        key["state"] for key in json.loads(place.mcpguard("apikey", "list", "--all", "--json").stdout)["keys"]
    ] == ["valid"]


def test_the_help_says_what_it_is() -> None:
    done = subprocess.run(
        [*MCPGUARD, "apikey", "--help"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    for verb in ("create", "list", "show", "rotate", "revoke"):
        assert f"  {verb} " in done.stdout
