"""Counters of use: they survive a daemon, are bounded, and decide nothing when they are damaged."""

import logging
from pathlib import Path

import pytest

from mcpguard.system.secretuse import SecretUse, Use


def test_uses_are_counted_and_kept(tmp_path: Path) -> None:
    use = SecretUse(tmp_path / "s")
    use.note("vault://a", "files", 5.0)
    use.note("vault://a", "git", 6.0)
    use.save()
    assert SecretUse(tmp_path / "s").of("vault://a") == Use(2, 6.0, {"files": 5.0, "git": 6.0})
    use.forget("vault://a")
    assert SecretUse(tmp_path / "s").all() == {}


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    use = SecretUse(tmp_path)
    for number in range(1100):
        use.note(f"vault://{number}", "x", float(number))
    for number in range(70):
        use.note("vault://1099", f"s{number}", 2000.0 + number)
    assert len(use.all()) == 1024
    assert "vault://0" not in use.all()
    assert len(use.of("vault://1099").servers) == 64


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1}'])
def test_damaged_counters_are_said_and_begin_anew(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "uses.json").write_bytes(data)
    with caplog.at_level(logging.WARNING, "mcpguard"):
        assert SecretUse(tmp_path).of("x") == Use()
    assert caplog.records


def test_a_disk_that_refuses_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "s").write_text("a file")
    use = SecretUse(tmp_path / "s")
    with caplog.at_level(logging.WARNING, "mcpguard"):
        use.note("a", "x", 1.0)
        use.save()
    assert use.of("a").count == 1
    assert caplog.records
