"""A daemon of nothing but the trust desk: a real admin.sock, the real verbs, real files."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner, Result

from mcpguard.cli import main
from mcpguard.daemon import control
from mcpguard.daemon.trustdesk import TrustDesk
from mcpguard.system.truststore import Seen, TrustStore

PASSPHRASE = "correct horse"


class Desk:
    """One user: a state directory, a runtime directory, a passphrase in a file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state, self.runtime = home / "state", home / "run"
        for directory in (self.state, self.runtime):
            directory.mkdir(mode=0o700)
        self.passphrase = home / "passphrase"
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.passphrase.chmod(0o600)
        self.store = TrustStore(self.state / "trust")
        self.changes: list[tuple[str, Seen]] = []
        self.env = {
            "MCPGUARD_STATE_DIR": str(self.state),
            "MCPGUARD_RUNTIME_DIR": str(self.runtime),
            "MCPGUARD_PASSPHRASE_FILE": str(self.passphrase),
        }

    def run(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
        """A verb, in this process; its exit code is looked at."""
        with contextlib.chdir(self.home):
            result = CliRunner(env={**self.env, **(env or {})}).invoke(main.cli, list(words))
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *words: str, code: int = 0) -> dict:
        """What a verb prints with `--json`."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def process(self, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
        """A verb, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "mcpguard", *words],
            env={**os.environ, **self.env}, capture_output=True, text=True, timeout=60, check=False, **more,
        )  # fmt: skip

    @contextlib.contextmanager
    def daemon(self, remembered: Seen | None = None) -> Iterator[TrustDesk]:
        """Listen on admin.sock with the verbs of trust and nothing else."""
        desk = TrustDesk(self.store, remembered, lambda event, seen: self.changes.append((event, seen)))
        verbs = control.Verbs(
            reading={"trust": desk.trust},
            changing={"trust-put": desk.trust_put, "revocations-put": desk.revocations_put},
            hosts=dict,
        )
        path = self.runtime / "admin.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            while True:
                sock, _ = await loop.sock_accept(listener)
                sock.setblocking(False)
                await control.answer(sock, verbs)

        def lived() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)

        task = loop.create_task(serve())
        thread = threading.Thread(target=lived)
        thread.start()
        try:
            yield desk
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()
            listener.close()
            path.unlink()
