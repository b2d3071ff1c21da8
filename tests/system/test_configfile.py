"""Configuration files of other programs: read whole or refused, replaced whole or not at all."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system.configfile import Found, read, replace, unwritable
from tests.system.somebody import SOMEBODY, as_somebody

OLD, NEW = b'{"a": 1}\n', b'{"a": 2}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_bytes(OLD)
    return path


def found(path: Path) -> Found:
    """A file that is there."""
    one = read(path)
    assert one is not None
    return one


def refusal(path: Path, old: Found | None = None) -> str:
    """Why a file is not read, or not replaced."""
    with pytest.raises(ConfigError) as caught:
        replace(old, NEW) if old else read(path)
    assert caught.value.file == str(path)
    assert caught.value.hint.startswith("nothing was written")
    return caught.value.message


def others(path: Path) -> list[str]:
    """What else is in the folder of a file."""
    return sorted(name for name in os.listdir(path.parent) if name != path.name)


# --- read -----------------------------------------------------------------------------------------------


def test_plain_file_is_read(file: Path) -> None:
    assert read(file) == Found(file, file, OLD)


def test_empty_file_is_a_file(file: Path) -> None:
    file.write_bytes(b"")
    assert found(file).data == b""


def test_file_or_folder_that_is_not_there_is_none(file: Path) -> None:
    assert read(file.with_name("x")) is None
    assert read(file.parent / "x" / "y") is None
    assert read(file / "below-a-file") is None


def test_links_are_followed_and_told(tmp_path: Path, file: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(file)
    assert read(tmp_path / "one") == Found(tmp_path / "one", file, OLD)


def test_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert refusal(tmp_path / "link") == "a link that leads nowhere"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert refusal(tmp_path / "one") in ("links lead in a circle", "too many levels of symbolic links")


def test_folder_and_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    assert refusal(tmp_path / "folder") == "a folder"
    assert refusal(tmp_path / "pipe") == "not a plain file"
    assert refusal(tmp_path / "device") == "not a plain file"


def test_largest_file_is_read_and_a_larger_one_refused(file: Path) -> None:
    os.truncate(file, limits.CONFIG_BYTES)
    assert len(found(file).data) == limits.CONFIG_BYTES
    os.truncate(file, limits.CONFIG_BYTES + 1)
    assert refusal(file) == f"larger than {limits.CONFIG_BYTES} bytes"


@pytest.mark.root
def test_what_another_user_may_not_read_is_refused(file: Path) -> None:
    file.chmod(0o600)
    for above in list(file.parents)[:-1]:
        above.chmod(above.stat().st_mode | 0o011)
    assert "permission denied" in as_somebody(lambda: repr(read(file)))
    file.parent.chmod(0o700)
    assert "permission denied" in as_somebody(lambda: repr(read(file)))


# --- replace --------------------------------------------------------------------------------------------


def test_bytes_are_replaced_and_nothing_is_left_behind(file: Path) -> None:
    replace(found(file), NEW)
    assert file.read_bytes() == NEW
    assert others(file) == []


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755, 0o200])
def test_mode_stays(file: Path, mode: int) -> None:
    old = found(file)
    file.chmod(mode)
    mask = os.umask(0o077)
    try:
        replace(old, NEW)
    finally:
        os.umask(mask)
    assert file.stat().st_mode & 0o7777 == mode


@pytest.mark.root
def test_group_stays(file: Path) -> None:
    os.chown(file, -1, SOMEBODY)
    replace(found(file), NEW)
    assert file.stat().st_gid == SOMEBODY


def test_extended_attributes_stay(file: Path) -> None:
    try:
        os.setxattr(file, "user.x", b"kept")
    except OSError:
        assert os.listxattr(file) == []  # a file system without them has nothing to keep
        return
    replace(found(file), NEW)
    assert os.getxattr(file, "user.x") == b"kept"


def test_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, file: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = file.rename(tmp_path / "dotfiles/config.json")
    file.symlink_to("dotfiles/config.json")
    replace(found(file), NEW)
    assert os.readlink(file) == "dotfiles/config.json"
    assert target.read_bytes() == NEW
    assert others(target) == []


def test_file_with_two_names_is_left(file: Path) -> None:
    os.link(file, file.with_name("other"))
    assert refusal(file, found(file)) == "it has 2 names (hard links), of which only one would change"
    assert file.read_bytes() == OLD


def test_read_only_file_is_left(file: Path) -> None:
    file.chmod(0o400)
    assert refusal(file, found(file)) == "it is read-only"
    assert file.read_bytes() == OLD


def test_file_that_is_gone_is_refused_and_not_made_anew(file: Path) -> None:
    old = found(file)
    file.unlink()
    assert refusal(file, old) == "it cannot be looked at any more: no such file or directory"
    assert not file.exists()


@pytest.mark.root
def test_file_or_folder_of_another_user_is_left(file: Path) -> None:
    os.chown(file, SOMEBODY, SOMEBODY)
    assert refusal(file, found(file)) == f"it belongs to another user (uid {SOMEBODY})"
    for above in list(file.parents)[:-1]:
        above.chmod(above.stat().st_mode | 0o011)
    assert as_somebody(lambda: unwritable(found(file))) == "its folder is read-only"


@pytest.mark.parametrize("content", [b'{"a": 3}\n', b""])
def test_file_that_was_changed_meanwhile_is_left(file: Path, content: bytes) -> None:
    old = found(file)
    file.write_bytes(content)
    assert refusal(file, old) == "another program has changed it meanwhile"
    assert file.read_bytes() == content
    assert others(file) == []


def test_link_that_leads_elsewhere_meanwhile_is_left(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    old = found(link)
    (tmp_path / "twin").write_bytes(OLD)
    link.unlink()
    link.symlink_to("twin")
    assert refusal(link, old) == "another program has changed it meanwhile"
    assert (file.read_bytes(), (tmp_path / "twin").read_bytes()) == (OLD, OLD)


WRITER = """
import itertools, os, sys
for number in itertools.count(1):
    new = sys.argv[1] + ".theirs"
    open(new, "w").write('{"theirs": %d}\\n' % number)
    os.rename(new, sys.argv[1])
    if number == 1:
        print(flush=True)
