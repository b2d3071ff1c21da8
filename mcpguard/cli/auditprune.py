"""`mcpguard audit prune`: delete the oldest part of the log, so that the rest still verifies."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.cli.audit import errors_told
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.model import how_many
from mcpguard.system import journalfiles, paths
from mcpguard.system.retention import Plan, plan
from mcpguard.system.retention import prune as bury

_AGE = re.compile(r"([1-9][0-9]{0,5})([hdwy])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168, "y": 8766}
_SIZE = re.compile(r"([1-9][0-9]{0,8})(KiB|MiB|GiB|K|M|G)?")
_FACTOR: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _age(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Seconds of an age such as 90d."""
    if value is None:
        return None
    match = _AGE.fullmatch(value)
    if match is None:
        raise click.BadParameter("an age is a number and h, d, w or y, such as 90d")
    return int(match[1]) * _HOURS[match[2]] * 3600


def _bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Bytes of a size such as 2GiB."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value)
    if match is None:
        raise click.BadParameter("a size is a number and KiB, MiB or GiB, such as 2GiB")
    return int(match[1]) * _FACTOR.get((match[2] or "")[:1], 1)


@click.command()
@click.option("--keep", callback=_age, metavar="AGE", help="Keep what is not older than this: 90d, 12w, 2y.")
@click.option("--limit", callback=_bytes, metavar="SIZE", help="Keep at most about so much: 500MiB, 2GiB.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def prune(keep: int | None, limit: int | None, dry_run: bool, as_json: bool, directory: Path | None) -> None:
    """Delete the oldest segments of the log, and leave a signed tombstone.

    Only whole segments go, and never the two newest. The log is verified first; one that was tampered with stays as
    it is. Export or anchor what you may need before.
    """
    if keep is None and limit is None:
        raise click.UsageError("say what to keep: --keep 90d, --limit 2GiB, or both")
    now = time.time()
    before = _stamp(now - keep) if keep is not None else ""
    with errors_told():
        directory = directory or paths.audit_dir()
        try:
            chosen = plan(directory, before=before, limit=-1 if limit is None else limit)
            last = 0
            if chosen.segments and not dry_run:
                with progress(journalfiles.segments(directory), "verifying") as advance:
                    last = bury(directory, chosen, _stamp(now), advance)
        except OSError as error:
            raise JournalError(f"cannot prune the log: {(error.strerror or str(error)).lower()}") from error
    if as_json:
        click.echo(msgspec.json.encode(_as_json(chosen, last, dry_run=dry_run)).decode())
    else:
        click.echo(_in_words(chosen, last, dry_run=dry_run))


def _stamp(seconds: float) -> str:
    """UTC, as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(max(0.0, seconds)))


def _as_json(chosen: Plan, last: int, *, dry_run: bool) -> dict[str, Any]:
    return {
        "v": 1,
        "dry_run": dry_run,
        "segments": [path.name for path in chosen.segments],
        "bytes": chosen.size,
        "newest": chosen.newest,
        "last_deleted": last,
    }


def _in_words(chosen: Plan, last: int, *, dry_run: bool) -> str:
    if not chosen.segments:
        return "nothing to delete"
    names = f"{chosen.segments[0].name} to {chosen.segments[-1].name}"
    what = f"{how_many(len(chosen.segments), 'segment')}, {chosen.size} bytes, {names}, newest record {chosen.newest}"
    return visible(
        f"would delete {what}" if dry_run else f"deleted {what}; records 1..{last} have a tombstone"
    )
