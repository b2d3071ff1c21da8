"""`mcpguard presence` at a real terminal, with a real daemon."""

from collections.abc import Iterator

import pexpect
import pytest

from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import MCPGUARD, House, house
from tests.lifecycle.test_approvals import ASKING, approvals, notes, pending, waits


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(ASKING.format(timeout="60s") + 'confirm = "presence"\n')
        yield made


def terminal(place: House, *words: str) -> pexpect.spawn:
    return pexpect.spawn(MCPGUARD[0], [*MCPGUARD[1:], *words], env=place.env, timeout=20, encoding="utf-8")


def chosen(place: House, passphrase: str) -> None:
    person = terminal(place, "presence", "set", "passphrase")
    for question in ("New passphrase for approvals: ", "The same again: "):
        person.expect_exact(question)
        person.sendline(passphrase)
    person.expect("set up: a passphrase")
    assert person.wait() == 0
    assert passphrase not in (person.before or "")


def test_a_call_that_wants_presence_gets_it_and_nothing_less(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    none = place.mcpguard("approve", ticket["id"], "--yes")
    assert (none.returncode, "mcpguard presence set passphrase" in none.stderr) == (5, True), none
    chosen(place, "open sesame")
    blind = place.mcpguard("approve", ticket["id"], "--yes", start_new_session=True)
    assert (blind.returncode, "there is no terminal to ask on" in blind.stderr) == (5, True), blind
    person = terminal(place, "approve", ticket["id"], "--yes")
    person.expect_exact("Passphrase for approvals: ")
    person.sendline("open barley")
    person.expect("the passphrase is wrong")
    assert person.wait() == 5
    assert (len(pending(place)), notes(host)) == (1, [])
    person = terminal(place, "approve", ticket["id"], "--yes")
    person.expect_exact("Passphrase for approvals: ")
    person.sendline("open sesame")
    person.expect("approved")
    assert person.wait() == 0
    assert "result" in host.answer(call)
    assert notes(host) == ["1"]
    assert approvals(place) == ["asked", "presence-set", "granted"]
    log = "".join(path.read_text() for path in (place.state / "audit").glob("*.jsonl"))
    assert "sesame" not in log


def test_a_no_needs_no_presence(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    host.calling("note", n=1)
    (ticket,) = waits(place)
    assert place.mcpguard("deny", ticket["id"]).returncode == 0


def test_the_ways_are_listed_changed_and_removed(place: House) -> None:
    listed = place.mcpguard("presence", "list").stdout
    assert "passphrase  not set up" in listed
    chosen(place, "one")
    assert "passphrase  set up" in place.mcpguard("presence", "list").stdout
    person = terminal(place, "presence", "set", "passphrase")
    for question, answer in (
        ("New passphrase for approvals: ", "two"), ("The same again: ", "two"),
        ("Passphrase for approvals: ", "wrong"),
    ):  # fmt: skip
        person.expect_exact(question)
        person.sendline(answer)
    person.expect("the passphrase is wrong")
    assert person.wait() == 5
    person = terminal(place, "presence", "remove", "passphrase")
    person.expect_exact("Passphrase for approvals: ")
    person.sendline("one")
    person.expect("removed")
    assert person.wait() == 0
    assert '"passphrase": false' in place.mcpguard("presence", "list", "--json").stdout


def test_two_different_passphrases_set_nothing(place: House) -> None:
    person = terminal(place, "presence", "set", "passphrase")
    for question, answer in (("New passphrase for approvals: ", "a"), ("The same again: ", "b")):
        person.expect_exact(question)
        person.sendline(answer)
    person.expect("the passphrases differ")
    assert person.wait() == 5
    assert "passphrase  not set up" in place.mcpguard("presence", "list").stdout


def test_no_security_key_is_a_sentence(place: House) -> None:
    done = place.mcpguard("presence", "set", "fido2")
    assert (done.returncode, "no security key is plugged in" in done.stderr) == (5, True), done
