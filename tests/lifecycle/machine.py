"""A machine of our own for a daemon that serves everybody: real places, real users, in a mount namespace.

/etc, /run and /var/lib are ours, so that paths which no variable moves (/run/mcpguard, /etc/mcpguard/policy.toml) can be
used as they are; interpreter and package are where every user reaches them. Nothing else runs there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.lifecycle.stage import MCPGUARD, PYTHON, SECONDS, SERVER, Host, until

ROOT = Path(__file__).parents[2]
GUARD, ALICE, BOB = 65431, 65432, 65433
USERS = {"mcpguard": GUARD, "alice": ALICE, "bob": BOB}
STAGE = """
set -e
cd "$1"
cp -a /etc etc; cat users >> etc/passwd; cat groups >> etc/group; mkdir -p etc/mcpguard; mount --bind etc /etc
mkdir -p lib/mcpguard; chmod 700 lib/mcpguard; chown $2:$2 lib/mcpguard; mount --bind lib /var/lib
closed="$3"; n=0; shift 3
for place in "$@"; do n=$((n+1)); mkdir -p kept/$n; mount --bind "$place" kept/$n; done
[ -z "$closed" ] || echo "$closed" | while read -r folder; do mount -t tmpfs -o mode=755 none "$folder"; done
n=0
for place in "$@"; do n=$((n+1)); if [ ! -e "$place/." ]; then mkdir -p "$place"; mount --bind kept/$n "$place"; fi; done
mount -t tmpfs -o mode=755 none /run
touch ready
exec sleep infinity
"""


def closed(places: list[str]) -> str:
    """The folders above these that other users cannot pass, one a line."""
    found = set()
    for place in places:
        above = [folder for folder in reversed(Path(place).parents) if not folder.stat().st_mode & 0o001]
        found |= {str(folder) for folder in above[:1]}
    return "\n".join(sorted(found))


class Machine:
    """The machine. `root` is a folder that every user may read."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="g"))
        self.root.chmod(0o755)
        lines = [f"{name}:x:{uid}:{uid}::/nonexistent:/bin/sh" for name, uid in USERS.items()]
        (self.root / "users").write_text("\n".join(lines) + "\n")
        (self.root / "groups").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in USERS.items()))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.root / "roots")}
        (self.root / "roots").mkdir(mode=0o700)
        self.hosts: list[Host] = []
        self.daemon: subprocess.Popen[str] | None = None
        places = [sys.base_prefix, str(ROOT), sys.prefix]  # what holds another comes before it
        self.anchor = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", STAGE, "sh", self.root, str(GUARD), closed(places), *places],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert until(lambda: (self.root / "ready").exists() or self.anchor.poll() is not None)
        assert (self.root / "ready").exists(), self.anchor.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.close()
        if self.daemon:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(SECONDS)
            assert self.daemon.stderr
            self.daemon.stderr.close()
        self.anchor.kill()
        self.anchor.wait()
        assert self.anchor.stderr
        self.anchor.stderr.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def inside(self, uid: int, *words: str) -> list[str]:
        """A command on the machine, of a user."""
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        return ["nsenter", f"--mount=/proc/{self.anchor.pid}/ns/mnt", "--wd=/", *become, *words]

    def run(self, uid: int, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.inside(uid, *words), env=self.env | env, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def admin(self, uid: int, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb, spoken to the daemon of the machine."""
        return self.run(uid, *MCPGUARD, *words, MCPGUARD_RUNTIME_DIR="/run/mcpguard")

    def policy(self, text: str) -> None:
        """What root has written."""
        (self.root / "etc/mcpguard/policy.toml").write_text(text)

    def places(self) -> None:
        """Make the folder of the sockets, as tmpfiles does."""
        self.run(0, "install", "-d", "-o", str(GUARD), "-g", str(GUARD), "-m", "0755", "/run/mcpguard")

    def start(self, *before: str) -> None:
        """Start a daemon."""
        self.daemon = subprocess.Popen(
            self.inside(GUARD, *before, *MCPGUARD, "daemon", "start", "--system"),
            env={"PATH": self.env["PATH"]}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def serve(self) -> Self:
        """A daemon that answers."""
        self.places()
        self.start()
        assert self.daemon
        assert until(lambda: self.admin(0, "status").returncode == 0), self.daemon.communicate()
        return self

    def status(self) -> dict[str, Any]:
        told = self.admin(0, "status", "--json")
        assert told.returncode == 0, told
        found: dict[str, Any] = json.loads(told.stdout)
        return found

    def register(self, name: str, *command: str, options: tuple[str, ...] = ()) -> None:
        """Have root register a server."""
        words = self.root / "roots" / "words"
        if not words.exists():
            words.write_text("a passphrase of root\n")
            words.chmod(0o600)
            self.mine("key", "generate", "--passphrase-file", str(words))
        self.mine("server", "add", name, "--yes", *options, "--", *command)

    def mine(self, *words: str) -> None:
        """A verb of root's that succeeds."""
        told = self.run(
            0, *MCPGUARD, *words, MCPGUARD_RUNTIME_DIR="/run/mcpguard",
            MCPGUARD_PASSPHRASE_FILE=str(self.root / "roots" / "words"),
        )  # fmt: skip
        assert told.returncode == 0, told

    def play(self, *before: str, options: tuple[str, ...] = ()) -> None:
        """Have root register the server that echoes, as `play`."""
        self.register(
            "play", *before, PYTHON, "-I", "-S", SERVER, "/var/lib/mcpguard/home", "marked", options=options
        )

    def host(self, uid: int, *words: str, before: tuple[str, ...] = (), **env: str) -> Host:
        """A host of a user that starts `mcpguard run --system WORDS`."""
        host = Host(
            self.inside(uid, *before, *MCPGUARD, "run", "--system", *words),
            {"PATH": self.env["PATH"], "HOME": "/nonexistent", **env},
        )
        self.hosts.append(host)
        return host

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Of one type, from the audit log."""
        logs = sorted((self.root / "lib/mcpguard/audit").glob("*.jsonl"))
        found = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        return [record for record in found if record["type"] == kind]
