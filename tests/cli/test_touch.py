"""Security keys at the command line; what they answer is judged in tests/daemon/test_presence.py.

No real key was ever plugged in where these tests run.
"""

from mcpguard.cli.touch import plugged_in


def test_what_is_plugged_in_can_be_asked() -> None:
    assert plugged_in() == []
