"""The daemon's own log, without secrets: what is formatted goes through the redactor, tracebacks included.

Rule 1: of a deliberate error (`GuardError`) the sentence is kept, redacted; it is ours. Of any other exception the
type and the place are kept, and of its message the plain words: `KeyError` and `ValueError` repeat what they got.
Rule 2: no local variable is printed, and no source line that is not of a file.
Rule 3: what nobody caught is logged the same way (`catch_all`), not printed by the interpreter.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Final, TextIO

from mcpguard.audit import redact
from mcpguard.errors import GuardError

FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_QUOTED: Final = re.compile(
    r"b?(?P<quote>['\"])(?P<inside>(?:(?!(?P=quote))(?:\\.|[^\\]))*)(?P=quote)", re.DOTALL
)
_WORD: Final = re.compile(r"[^\s()]+")
_PLAIN: Final = re.compile(r"[A-Z]?[a-z'_.-]{0,24}[:;,.!?]?|[0-9]{1,6}[:;,.]?|[-+=<>/*]{1,3}")
"""A word that may be of the one who wrote the message: others may be what went wrong."""
_CHARS: Final = 8192
"""Longest message, characters."""


class LogFormatter(logging.Formatter):
    """Formats for the daemon's log."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """A line, or several with a traceback."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _told(each) if isinstance(each, BaseException) else each for each in record.args
            )
        record.exc_text = None  # another handler may have formatted it otherwise
        return redact.current().text(super().format(record))

    def formatException(  # noqa: N802 (the name of the library)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """A traceback, and the chain of errors that led to it, each without what it quotes."""
        error = ei[1]
        if error is None:
            return ""
        lines: list[str] = []
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            told = [
                *traceback.format_tb(error.__traceback__),
                f"{type(error).__qualname__}: {_told(error)}\n",
            ]
            lines[:0] = told if not lines else [*told, "which led to:\n"]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "".join(lines).rstrip("\n")


def _told(error: BaseException) -> str:
    """What an exception says, as far as it is not what it was given."""
    if isinstance(error, GuardError):
        return error.sentence()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    text = _QUOTED.sub(lambda each: f"({len(each['inside'])} characters)", str(error)[:_CHARS])
    return _WORD.sub(
        lambda each: each[0] if _PLAIN.fullmatch(each[0]) else f"({len(each[0])} characters)", text
    )


def log_to(target: TextIO | str) -> None:
    """Log to a stream, or to the end of a file: what the daemon says, asyncio, and what nobody caught."""
    handler = (
        logging.FileHandler(target, encoding="utf-8")
        if isinstance(target, str)
        else logging.StreamHandler(target)
    )
    handler.setFormatter(LogFormatter())
    for name in ("mcpguard", "asyncio"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("mcpguard").setLevel(logging.INFO)
    catch_all(logging.getLogger("mcpguard"))


def catch_all(log: logging.Logger) -> None:
    """Log what nobody caught: of the main thread, of others, and of what cannot raise."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("the daemon ends because of a bug in mcpguard", exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        log.error(
            "a thread ended because of a bug in mcpguard", exc_info=(args.exc_type, error, args.exc_traceback)
        )

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        log.error("an error that nobody could catch", exc_info=(args.exc_type, error, args.exc_traceback))

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
