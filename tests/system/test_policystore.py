"""The applied policy on a real disk: damage is an error, a crash is not damage, nobody else may write."""

import hashlib
import json
import os
import resource
import signal
import stat
import threading

import pytest

from mcpguard.errors import ConfigError
from mcpguard.model import Mode
from mcpguard.system.policystore import PolicyStore

A = b'version = 1\nmode = "observe"\n'
B = b'version = 1\nmode = "enforce"\n[[rule]]\nid = "r"\ntools = ["x"]\neffect = "allow"\n'
C = b'version = 1\nmode = "enforce"\n# c\n'


@pytest.fixture
def store(tmp_path):
    return PolicyStore(tmp_path / "state" / "policy")


def contents(store):
    return {path.name: path.read_bytes() for path in store.directory.iterdir()}


def test_nothing_was_ever_applied(store):
    assert store.load() is None
    assert store.current() is None
    store.directory.mkdir(parents=True, mode=0o700)
    assert store.load() is None


def test_what_is_applied_is_loaded_byte_for_byte(store):
    applied = store.apply(B, "/home/u/p.toml", now=1_700_000_000.9)
    assert store.load() == applied
    assert (applied.file, applied.rules[0].line) == ("/home/u/p.toml", 3)
    files = contents(store)
    assert set(files) == {"active.toml", "active.json"}
    assert files["active.toml"] == B
    assert json.loads(files["active.json"]) == {
        "source": "/home/u/p.toml",
        "digest": applied.digest,
        "applied_at": "2023-11-14T22:13:20Z",
    }


def test_the_clock_is_asked_when_no_time_is_given(store):
    store.apply(A, "p")
    assert store.current()[0].applied_at.endswith("Z")


def test_everything_is_for_the_owner_only(store):
    store.apply(A, "p")
    store.apply(B, "p")
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_the_previous_policy_is_kept_until_another_one_is_applied(store):
    store.apply(A, "a")
    store.apply(B, "b")
    store.apply(B, "b again", now=0)
    assert contents(store)["previous.toml"] == A
    assert store.current()[0].source == "b again"
    store.apply(C, "c")
    assert contents(store)["previous.toml"] == B


def test_an_invalid_policy_changes_nothing(store):
    store.apply(A, "a")
    before = contents(store)
    with pytest.raises(ConfigError, match="expected TOML"):
        store.apply(b"version = ", "b")
    assert contents(store) == before


def test_a_file_name_of_any_bytes_is_kept_readable(store):
    ruleset = store.apply(A, "/tmp/\udcff.toml")
    assert store.load().file == ruleset.file == "/tmp/\\udcff.toml"


# --- damage ---------------------------------------------------------------------------------------------


def edited(store):
    (store.directory / "active.toml").write_bytes(C)


def emptied(store):
    (store.directory / "active.toml").write_bytes(b"")


def without_state(store):
    (store.directory / "active.json").unlink()


def without_policy(store):
    (store.directory / "active.toml").unlink()


def torn_state(store):
    (store.directory / "active.json").write_bytes(b'{"source": "a')


def foreign_state(store):
    (store.directory / "active.json").write_bytes(b'{"source": "a", "digest": 1, "applied_at": "", "x": 1}')


def binary_state(store):
    (store.directory / "active.json").write_bytes(b"\xff\xfe")


def restored_by_hand(store):
    (store.directory / "active.toml").write_bytes((store.directory / "previous.toml").read_bytes())