"""


def test_beside_a_program_that_writes_all_the_time_each_replace_is_whole_or_refused(file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        refused = 0
        for _ in range(200):
            try:
                replace(found(file), NEW)
            except ConfigError:
                refused += 1
            assert file.read_bytes().startswith((b'{"theirs": ', NEW))
        writer.kill()
    assert refused > 0
    assert [name for name in others(file) if "mcpguard" in name] == []


REPLACER = """
import itertools, sys
from pathlib import Path
from mcpguard.system.configfile import read, replace
path = Path(sys.argv[1])
print(flush=True)
for number in itertools.count():
    replace(read(path), (b"x" if number % 2 else b"y") * 300_000)
"""


def test_killed_at_any_moment_the_file_is_one_of_the_two(file: Path) -> None:
    file.write_bytes(b"x" * 300_000)
    whole = {b"x" * 300_000, b"y" * 300_000}
    seen = set()
    for number in range(25):
        with subprocess.Popen([sys.executable, "-c", REPLACER, str(file)], stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            time.sleep(0.002 * number)
            os.kill(child.pid, signal.SIGKILL)
        seen.add(file.read_bytes())
        assert seen <= whole
    assert seen == whole


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.root
def test_full_disk_leaves_the_old_bytes_and_no_rest(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        file = disk / "config.json"
        file.write_bytes(OLD)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            filler.writelines(b"x" * 4096 for _ in itertools.count())
        assert refusal(file, found(file)) == "no space left on device"
        assert file.read_bytes() == OLD
        assert others(file) == ["filler"]
        (disk / "filler").unlink()
        replace(found(file), NEW)
        assert file.read_bytes() == NEW
