"""The report: statistics of an audit log as one page of HTML that needs nothing else.

Rule 1. Nothing is loaded and nothing runs: no script, no image, no font, no link out. A content security policy in
the page says so to the browser; it allows one style, by its digest.
Rule 2. Text of others is written by `charts.words` alone.

Decided: *charts that are drawn here*, not by a charting library: one that draws in the browser needs scripts, which a
page full of names that hostile servers choose must not allow.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mcpguard.audit.charts import Row, Series, bars, legend, over_time, words
from mcpguard.audit.statistics import OTHERS, Finding, Statistics, Tally
from mcpguard.model import Json, how_many

ROWS: Final = 20
"""Rows of a chart or table."""
_SHADES: Final = 6
_STYLE: Final = """
:root{color-scheme:light dark;--back:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d7dce1;--card:#f5f7f9;
--calls:#2f6fb2;--denied:#c4421a;--seen:#d9a400;--asked:#7a4fb5;--s0:#2f6fb2;--s1:#1d8a77;--s2:#7a4fb5;--s3:#b8860b;
--s4:#a8456b;--s5:#7d8792}
@media (prefers-color-scheme:dark){:root{--back:#14181d;--ink:#e6eaee;--soft:#9aa5b1;--line:#323a43;--card:#1d232a;
--calls:#6aa9e9;--denied:#f07b52;--seen:#e6c04a;--asked:#b493e6;--s0:#6aa9e9;--s1:#4fc3ad;--s2:#b493e6;--s3:#e0b13e;
--s4:#e58bb0;--s5:#9aa5b1}}
@media print{:root{color-scheme:light;--back:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--calls:#2f6fb2;
--denied:#c4421a;--seen:#d9a400;--asked:#7a4fb5;--s0:#2f6fb2;--s1:#1d8a77;--s2:#7a4fb5;--s3:#b8860b;--s4:#a8456b;
--s5:#7d8792}section{break-inside:avoid}rect{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
*{box-sizing:border-box}body{margin:0 auto;padding:28px 24px 48px;max-width:1080px;background:var(--back);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}h1{font-size:26px;margin:0}h2{font-size:18px;margin:36px 0 8px}
p{margin:4px 0}.soft{color:var(--soft)}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(100px,1fr));
gap:12px;margin:22px 0 0;padding:0}.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:8px 12px}.tiles dt{color:var(--soft);font-size:13px;white-space:nowrap}
.tiles dd{margin:0;font-size:18px;font-weight:600;white-space:nowrap;
font-variant-numeric:tabular-nums}.chart{display:block;width:100%;height:auto}.grid{stroke:var(--line)}
.axis,.name,.sum{fill:var(--soft);font:13px system-ui,sans-serif}.name{fill:var(--ink)}.calls{fill:var(--calls)}
.denied{fill:var(--denied)}.seen{fill:var(--seen)}.asked{fill:var(--asked)}.s0{fill:var(--s0)}.s1{fill:var(--s1)}
.s2{fill:var(--s2)}.s3{fill:var(--s3)}.s4{fill:var(--s4)}.s5{fill:var(--s5)}.legend{display:flex;flex-wrap:wrap;
gap:4px 18px;margin:0 0 8px;padding:0;list-style:none;color:var(--soft);font-size:13px}.key{width:11px;height:11px;
margin-right:6px}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;
font-variant-numeric:tabular-nums}.text :is(td,th):nth-child(-n+3){white-space:nowrap}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child,.text th,.text td{text-align:left;
overflow-wrap:anywhere}.note{border-left:4px solid var(--denied);background:var(--card);
padding:8px 14px;margin:16px 0 0}
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
"""The content security policy of the page."""
_DIGESTS: Final = ("pinned", "seen")
_DIGEST_CHARS: Final = 12
_OWN: Final = ("type", "server", "kind", "name", "fault")


class About(msgspec.Struct, frozen=True):
    """What a report is about, in texts for people.

    Attributes:
        made: When it was made.
        log: Where the log is.
        span: From when to when.
        wanted: Which records, as they were asked for; empty for all.
        notes: What could not be read.
        version: Version of mcpguard.
        times: Local times of findings, by the time in the record.
    """

    made: str
    log: str
    span: str
    wanted: str = ""
    notes: tuple[str, ...] = ()
    version: str = ""
    times: dict[str, str] = {}


def page(statistics: Statistics, about: About, labels: Sequence[str], table: str) -> str:
    """The whole page.

    Args:
        statistics: What was counted.
        about: What of.
        labels: Every bucket of time between the first and the last, in order, also those without records.
        table: Which table of the statistics has them: `day` or `bucket`.
    """
    body = "".join(
        [
            _head(statistics, about),
            _section("Calls and denials over time", _over_time(statistics, labels, table)),
            _section("Denials by rule", _by_rule(statistics)),
            _section("Tools per host", _per_host(statistics)),
            _section("Findings", _findings(statistics, about)),
            _tables(statistics),
            _foot(about),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>mcpguard report, {words(about.span)}</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _head(statistics: Statistics, about: About) -> str:
    total = statistics.total
    tiles = (
        ("calls", f"{total.calls:,}"),
        ("denied", f"{total.denied:,}"),
        ("observed", f"{total.observed:,}"),
        ("asked", f"{total.asked:,}"),
        ("findings", f"{statistics.kinds.total():,}"),
        ("hosts", f"{len(statistics.tables['host']):,}"),
        ("servers", f"{len(statistics.tables['server']):,}"),
        ("latency p50", _milliseconds(total, 0.5)),
        ("latency p99", _milliseconds(total, 0.99)),
    )
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    wanted = f'<p class="soft">only {words(about.wanted)}</p>' if about.wanted else ""
    notes = "".join(f'<p class="note">{words(one)}</p>' for one in about.notes)
    return (
        f'<header><h1>mcpguard report</h1><p>{words(about.span)}</p>{wanted}{notes}<dl class="tiles">{shown}</dl>'
        "</header><main>"
    )


def _over_time(statistics: Statistics, labels: Sequence[str], table: str) -> str:
    tallies = statistics.tables[table]
    empty = Tally()
    rows = [tallies.get(label, empty) for label in labels]
    if not any(row.calls or row.denied or row.observed or row.asked for row in rows):
        return _nothing("No call was decided.")
    passed = [max(0, row.calls - row.denied - row.observed) for row in rows]
    series = (
        Series("denied", "denied", [row.denied for row in rows]),
        Series("observed: would have been denied", "seen", [row.observed for row in rows]),
        Series("other calls", "calls", passed),
    )
    shown = [one for one in series if any(one.values)]
    drawn = over_time("Calls and denials over time", labels, shown)
    return legend([(one.name, one.style) for one in shown]) + drawn


def _by_rule(statistics: Statistics) -> str:
    found = statistics.rules.most_common(ROWS)
    if not found:
        return _nothing("Nothing was denied.")
    rows = [Row(rule, [("denied or observed", "denied", count)]) for rule, count in found]
    return bars("Denials by rule", rows) + _more(len(statistics.rules))


def _per_host(statistics: Statistics) -> str:
    if not statistics.used:
        return _nothing("No tool was called.")
    tools = dict[str, int]()
    hosts = dict[str, list[tuple[str, int]]]()
    for (host, tool), count in statistics.used.most_common():
        tools[tool] = tools.get(tool, 0) + count
        hosts.setdefault(host, []).append((tool, count))
    first = sorted(tools, key=lambda tool: (-tools[tool], tool))[: _SHADES - 1]
    style = {tool: f"s{at}" for at, tool in enumerate(first)}
    rest, rows = f"s{_SHADES - 1}", []
    for host, used in sorted(hosts.items(), key=lambda pair: -sum(count for _, count in pair[1]))[:ROWS]:
        parts = [(tool, style[tool], count) for tool in first for name, count in used if name == tool]
        others = sum(count for tool, count in used if tool not in style)
        named = f"{host or 'unknown'} ({how_many(len(used), 'tool')})"
        rows.append(Row(named, [*parts, ("other tools", rest, others)] if others else parts))
    names = [(tool or "unnamed", style[tool]) for tool in first]
    names += [("other tools", rest)] if len(tools) > len(first) else []
    return legend(names) + bars("Calls of tools per host", rows) + _more(len(hosts))


def _findings(statistics: Statistics, about: About) -> str:
    if not statistics.kinds:
        return _nothing("Nothing unusual was found.")
    rows = [Row(kind, [("findings", "asked", count)]) for kind, count in statistics.kinds.most_common(ROWS)]
    lines = "".join(_finding(one, about) for one in reversed(statistics.findings[-ROWS:]))
    head = "<tr><th>when</th><th>record</th><th>server</th><th>what</th><th>fault</th><th>more</th></tr>"
    more = statistics.kinds.total() - min(ROWS, len(statistics.findings))
    left = f'<p class="soft">and {more:,} earlier ones</p>' if more else ""
    table = f'<div class="wide"><table class="text">{head}{lines}</table></div>'
    return bars("Findings by kind", rows) + _more(len(statistics.kinds)) + table + left


def _finding(one: Finding, about: About) -> str:
    what = f"{_said(one.about.get('kind'))} {_said(one.about.get('name'))}"
    more = "  ".join(
        f"{name} {_said(value)[: _DIGEST_CHARS if name in _DIGESTS else None]}"
        for name, value in one.about.items()
        if name not in _OWN and value
    )
    when, fault = about.times.get(one.time, one.time), _said(one.about.get("fault"))
    return _line(
        [words(when), str(one.seq), words(one.server, 40), words(what), words(fault), words(more, 300)]
    )


def _said(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _tables(statistics: Statistics) -> str:
    return "".join(
        _section(title, _table(word, statistics.ranked(table)))
        for title, word, table in (
            ("Hosts", "host", "host"),
            ("Servers", "server", "server"),
            ("Tools", "server and tool", "tool"),
        )
    )


def _table(word: str, rows: Sequence[tuple[str, Tally]]) -> str:
    if not rows:
        return _nothing("None.")
    names = (word, "calls", "denied", "observed", "asked", "errors", "p50", "p99")
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = "".join(
        _line(
            [
                words(name),
                *(f"{value:,}" for value in (one.calls, one.denied, one.observed, one.asked, one.errors)),
                _milliseconds(one, 0.5),
                _milliseconds(one, 0.99),
            ]
        )
        for name, one in rows[:ROWS]
    )
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>{_more(len(rows))}'


def _line(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _foot(about: About) -> str:
    return (
        f'</main><footer class="soft"><h2>About this page</h2><p>Made {words(about.made)} by mcpguard '
        f"{words(about.version)} from the audit log at {words(about.log)}. It repeats what the log says; whether "
        "the log is as it was written says: mcpguard audit verify.</p><p>A call is a tools/call. Denied: it did not "
        "pass. "
        "Observed: it passed, and would not have, had policy not just watched. Asked: a person was asked. Errors: "
        "calls whose outcome is not ok. A host in parentheses is not enrolled: it is what its process calls itself. "
        f"Names beyond the first 5,000 are counted as {words(OTHERS)}. What cannot be seen in a name is written "
        "as \\u and four digits.</p></footer>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _nothing(sentence: str) -> str:
    return f'<p class="soft">{sentence}</p>'


def _more(many: int) -> str:
    return f'<p class="soft">and {many - ROWS:,} more</p>' if many > ROWS else ""


def _milliseconds(tally: Tally, part: float) -> str:
    latency = tally.percentile(part)
    return "-" if latency is None else f"{latency / 1000:,.1f} ms"
