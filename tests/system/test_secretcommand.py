"""Programs that print secrets: real children, words and no shell, a short environment, a bound on time and size."""

import os
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.credentials.secretref import SecretRef
from mcpguard.errors import SecretError
from mcpguard.system.secretcommand import PATH, from_command

OURS = {
    "HOME": "/home/u", "PATH": "/evil", "LD_PRELOAD": "/evil.so", "PYTHONPATH": "/evil", "VAULT_TOKEN": "t",
    "AWS_PROFILE": "p", "LANG": "C.UTF-8", "GITHUB_TOKEN": "no",
}  # fmt: skip


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def ran(*argv: str, seconds: float = 20.0) -> bytes:
    return from_command(SecretRef("cmd", argv=argv), OURS, seconds)


def test_what_it_prints_is_the_secret(tmp_path: Path) -> None:
    assert ran(script(tmp_path / "x", "printf 'a secret\\n'")) == b"a secret"
    assert ran("printf", "%s", "words; $(id) `id` | cat > /x") == b"words; $(id) `id` | cat > /x"


def test_it_gets_little_and_of_its_own_variables_only(tmp_path: Path) -> None:
    environ = dict(
        line.split("=", 1) for line in ran(script(tmp_path / "vault", "env")).decode().splitlines()
    )
    assert (environ["PATH"], environ["HOME"], environ["VAULT_TOKEN"]) == (PATH, "/home/u", "t")
    assert not {"LD_PRELOAD", "PYTHONPATH", "AWS_PROFILE", "GITHUB_TOKEN"} & environ.keys()
    assert "AWS_PROFILE=p" in ran(script(tmp_path / "aws", "env")).decode()
    assert "VAULT_TOKEN" not in ran(script(tmp_path / "other", "env")).decode()


def test_a_program_of_the_hosts_path_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "vaulty", "echo stolen")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SecretError, match="'vaulty' is not there"):
        ran("vaulty")
    (tmp_path / "vaulty").chmod(0o600)
    with pytest.raises(SecretError, match="cannot be run"):
        ran(str(tmp_path / "vaulty"))


def test_failure_says_the_program_and_its_code_and_nothing_that_it_said(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as caught:
        ran(script(tmp_path / "x", "echo swordfish; echo swordfish >&2; exit 3"), "--token=swordfish")
    assert "failed with exit code 3" in caught.value.message
    assert "swordfish" not in caught.value.sentence()


def test_one_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(SecretError, match=r"did not print a secret within 0\.5 s"):
        ran(script(tmp_path / "x", f"sleep 60 & echo $! > {pid}; wait"), seconds=0.5)
    assert time.monotonic() - began < 15
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    deadline = time.monotonic() + 20
    while stat.exists() and " Z " not in stat.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not stat.exists() or " Z " in stat.read_text()


def test_one_that_closes_its_output_and_stays_is_killed(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="did not print"):
        ran(script(tmp_path / "x", "echo secret; exec >&-; exec sleep 60"), seconds=0.5)


def test_one_that_prints_without_end_is_stopped() -> None:
    with pytest.raises(SecretError, match="printed more than a secret"):
        ran("yes")
    assert len(ran("head", "-c", str(limits.SECRET_BYTES), "/dev/zero")) == limits.SECRET_BYTES


def test_it_has_nothing_to_read_and_no_descriptor_of_ours(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    try:
        found = ran(script(tmp_path / "x", "cat; ls /proc/self/fd")).decode().split()
        assert str(read) not in found[3:]
    finally:
        os.close(read)
        os.close(write)
