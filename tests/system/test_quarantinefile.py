import pytest

from mcpguard.errors import DaemonError, TrustError
from mcpguard.system.quarantinefile import (
    ASK,
    FILE,
    HELD_BYTES,
    REFUSE,
    RUNS,
    Entry,
    Held,
    QuarantineFile,
    Run,
)


def entry(name: str = "files", **more: str) -> Entry:
    return Entry(
        **({"kind": "server", "name": name, "how": REFUSE, "reason": "", "by": "me", "since": "now"} | more)
    )


def test_what_was_saved_is_loaded_and_is_the_owners_alone(tmp_path) -> None:
    file = QuarantineFile(tmp_path / "q")
    assert file.load() == Held()
    held = Held(entries=[entry(), entry("code", kind="host", how=ASK)], boot="b", runs=[Run(1, 2)])
    file.save(held)
    assert file.load() == held
    assert (tmp_path / "q" / FILE).stat().st_mode & 0o777 == 0o600
    assert [each.held for each in held.entries] == ["refuse server:files", "ask host:code"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"v":1,"entries":7}', '{"v":1,"x":1}', '{"v":1,"entries":[{"kind":"x","name":"a","how":"refuse","reason":"","by":"","since":""}]}',
     '{"v":1,"entries":[{"kind":"host","name":"a","how":"off","reason":"","by":"","since":""}]}'],
)  # fmt: skip
def test_damage_is_an_error_and_no_empty_list(tmp_path, text) -> None:
    file = QuarantineFile(tmp_path)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DaemonError, match="what is in quarantine") as caught:
        file.load()
    assert FILE in caught.value.sentence()


def test_no_more_get_in_than_a_record_can_hold(tmp_path) -> None:
    file = QuarantineFile(tmp_path / "q")
    many = [entry(f"{n:03}" + "\u202e" * 190) for n in range(20)]
    with pytest.raises(TrustError, match="which is the most"):
        file.save(Held(entries=[entry("x" * 200 + str(n)) for n in range(HELD_BYTES // 200)]))
    file.save(Held(entries=many[:10], runs=[Run(n, n) for n in range(2 * RUNS)]))
    assert file.load().runs[0] == Run(RUNS, RUNS)
