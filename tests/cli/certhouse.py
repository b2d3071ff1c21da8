"""A house with a certificate authority, for the verbs `ca` and `cert`."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lifecycle.stage import House, house

WORDS = "correct horse"


def words_file(place: House, words: str = WORDS) -> str:
    """A file with the passphrase."""
    path = place.root / "words"
    path.touch(mode=0o600)
    path.write_text(words + "\n")
    return str(path)


@contextmanager
def authority(*options: str) -> Iterator[House]:
    """A house in which `ca init` was done."""
    with house() as made:
        done = made.mcpguard("ca", "init", "--yes", "--passphrase-file", words_file(made), *options)
        assert done.returncode == 0, done
        yield made


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a verb said with `--json`."""
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"]
    return found


def certs(place: House, *words: str) -> dict[str, dict[str, Any]]:
    """`cert list --json`, by name; of several of a name the last."""
    return {
        each["name"]: each for each in told(place.mcpguard("cert", "list", "--json", *words))["certificates"]
    }


def recorded(place: House) -> list[tuple[str, str]]:
    """What the audit log says of certificates: event and name."""
    return [(one["event"], one.get("name", "")) for one in place.records() if one["type"] == "certificate"]


def openssl(*words: object) -> subprocess.CompletedProcess[str]:
    """A stranger."""
    return subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


def refused(place: House, *words: str, code: int = 5) -> str:
    """What a verb says that is refused; it changes nothing."""
    path = place.state / "certificates" / "registry.json"
    before = path.read_bytes() if path.exists() else b""
    done = place.mcpguard(*words)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert (path.read_bytes() if path.exists() else b"") == before
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def standing(place: House, name: str = "out") -> Path:
    """A directory for files."""
    return place.root / name
