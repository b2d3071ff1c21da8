"""Logging out of what nobody is logged in at; the rest is in tests/lifecycle/test_remote_login.py."""

from tests.lifecycle.stage import House


def test_a_server_that_is_not_registered() -> None:
    with House() as place:
        place.serve()
        done = place.mcpguard("remote", "logout", "x\x1b[2J")
        assert done.returncode == 5
        assert done.stderr.replace("\n", "").isprintable()
