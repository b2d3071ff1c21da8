"""How far a verb is that reads the whole audit log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click


@contextlib.contextmanager
def progress(found: list[Path], label: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, told how many bytes of these files were read; nothing elsewhere."""
    total = sum(path.stat().st_size for path in found)
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, update_min_steps=1 << 20) as shown:
        yield shown.update
