"""The list of enrolled hosts on a real disk: damage is an error, a crash is not damage, nobody else may write."""

import os
import resource
import signal
import stat
import subprocess

import msgspec
import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.enrolment import Enrolled, EnrolledFile, encode
from mcpguard.system.hostsfile import HostsFile

A = Enrolled("a", EnrolledFile("/opt/a", 0, "a" * 64, writable=False), "G3", "2026-11-22T10:00:00Z")
B = msgspec.structs.replace(A, name="b")


@pytest.fixture
def store(tmp_path):
    return HostsFile(tmp_path / "state dir" / "hosts")


def contents(store):
    return {path.name: path.read_bytes() for path in store.directory.iterdir()}


def test_nobody_was_ever_enrolled(store):
    assert store.load() == ()
    store.directory.mkdir(parents=True, mode=0o700)
    assert store.load() == ()


def test_what_is_saved_is_loaded(store):
    store.save([B, A])
    assert store.load() == (A, B)
    assert contents(store) == {"enrolled.json": encode([A, B]), "enrolled.json.previous": encode([])}


def test_the_first_list_does_not_vanish_silently_either(store):
    store.save([A])
    (store.directory / "enrolled.json").unlink()
    with pytest.raises(TrustError, match="there was one before"):
        store.load()


def test_the_list_before_is_kept(store):
    store.save([A])
    store.save([A, B])
    assert contents(store) == {"enrolled.json": encode([A, B]), "enrolled.json.previous": encode([A])}
    store.save([])
    assert store.load() == ()
    assert contents(store)["enrolled.json.previous"] == encode([A, B])


def test_everything_is_for_the_owner_only(store):
    store.save([A])
    store.save([B])
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


# --- damage ---------------------------------------------------------------------------------------------


def emptied(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flipped(path):
    path.write_bytes(path.read_bytes().replace(b'"G3"', b'"G9"'))


def newer(path):
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))


def grown(path):
    path.write_bytes(path.read_bytes() + b" " * limits.ENROLLED_BYTES)


def removed(path):
    path.unlink()


def piped(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("damage", [emptied, cut, flipped, newer, grown, removed, piped])
def test_damage_is_an_error_and_its_hint_restores(store, damage):
    store.save([A])
    store.save([A, B])
    damage(store.directory / "enrolled.json")
    before = contents(store) if damage is not piped else None
    for act in (store.load, lambda: store.save([B])):
        with pytest.raises(TrustError) as caught:
            act()
        assert "cannot be relied on" in caught.value.message
        assert ("regular file" in caught.value.message) is (damage is piped)
        assert "\n" not in caught.value.sentence()
    if before is not None:
        assert contents(store) == before
    else:
        (store.directory / "enrolled.json").unlink()
    command = caught.value.hint.partition(": ")[2]
    assert command.startswith("cp ")
    subprocess.run(command, shell=True, check=True)
    assert store.load() == (A,)


def test_damage_of_the_first_list_says_how_to_go_back_to_none(store):
    store.save([A])
    emptied(store.directory / "enrolled.json")
    with pytest.raises(TrustError) as caught:
        store.load()
    assert "restore the list before" in caught.value.hint
    subprocess.run(caught.value.hint.rpartition(": ")[2], shell=True, check=True)
    assert store.load() == ()


def test_a_link_in_place_of_the_list_is_refused(store, tmp_path):
    store.save([A])
    (tmp_path / "elsewhere").write_bytes(encode([A, B]))
    (store.directory / "enrolled.json").unlink()
    (store.directory / "enrolled.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="cannot be read"):
        store.load()


@pytest.mark.parametrize("name", ["enrolled.json", ""])
@pytest.mark.parametrize("mode", [0o666, 0o720, 0o702])
def test_what_others_may_write_to_is_refused(store, name, mode):
    store.save([A])
    (store.directory / name).chmod(mode)
    with pytest.raises(TrustError, match="writable by others") as caught:
        store.load()
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    (store.directory / "").chmod(0o700)
    assert store.load() == (A,)


@pytest.mark.root
def test_what_belongs_to_somebody_else_is_refused(store):
    store.save([A])
    os.chown(store.directory / "enrolled.json", 12345, 12345)
    with pytest.raises(TrustError, match="belongs to uid 12345"):
        store.load()
    os.chown(store.directory, 12345, 12345)
    with pytest.raises(TrustError, match="belongs to uid 12345"):
        store.save([B])


def test_a_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "hosts").write_text("")
    with pytest.raises(TrustError, match="cannot be read: not a directory"):
        HostsFile(tmp_path / "hosts").load()


def test_a_place_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(TrustError, match="is writable by others"):
        HostsFile(tmp_path / "open" / "hosts").save([A])


def test_too_many_hosts_change_nothing(store):
    store.save([A])
    with pytest.raises(TrustError, match="names more than"):
        store.save(
            [msgspec.structs.replace(A, name=f"h{number}") for number in range(limits.ENROLLED_HOSTS + 1)]
        )
    assert store.load() == (A,)


# --- crashes and the disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(4))
def test_a_crash_leaves_the_old_list_or_the_new_one(store, step):
    store.save([A])
    before = contents(store)
    store.save([B])
    after = contents(store)
    steps = [before, before | {".new": b"{"}]
    for name in ("enrolled.json.previous", "enrolled.json"):
        steps.append(steps[-1] | {name: after[name]})
    for path in store.directory.iterdir():
        path.unlink()
    for name, data in steps[step].items():
        (store.directory / name).write_bytes(data)
        (store.directory / name).chmod(0o600)
    assert store.load() == ((B,) if step == 3 else (A,))
    store.save([A, B])
    assert store.load() == (A, B)
    assert ".new" not in contents(store)


def test_a_full_disk_changes_nothing(store):
    store.save([A])
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with pytest.raises(TrustError, match="cannot be written: file too large"):
            store.save([B])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert store.load() == (A,)
