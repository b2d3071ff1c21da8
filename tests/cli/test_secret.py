"""Where values come from: standard input, a terminal without echo, and nowhere else."""

import time

import click
import pexpect
import pytest

from mcpguard.cli.secret import until
from tests.cli.keeping import PASSPHRASE, VALUE, listed, vaulted
from tests.lifecycle.stage import MCPGUARD, House, house


def test_times_are_read_or_refused() -> None:
    assert until(None) == until("never") == 0.0
    assert until("2d") == pytest.approx(time.time() + 172_800, abs=60)
    assert time.strftime("%Y-%m-%d", time.localtime(until("2031-05-06"))) == "2031-05-06"
    for wrong in ("soon", "31", "2031-13-01", "-1d"):
        with pytest.raises(click.BadParameter):
            until(wrong)


def spawned(place: House, *words: str) -> pexpect.spawn:
    return pexpect.spawn(
        MCPGUARD[0], [*MCPGUARD[1:], *words], env={**place.env, "TERM": "dumb"}, timeout=30, encoding="utf-8"
    )


def test_at_a_terminal_everything_is_typed_and_nothing_is_shown() -> None:
    with house() as place:
        child = spawned(place, "secret", "set", "github")
        seen = []
        for words, answer in (
            ("Passphrase for the new key", PASSPHRASE), ("The same again", PASSPHRASE), ("Value", VALUE),
        ):  # fmt: skip
            child.expect(words)
            seen.append(child.before)
            child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert "kept: github" in child.before
        assert not [text for text in (*seen, child.before) if VALUE in text or PASSPHRASE in text]
        place.mcpguard("secret", "lock")
        child = spawned(place, "secret", "unlock")
        child.expect("Passphrase of the vault")
        child.sendline(PASSPHRASE)
        child.expect("the vault is open; its key comes from: a passphrase")
        child.expect(pexpect.EOF)
        assert [one["name"] for one in listed(place)["secrets"]] == ["github"]


def test_without_a_terminal_a_vault_is_not_made_without_a_key() -> None:
    with house() as place:
        ran = place.mcpguard("secret", "set", "github", input=VALUE)
        assert ran.returncode == 5
        assert "there is no vault yet: open it at a terminal of yours: mcpguard secret unlock" in ran.stderr
        assert not (place.state / "secrets" / "vault.json").exists()


def test_a_value_is_never_an_argument() -> None:
    with vaulted() as place:
        ran = place.mcpguard("secret", "set", "github", VALUE)
        assert ran.returncode == 2
        ran = place.mcpguard("secret", "set", "github", input="")
        assert (ran.returncode, "there is no value" in ran.stderr) == (5, True)
        assert listed(place)["secrets"] == []
