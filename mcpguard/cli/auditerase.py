"""`mcpguard audit erase`: make the arguments that records keep unreadable for good; the records stay.

Decided: *the records are chosen here and the keys destroyed by the daemon*, which is the one writer and records who
did it; rejected: erasing beside it, which would leave no trace.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit.record import Record
from mcpguard.cli import client
from mcpguard.cli.logrecords import records
from mcpguard.cli.terminal import confirm, errors_told, print_json, say
from mcpguard.model import how_many
from mcpguard.system import paths
from mcpguard.system.argumentkeys import ArgumentReader

_AGO: Final = re.compile(r"([0-9]{1,6})([mhdw])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SEALED: Final = b'"sealed":{"key":'


class Wanted(msgspec.Struct, frozen=True):
    """Which records are meant; all that is given must hold.

    Attributes:
        host: Name that the host is enrolled under; empty for any.
        server: Name of the server; empty for any.
        before: UTC, as records have it; empty for any.
        seqs: Numbers of records; empty for any.
    """

    host: str = ""
    server: str = ""
    before: str = ""
    seqs: frozenset[int] = frozenset()

    def holds(self, record: Record) -> bool:
        """Whether a record is meant."""
        evidence = record.body.get("host")
        return (
            (not self.seqs or record.seq in self.seqs)
            and (not self.before or record.time < self.before)
            and (not self.server or record.body.get("server") == self.server)
            and (not self.host or (isinstance(evidence, dict) and evidence.get("host") == self.host))
        )

    def words(self) -> dict[str, str]:
        """As the record of the erasure has it."""
        said = {"host": self.host, "server": self.server, "before": self.before}
        if self.seqs:
            said["seq"] = ",".join(map(str, sorted(self.seqs)[:20]))
        return {name: value for name, value in said.items() if value}


@click.command()
@click.option("--host", default="", help="Of this enrolled host.")
@click.option("--server", default="", help="Of this server.")
@click.option(
    "--before", default="", metavar="TIME", help="Before this time: 2026-11-30, 2026-11-30T12:00, 90d."
)
@click.option("--seq", "seqs", type=click.IntRange(1), multiple=True, help="Of the record with this number.")
@click.option("--dry-run", is_flag=True, help="Say how many there are; erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def erase(
    host: str, server: str, before: str, seqs: tuple[int, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Destroy the keys of arguments that records keep, so that nobody can read them any more.

    The records stay, and the chain verifies as before. That it was done is recorded. Copies of arguments.keys, such
    as in a backup, are not reached.
    """
    if not (host or server or before or seqs):
        raise click.UsageError("say which: --host, --server, --before or --seq")
    wanted = Wanted(host, server, _moment(before) if before else "", frozenset(seqs))
    with errors_told(as_json=as_json):
        keys = _chosen(paths.audit_dir(), wanted)
        if dry_run or not keys:
            _tell(
                {"found": len(keys), "erased": 0},
                f"{how_many(len(keys), 'record')} with arguments to erase",
                as_json,
            )
            return
        confirm(f"Erase the arguments of {how_many(len(keys), 'record')} for good?", yes=yes)
        client.ensure()
        text = msgspec.json.encode({"keys": _runs(keys), "wanted": wanted.words()}).decode()
        reply = client.request({"verb": "audit-erase", "text": text})
        _tell(
            {"found": len(keys), "erased": reply["erased"]},
            f"erased the arguments of {how_many(reply['erased'], 'record')}; see: mcpguard audit tail",
            as_json,
        )


def _chosen(directory: Path, wanted: Wanted) -> list[int]:
    """Numbers of the keys of records that are meant and can be opened, in order."""
    reader = ArgumentReader(directory)
    chosen = set()
    try:
        for _, record in records(directory, "reading", (_SEALED,)):
            if wanted.holds(record):
                chosen.add(reader.kept(record.body))
    finally:
        reader.close()
    return sorted(chosen - {0})


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    """First and last of each run of numbers without a gap; `numbers` are sorted."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def _moment(text: str) -> str:
    """A time as records have it."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        moment = datetime.fromtimestamp(time.time() - int(ago[1]) * _SECONDS[ago[2]], UTC)
    else:
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise click.UsageError(
                f"not a time: {text!a}; write 2026-11-30, 2026-11-30T12:00 or 90d"
            ) from error
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _tell(members: dict[str, int], words: str, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, **members})
    else:
        say(words)
    sys.stdout.flush()
