"""A daemon of nothing but questions: a real admin.sock, the real book and verbs, a real journal, real files."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import pexpect
from click.testing import CliRunner, Result

from mcpguard.approvals.book import Book
from mcpguard.approvals.ticket import Answer, Ticket
from mcpguard.cli import main
from mcpguard.daemon import control
from mcpguard.daemon.approvals import Approvals
from mcpguard.daemon.recorder import Recorder
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.journal import Journal
from mcpguard.system.policystore import PolicyStore
from tests.approvals.questions import binding, question
from tests.lifecycle.stage import MCPGUARD


class NoPresence:
    """No way to show presence is set up."""

    def methods(self) -> list[str]:
        return []


class Counter:
    """A home with a daemon that answers questions of people; what it was asked is kept."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="q"))
        self.state, self.runtime = self.home / "state", self.home / "run"
        for directory in (self.state, self.runtime):
            directory.mkdir(mode=0o700)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "MCPGUARD_STATE_DIR": str(self.state),
            "MCPGUARD_RUNTIME_DIR": str(self.runtime),
        }
        self.store = PolicyStore(self.state / "policy")
        self.asked: list[Request] = []
        self.hosts: dict[int, Any] = {}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Self:
        self.thread.start()
        self.within(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.within(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        shutil.rmtree(self.home)

    def within(self, story: Any) -> Any:
        """Run something where the daemon runs."""
        return asyncio.run_coroutine_threadsafe(story, self.loop).result(20)

    async def _open(self) -> None:
        self.book = Book(b"k")
        self.recorder = Recorder(Journal.open(self.state / "audit"))
        self.approvals = Approvals(self.book, self.recorder, {}, NoPresence(), lambda _: None)  # type: ignore[arg-type]
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.runtime / "admin.sock"))
        self.listener.listen()
        self.listener.setblocking(False)
        self.answering: set[asyncio.Task[None]] = set()
        self.verbs = control.Verbs(
            reading={name: self._noted(verb) for name, verb in self.approvals.reading().items()},
            changing={"policy-apply": self._noted(self._apply)},
            hosts=lambda: self.hosts,
            approving={name: self._noted(verb) for name, verb in self.approvals.approving().items()},
        )
        self.loop.add_reader(self.listener, self._accept)

    async def _close(self) -> None:
        self.loop.remove_reader(self.listener)
        self.listener.close()
        (self.runtime / "admin.sock").unlink()
        await asyncio.sleep(0)  # whoever was accepted just now has a task that closes the connection
        for task in list(self.answering):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.recorder.close()

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        task = self.loop.create_task(control.answer(sock, self.verbs))
        self.answering.add(task)
        task.add_done_callback(self.answering.discard)

    def _noted(self, verb: Any) -> Any:
        def noted(request: Request, *more: Any) -> Any:
            self.asked.append(request)
            return verb(request, *more)

        return noted

    def _apply(self, request: Request) -> JsonObject:
        return {"digest": self.store.apply(request.text.encode(), request.source).digest}

    # --- what happens elsewhere ------------------------------------------------------------------------------

    def ask(
        self, arguments: Any = None, *, server: str = "files", tool: str = "write_file", **more: Any
    ) -> Ticket:
        """A gate asks about a call; calls with other arguments are other calls."""
        bound = binding(json.dumps(arguments), server=server, target=tool)

        async def asked() -> Any:
            ticket = self.book.ask(question(bound, arguments, **more), time.monotonic_ns())
            self.approvals.changed()
            return ticket

        ticket = self.within(asked())
        assert not isinstance(ticket, str), ticket
        return ticket

    def settle(self, ticket: Ticket, answer: Answer) -> None:
        """Somebody else answers."""

        async def answered() -> None:
            self.approvals.answered(ticket.ident, answer)

        self.within(answered())

    def expire(self, ticket: Ticket) -> None:
        """Its time is over."""

        async def over() -> None:
            ticket.expires = 0
            self.approvals.tick()

        self.within(over())

    def left(self, ticket: Ticket) -> None:
        """The host gives up."""

        async def gone() -> None:
            self.book.leave(ticket.ident)
            self.approvals.changed()

        self.within(gone())

    def waiting(self) -> list[str]:
        """The idents of what waits."""

        async def found() -> list[str]:
            return [ticket.ident for ticket in self.book.tickets()]

        idents: list[str] = self.within(found())
        return idents

    def spent(self, ticket: Ticket) -> bool:
        """Whether one call passes now."""

        async def passes() -> bool:
            return self.book.spend(ticket.question.binding, time.monotonic_ns()) is not None

        return bool(self.within(passes()))

    # --- people ------------------------------------------------------------------------------------------------

    def run(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
        """A verb, in this process, without a terminal; its exit code is looked at."""
        result = CliRunner(env={**self.env, **(env or {})}).invoke(main.cli, list(words))
        assert result.exit_code == code, f"{result.exit_code}: {result.output}\n{result.exception!r}"
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        """What a verb prints with `--json`: one line."""
        (line,) = self.run(*words, "--json", code=code).stdout.splitlines()
        return json.loads(line)

    def terminal(self, *words: str, columns: int = 80) -> pexpect.spawn:
        """A verb at a terminal of its own."""
        return pexpect.spawn(
            MCPGUARD[0],
            [*MCPGUARD[1:], *words],
            env=self.env,
            timeout=20,
            encoding="utf-8",
            dimensions=(24, columns),
        )
