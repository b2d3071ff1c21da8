"""The report as a text: closed to the outside, hostile names harmless, nothing missing."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from mcpguard.audit.facets import of
from mcpguard.audit.page import POLICY, About, page
from mcpguard.audit.record import Record
from mcpguard.audit.statistics import Statistics
from tests.cli.reported import HOSTILE

TIME = "2026-11-18T11:06:40.123456Z"
ABOUT = About("now", "/log", "a to b", version="1")
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "dl", "div", "dt", "dd", "main", "section",
    "svg", "g", "text", "line", "rect", "ul", "li", "table", "tr", "th", "td", "footer",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "viewbox", "role", "aria-label", "aria-hidden", "x1", "x2",
    "y1", "y2", "x", "y", "width", "height", "text-anchor",
}  # fmt: skip


class Parsed(HTMLParser):
    """Tags and attributes that a parser of HTML finds, all text, and the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.styles: list[str] = []
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._in = tag

    def handle_data(self, data):
        (self.styles if self._in == "style" else self.text).append(data)

    def handle_endtag(self, tag):
        self._in = ""


def told(name: str) -> Statistics:
    found = Statistics()
    for kind, more in (
        ("call", {"method": "tools/call", "tool": name, "decision": "deny", "rule": name, "id": 0}),
        ("call", {"method": "tools/call", "tool": name, "decision": "allow", "rule": name, "id": 1}),
        ("outcome", {"method": "tools/call", "tool": name, "status": name, "latency_us": 7, "id": 1}),
        ("finding", {"kind": name, "name": name, "fault": name, name: name, "pinned": name, "extra": [name]}),
    ):
        body = {"type": kind, "conn": "c", "host": {"name": name}, "server": name, **more}
        record = Record(1, "", TIME, "", kind, body)
        found.add(record, of(record), "2026-11-18", "")
    return found


def test_only_harmless_markup_whatever_the_names():
    for name in HOSTILE:
        text = page(
            told(name),
            About(name, name, name, name, (name,), name, {TIME: name}),
            [name, "2026-11-18"],
            "day",
        )
        parsed = Parsed(text)
        assert parsed.tags <= TAGS, name
        assert parsed.attributes <= ATTRIBUTES, name
        assert len(parsed.styles) == 1
        assert all(part.isprintable() for part in "".join(parsed.text).splitlines()), name


def test_policy_of_the_page_allows_its_style_and_nothing_else():
    text = page(told("x"), ABOUT, ["2026-11-18"], "day")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert POLICY == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert text.index(POLICY) < text.index("<style>")
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text.replace("://", ":"))


def test_everything_is_there():
    text = page(told("tool-x"), ABOUT, ["2026-11-18"], "day")
    for words in (
        "Calls and denials over time", "Denials by rule", "Tools per host", "Findings", "Hosts", "Servers", "Tools",
        "2026-11-18: denied 1, other calls 1", "(tool-x) (1 tool)", "extra [&quot;tool-x&quot;]", "mcpguard audit verify",
    ):  # fmt: skip
        assert words in text, words


def test_an_empty_log_is_a_page_too():
    parsed = Parsed(page(Statistics(), ABOUT, [], "day"))
    words = " ".join(parsed.text)
    for sentence in (
        "No call was decided.",
        "Nothing was denied.",
        "No tool was called.",
        "Nothing unusual was found.",
    ):
        assert sentence in words
