"""`mcpguard audit anchor`: send the newest checkpoint to where whoever rewrites the log cannot reach it."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mcpguard.audit import checkpoint
from mcpguard.audit.record import visible
from mcpguard.cli.audit import errors_told
from mcpguard.errors import JournalError
from mcpguard.system import anchors, journalnotes, paths


@click.command()
@click.option(
    "--to",
    "places",
    multiple=True,
    required=True,
    metavar="PLACE",
    help="file:PATH, journald, syslog, or https://...; more than once for more places.",
)
@click.option(
    "--all", "everything", is_flag=True, help="All checkpoints that are kept, not the newest alone."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def anchor(places: tuple[str, ...], everything: bool, as_json: bool, directory: Path | None) -> None:
    """Send the newest checkpoint of the log elsewhere.

    `audit verify --anchor FILE` takes what was kept there: a file of notes, or lines of syslog or journalctl -o cat.
    """
    with errors_told():
        directory = directory or paths.audit_dir()
        found = journalnotes.kept(directory) if everything else [journalnotes.newest(directory)]
        for place in places:
            for note in found:
                _send(place, note)
    newest, _ = checkpoint.parse_note(found[-1])
    if as_json:
        said = {"v": 1, "origin": newest.origin, "size": newest.size, "root": newest.root.hex(), "to": places}
        click.echo(msgspec.json.encode(said).decode())
        return
    for place in places:
        click.echo(visible(f"records 1..{newest.size} of {newest.origin} are anchored at {place}"))


def _send(place: str, note: bytes) -> None:
    try:
        if place.startswith("file:"):
            anchors.to_file(Path(place.removeprefix("file:")), note)
        elif place == "journald":
            anchors.to_journald(note)
        elif place == "syslog":
            anchors.to_syslog(note)
        elif place.startswith("https://"):
            anchors.to_witness(place, note)
        else:
            raise click.BadParameter(
                f"{place!r} is none of file:PATH, journald, syslog, https://", param_hint="--to"
            )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise JournalError(f"cannot anchor at {place}: {reason}", hint="nothing was sent there") from error
