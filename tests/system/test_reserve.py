import contextlib
import os
import subprocess

import pytest

from mcpguard.system.reserve import keep


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("mounting a file system is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.root
def test_what_is_kept_can_be_written_on_a_full_disk_and_readers_do_not_see_it(disk):
    fd = os.open(disk / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"x" * 1000)
    assert keep(fd, 1000, 32_000)
    assert os.fstat(fd).st_size == 1000
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(OSError, match="No space left"):
        keep(fd, 1000, 200_000)
    assert os.write(fd, b"y" * 32_000) == 32_000
    assert os.write(fd, b"z" * 8192) < 8192  # the rest of a page is there
    with pytest.raises(OSError, match="No space left"):
        os.write(fd, b"z" * 8192)
    os.close(fd)


def test_a_descriptor_that_cannot_is_told():
    receiver, sender = os.pipe()
    with pytest.raises(OSError, match="Illegal seek"):
        keep(sender, 0, 10)
    os.close(receiver)
    os.close(sender)
