"""A daemon that has nothing to do any more: what it gives back, and that it serves as before."""

from pathlib import Path

from tests.lifecycle.stage import House, until

MIB = 1 << 20


def of_files(pid: int) -> int:
    """Bytes of files that are in a process's memory, whoever else has them in theirs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile:"))


def test_memory_that_only_the_start_needed_is_given_back_and_the_next_host_finds_everything() -> None:
    with House() as house:
        house.serve()
        host = house.play().greet()
        host.call("echo", text="a")
        busy = of_files(house.pid())
        host.close()
        assert until(lambda: of_files(house.pid()) < busy - 6 * MIB, 60)
        again = house.play().greet()
        assert "result" in again.call("echo", text="b")
