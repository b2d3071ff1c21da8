"""A real browser that looks at a page and tells what happened: Debian's Chromium, headless, driven by Playwright."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Seen(NamedTuple):
    """What came of looking: complaints of the page, what it asked for besides itself, and what `ask` answered."""

    complaints: list[str]
    requests: list[str]
    picture: bytes
    answers: list[Any]
    pdf: bytes


def looked_at(
    file: Path,
    *asked: str,
    width: int = 1080,
    dark: bool = False,
    scripts: bool = True,
    printed: bool = False,
) -> Seen:
    """Open a file, evaluate expressions in it, and take a picture of the whole page."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it is in the extra `interop`

    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: apt-get install chromium"
    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(_QUIET))
        try:
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if dark else "light",
                java_script_enabled=scripts,
            )
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(file.as_uri(), wait_until="load")
            answers = [page.evaluate(one) for one in asked]
            picture = page.screenshot(full_page=True)
            pdf = page.pdf() if printed else b""
        finally:
            browser.close()
    return Seen(complaints, [url for url in requests if url != file.as_uri()], picture, answers, pdf)
