"""`mcpguard doctor`: is everything as it should be, and what to do where it is not.

Exit codes: 0 nothing to mend; 2 usage; 7 something is to be mended.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from mcpguard.cli.checked import Finding, Level
from mcpguard.cli.checks import CHECKS
from mcpguard.cli.main import DRIFT
from mcpguard.cli.terminal import print_json, say, tell
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject

_MARKS: Final = {Level.OK: "ok", Level.NOTE: "note", Level.BAD: "BAD"}


@click.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, fix: bool, as_json: bool) -> None:
    """Look whether everything is as it should be, and say what to do where it is not.

    Also starts impostors, and shows that they are refused.
    """
    found = list(_examined())
    mended = [finding for finding in found if fix and _mended(finding)]
    left = [finding for finding in found if finding.level is Level.BAD and finding not in mended]
    if as_json:
        print_json({"ok": not left, "findings": [_told(one, mended=one in mended) for one in found]})
    else:
        for number, finding in enumerate(found, 1):
            say(f"{number:>3} {_MARKS[finding.level]:<4}  {finding.check}: {finding.words}")
            if finding in mended:
                say(f"          mended: {finding.fix}")
            elif finding.fix and finding.level is not Level.OK:
                say(f"          {finding.fix}")
        say(_conclusion(len(left), len(mended)))
    if left:
        sys.exit(DRIFT)


def _told(finding: Finding, *, mended: bool) -> JsonObject:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "words": finding.words,
        "fix": finding.fix,
        "mended": mended,
    }


def _examined() -> list[Finding]:
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check()
        except GuardError as error:
            found.append(Finding(check.__name__, Level.BAD, error.message, error.hint))
        except OSError as error:
            found.append(Finding(check.__name__, Level.BAD, (error.strerror or str(error)).lower()))
    return found


def _mended(finding: Finding) -> bool:
    if finding.mend is None or finding.level is not Level.BAD:
        return False
    try:
        finding.mend()
    except (GuardError, OSError) as error:
        why = error.sentence() if isinstance(error, GuardError) else (error.strerror or str(error)).lower()
        tell(f"could not mend: {finding.words}: {why}")
        return False
    return True


def _conclusion(left: int, mended: int) -> str:
    more = f", {mended} mended" if mended else ""
    return f"{left} to mend{more}" if left else f"nothing to mend{more}"
