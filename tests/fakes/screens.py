"""A terminal that can be read: a program runs in a real pseudo-terminal, what it draws is kept as a grid of text."""

import os
import time

import pexpect
import pyte

SECONDS = 30.0


class Screen:
    """A program on a terminal of 80 columns and 24 lines."""

    def __init__(self, argv: list[str], env: dict[str, str], columns: int = 80, lines: int = 24) -> None:
        self._grid = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._grid)
        self.raw = b""
        self.child = pexpect.spawn(
            argv[0],
            argv[1:],
            env={"TERM": "xterm-256color", **env},
            dimensions=(lines, columns),
            timeout=None,
        )

    def asks(self, words: str) -> None:
        """Wait for a question on the plain terminal, and forget what was drawn before it."""
        until = time.monotonic() + SECONDS
        while words.encode() not in self.raw:
            assert time.monotonic() < until, f"{words} never came; the screen:\n{self.text()}"
            self.text()
        self.raw = b""
        self._grid.reset()

    def asks_hidden(self, words: str) -> None:
        """Wait for a question whose answer is not shown: what is typed before that is hidden is thrown away."""
        self.asks(words)
        assert self.child.waitnoecho(SECONDS), f"what is typed is shown:\n{self.text()}"

    def text(self, seconds: float = 0.05) -> str:
        """What is on the screen after this time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                data = self.child.read_nonblocking(65536, left)
            except pexpect.TIMEOUT:
                break
            except pexpect.EOF:
                break
            self.raw += data
            self._stream.feed(data)
        return "\n".join(self._grid.display)

    def shows(self, *words: str) -> str:
        """Wait until all of these are on the screen, and give it."""
        until = time.monotonic() + SECONDS
        while not all(word in (seen := self.text()) for word in words):
            assert time.monotonic() < until, f"{words} never came; the screen:\n{seen}"
            assert self.child.isalive() or all(word in self.text() for word in words), f"it ended:\n{seen}"
        return seen

    def press(self, keys: str) -> None:
        """Type."""
        self.child.send(keys)

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        until = time.monotonic() + SECONDS
        while self.child.isalive() and time.monotonic() < until:
            self.text()
        self.child.close()
        return -1 if self.child.exitstatus is None else int(self.child.exitstatus)

    def close(self) -> None:
        """End it, whatever it does."""
        self.child.close(force=True)
        assert not os.path.exists(f"/proc/{self.child.pid}/fd/0")
