"""A daemon that has nothing to do any more: what it gives back, and that it serves as before."""

from tests.lifecycle.stage import House, until


def test_memory_that_only_the_start_needed_is_given_back_and_the_next_host_finds_everything() -> None:
    with House() as house:
        house.serve()
        host = house.play().greet()
        host.call("echo", text="a")
        busy = house.status()["memory"]["pss_bytes"]
        host.close()
        assert busy == 0 or until(lambda: house.status()["memory"]["pss_bytes"] < busy - (6 << 20), 30)
        again = house.play().greet()
        assert "result" in again.call("echo", text="b")
