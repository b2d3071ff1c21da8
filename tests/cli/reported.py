"""Logs to read: of a busy week, and of names that would like to be more than names.

`python -m tests.cli.reported` from the top draws docs/report.png: the report of the busy week, in a real browser.
"""

import math
import os
import tempfile
import time
from pathlib import Path

from mcpguard.audit import record
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal

FILE = Path(__file__).parents[2] / "docs" / "report.png"
END = 1_795_392_000  # 2026-11-23 00:00 UTC
HOUR = 3600
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</title><script>document.title='owned'</script>",
    "]]></style><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "read\u202egpj.file\u2066",
    "a\x1b[2Jb\x00\u200bc",
    "&lt;script&gt;",
    "'-->",
)
SERVERS = {
    "files": ("read_file", "write_file", "list_directory"),
    "github": ("search_issues", "create_issue", "merge_pull_request"),
    "browser": ("navigate", "screenshot"),
    "postgres": ("query",),
}


class Story:
    """Writes a log under a clock of its own."""

    def __init__(self, directory: Path, start: int, **options: int) -> None:
        self.now = start * 10**9
        self.journal = Journal.open(directory, clock=lambda: self.now, **options)
        self.ident = 0

    def start(self, host: str, server: str, conn: str, *, enrolled: bool = True) -> bytes:
        names = {"host": host, "name": host} if enrolled else {"name": host}
        return record.prefix(conn, {"uid": 1000, "pid": 42, "grade": "G2", **names}, server)

    def call(
        self, start: bytes, tool: str, verdict: Verdict = Verdict.ALLOW, rule: str = "default", *,
        us: int = 1500, status: bytes = record.OK, binding: bool = True, method: str = "tools/call",
    ) -> int:  # fmt: skip
        passed = verdict is Verdict.ALLOW or not binding
        self.ident += passed
        number = self.ident if passed else 0
        tail = record.call_tail(Side.HOST, method, tool, verdict, rule, binding=binding)
        self.journal.append([record.call(start, number, tail, b"ab" * 16, 21)])
        if passed:
            self.now += us * 1000
            answer = record.outcome_tail(Side.HOST, method, tool)
            self.journal.append([record.outcome(start, number, answer, status, us, 99)])
        return number

    def close(self) -> None:
        self.journal.close()


def busy_week(directory: Path) -> None:
    """A week of two enrolled hosts and one that is not, with nights, denials and findings."""
    story = Story(directory, END - 7 * 24 * HOUR)
    hosts = (("claude-code", True, 5), ("vscode", True, 3), ("node", False, 1))
    number = 0
    for hour in range(7 * 24):
        day, weekday = (
            max(0.0, math.sin((hour % 24 - 7) / 13 * math.pi)),
            0.25 if hour // 24 in (5, 6) else 1.0,
        )
        for host, enrolled, share in hosts:
            for at in range(int(day * weekday * 9 * share)):
                number += 1
                story.now = (END - (7 * 24 - hour) * HOUR + at * 60) * 10**9
                server = tuple(SERVERS)[(number * 7 + number // 5) % 4 if number % 3 else 0]
                tools = SERVERS[server]
                tool = tools[number * 5 % 11 % len(tools)]
                start = story.start(host, server, f"{number % 9}-c", enrolled=enrolled)
                us = 700 + number * 7919 % 9000 + (90_000 if number % 97 == 0 else 0)
                if tool == "merge_pull_request" or (not enrolled and number % 3 == 0):
                    rule = "no-merges" if tool == "merge_pull_request" else "strangers-read-only"
                    story.call(start, tool, Verdict.DENY, rule)
                elif tool == "write_file" and number % 4 == 0:
                    story.call(start, tool, Verdict.DENY, "keep-out-of-ssh")
                elif tool == "query" and number % 4 == 1:
                    story.journal.append(
                        [record.approval("asked", f"t{number}", start, method="tools/call", target=tool)]
                    )
                    story.call(start, tool, us=us)
                else:
                    story.call(
                        start, tool, us=us, status=record.TOOL_ERROR if number % 41 == 0 else record.OK
                    )
    for back, (kind, name, fault) in enumerate(
        (
            ("tools", "create_issue", "differs from the pinned definition"),
            ("tools", "delete_repository", "is not pinned"),
            ("instructions", "", "differ from the pinned ones"),
        )
    ):
        story.now = (END - (3 - back) * 5 * HOUR) * 10**9
        start = story.start("claude-code", "github", "4-c")
        story.journal.append([record.finding(start, kind, name, fault, "3f" * 32, "a9" * 32)])
    story.close()


def hostile(directory: Path) -> None:
    """A log in which every name is one of `HOSTILE`."""
    story = Story(directory, END - HOUR)
    for at, name in enumerate(HOSTILE):
        start = story.start(name, name, f"{at}-c", enrolled=bool(at % 2))
        story.call(start, name, us=1000 + at)
        story.call(start, name, Verdict.DENY, name)
        story.journal.append([record.finding(start, name, name, name, "", name)])
    story.close()


def local_utc() -> None:
    os.environ["TZ"] = "UTC"
    time.tzset()


if __name__ == "__main__":
    from click.testing import CliRunner

    from mcpguard.cli.audit import audit
    from tests.fakes.browser import looked_at

    local_utc()
    with tempfile.TemporaryDirectory() as root:
        os.environ["MCPGUARD_STATE_DIR"] = root
        busy_week(Path(root) / "audit")
        file = Path(root) / "report.html"
        told = CliRunner().invoke(audit, ["report", "-o", str(file)], catch_exceptions=False)
        assert told.exit_code == 0, told.output
        text = file.read_text().replace(f"{root}/audit", "~/.local/state/mcpguard/audit")
        file.write_text(text)
        FILE.write_bytes(looked_at(file, width=1080).picture)
