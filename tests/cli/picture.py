"""Draws docs/console.svg: the console at 80 by 24, with made-up news. `python -m tests.cli.picture` from the top."""

import asyncio
import os
import re
import time
from html import unescape
from pathlib import Path

from mcpguard.cli.consoleapp import Console
from mcpguard.cli.consolefeed import News, Standing, Waiting
from tests.cli.test_consoleview import HOST, STATUS

FILE = Path(__file__).parents[2] / "docs" / "console.svg"
TICKET = {
    "id": "k7q2m", "server": "bank", "method": "tools/call", "tool": "transfer",
    "arguments": {"to": "DE12 5001 0517 5407 3249 31", "amount": 1200, "text": "invoice 4711"},
    "before": {"to": "DE12 5001 0517 5407 3249 31", "amount": 120, "text": "invoice 4698"},
    "host": HOST, "conn": "k3f9", "rule": "payments", "origin": "policy.toml:24", "reason": "rule payments asks it",
    "confirm": "presence", "asked_seconds": 3, "left_seconds": 98, "waiting": 1, "times": 1, "state": "open",
    "definition": "d", "manifest": "m",
}  # fmt: skip
OTHER = {
    **TICKET, "id": "w3x9p", "server": "files", "tool": "write_file", "before": None, "confirm": "",
    "arguments": {"path": "/home/me/src/notes.md", "content": "# Notes"}, "left_seconds": 110,
}  # fmt: skip


class Told:
    """News, all at once."""

    def start(self, tell) -> None:
        news: list[News] = [Standing(STATUS), Waiting([TICKET, OTHER])]
        for one in news:
            tell(one)

    def stop(self) -> None:
        pass


def draw() -> str:
    """The picture."""

    async def drawn() -> str:
        app = Console(Told())
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("2")
            await pilot.pause(0.3)
            picture = app.export_screenshot(title="mcpguard console")
            return re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # fonts from elsewhere

    return asyncio.run(drawn())


def words(picture: str) -> list[str]:
    """What can be read in a picture."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    return [text for text in (unescape(one).replace("\xa0", " ").strip() for one in texts) if text]


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    FILE.write_text(draw())