DAMAGES = [
    edited,
    emptied,
    without_state,
    without_policy,
    torn_state,
    foreign_state,
    binary_state,
    restored_by_hand,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_an_error_that_says_what_to_do(store, damage):
    store.apply(A, "a")
    store.apply(B, "b")
    damage(store)
    with pytest.raises(ConfigError) as caught:
        store.load()
    sentence = caught.value.sentence()
    assert "the applied policy is damaged" in sentence
    assert "mcpguard policy apply FILE" in sentence
    assert str(store.directory / "previous.toml") in sentence


@pytest.mark.parametrize("damage", DAMAGES)
def test_applying_again_repairs_and_does_not_keep_what_was_damaged(store, damage):
    store.apply(A, "a")
    store.apply(B, "b")
    damage(store)
    store.apply(C, "c")
    assert store.load().digest == store.current()[0].digest
    assert contents(store)["active.toml"] == C
    assert contents(store)["previous.toml"] == A


def test_a_stored_policy_that_this_version_refuses_is_an_error(store):
    ruleset = store.apply(A, "a")
    newer = b"version = 2\n"
    (store.directory / "active.toml").write_bytes(newer)
    state = (store.directory / "active.json").read_text()
    other = PolicyStore(store.directory)
    (store.directory / "active.json").write_text(
        state.replace(ruleset.digest, hashlib.sha256(newer).hexdigest()[:16])
    )
    with pytest.raises(ConfigError, match="the only version read here"):
        other.load()


# --- crashes --------------------------------------------------------------------------------------------


def states_of_an_apply(store):
    """The directory after every step of applying C over B, as a crash there would leave it."""
    store.apply(A, "a")
    store.apply(B, "b")
    before = contents(store)
    store.apply(C, "c")
    after = contents(store)
    steps = [before, before | {".new": b"vers"}]
    for name in ("previous.toml", "active.toml", "active.json"):
        steps.append(steps[-1] | {name: after[name]})
    return steps


@pytest.mark.parametrize("step", range(5))
def test_a_crash_leaves_the_old_policy_or_the_new_one(store, step):
    files = states_of_an_apply(store)[step]
    for path in store.directory.iterdir():
        path.unlink()
    for name, data in files.items():
        (store.directory / name).write_bytes(data)
    applied, ruleset = store.current()
    assert applied.source == ruleset.file == ("c" if step == 4 else "b")
    assert len(ruleset.rules) == (0 if step == 4 else 1)
    store.apply(A, "again")
    assert store.load().mode is Mode.OBSERVE
    assert contents(store)["previous.toml"] == (C if step == 4 else B)
    assert ".new" not in contents(store)


def test_people_who_apply_at_once_get_one_policy_or_the_other(store):
    faults = []

    def work(data, name):
        try:
            for _ in range(15):
                store.apply(data, name)
                assert store.load() is not None
        except Exception as error:
            faults.append(error)

    workers = [threading.Thread(target=work, args=pair) for pair in ((A, "a"), (B, "b"), (C, "c"))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert faults == []
    assert store.load().file in ("a", "b", "c")


# --- the disk -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["active.toml", "active.json", "previous.toml", ""])
def test_what_others_may_write_to_is_refused(store, name):
    store.apply(A, "a")
    store.apply(B, "b")
    place = store.directory / name
    place.chmod(0o777)
    if name == "previous.toml":  # read only when it is needed
        (store.directory / "active.toml").write_bytes(C)
    with pytest.raises(ConfigError, match="found mode 0777") as caught:
        store.load()
    assert "chmod go-w" in caught.value.sentence()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")
def test_what_belongs_to_somebody_else_is_refused(store):
    store.apply(A, "a")
    os.chown(store.directory / "active.toml", 12345, 12345)
    with pytest.raises(ConfigError, match="found uid 12345"):
        store.load()
    os.chown(store.directory, 12345, 12345)
    with pytest.raises(ConfigError, match="another user"):
        store.apply(B, "b")


def test_a_link_or_a_pipe_in_place_of_a_file_is_refused(store, tmp_path):
    store.apply(A, "a")
    (tmp_path / "elsewhere").write_bytes(A)
    (store.directory / "active.toml").unlink()
    (store.directory / "active.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        store.load()
    (store.directory / "active.toml").unlink()
    os.mkfifo(store.directory / "active.toml", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        store.load()


def test_a_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "policy").write_text("")
    store = PolicyStore(tmp_path / "policy")
    with pytest.raises(ConfigError, match="cannot be read: not a directory"):
        store.load()
    with pytest.raises(ConfigError, match="is not a directory"):
        store.apply(A, "a")


def test_a_full_disk_changes_nothing(store):
    full = PolicyStore(store.directory)
    store.apply(A, "a")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with pytest.raises(ConfigError, match="cannot be written: file too large"):
            full.apply(B, "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert store.load().file == "a"
