"""The least that lets pass what has passed: a policy to read and to edit, made from the log.

One rule for the tools of a server that say nothing of folders or hosts, one for each tool that does; one for what
else was asked. Each is for one host, with the least evidence that was seen of it.

Rule: the text is a valid policy, and lets pass everything that it was made from, but for what its comments name.

Not here: reading the log; applying. A person decides whether what an agent has done is what it should do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from mcpguard.model import Grade, toml_text
from mcpguard.policy.match import flaw
from mcpguard.policy.replay import PATH, URL, Past
from mcpguard.policy.rules import HOST

_WILD: Final = frozenset("*?[]{}")
_FOLDERS: Final = 4
_HOSTS: Final = 16
_TARGETS: Final = 50
_ID_CHARS: Final = 48
_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_ID: Final = re.compile(r"[^a-z0-9]+")
_KEYS: Final = {
    "resources/read": "resources",
    "resources/subscribe": "resources",
    "resources/unsubscribe": "resources",
    "prompts/get": "prompts",
    "completion/complete": "completions",
}
"""Methods whose target a key of a rule describes."""
_FLAGS: Final = {
    "sampling/createMessage": "sampling = true",
    "roots/list": "roots = true",
    "logging/setLevel": "logging = true",
    "notifications/message": "logging = true",
    "elicitation/create": 'elicitation = { mode = ["form", "url"] }',
}
_TASKS: Final = "tasks/"


class _Tool:
    """How one tool was used."""

    def __init__(self) -> None:
        self.count = 0
        self.words: dict[str, Counter[str]] = {}

    def took(self, past: Past) -> None:
        self.count += 1
        for name, word in (past.shape or {}).items():
            self.words.setdefault(name, Counter())[word] += 1

    @property
    def constrained(self) -> list[str]:
        """Arguments that were always paths, or always URLs."""
        return [name for name, words in self.words.items() if name and _constrains(words)]

    def described(self) -> str:
        parts = [f"{name}: {'/'.join(sorted(_kinds(words)))}" for name, words in sorted(self.words.items())]
        return f"{_times(self.count)}{'; ' if parts else ''}{', '.join(parts)}"


class _Use:
    """How one host used one server."""

    def __init__(self) -> None:
        self.grade = Grade.G3
        self.tools: dict[str, _Tool] = {}
        self.targets: dict[str, Counter[str]] = {}
        self.flags: Counter[str] = Counter()
        self.methods: Counter[str] = Counter()

    def took(self, past: Past) -> None:
        trial = past.trial
        self.grade = min(self.grade, trial.grade)
        if trial.tool:
            self.tools.setdefault(trial.tool, _Tool()).took(past)
        elif trial.method in _KEYS:
            self.targets.setdefault(_KEYS[trial.method], Counter())[trial.target] += 1
        elif trial.method.startswith(_TASKS):
            self.flags["tasks = true"] += 1
        elif trial.method in _FLAGS:
            self.flags[_FLAGS[trial.method]] += 1
        else:
            self.methods[trial.method] += 1


class Suggestion:
    """Collects what has passed; `text` is the policy.

    Args:
        home: What is written as `~`.

    Attributes:
        count: How many requests it was made from.
        skipped: Names that no rule can describe exactly.
    """

    def __init__(self, home: str = "") -> None:
        self._home = home.rstrip("/")
        self._uses: dict[tuple[str, str], _Use] = {}
        self._ids: set[str] = set()
        self.count = 0
        self.skipped: list[str] = []

    def took(self, past: Past) -> None:
        """A request that has passed."""
        self.count += 1
        host = next((who for who in past.trial.who if who.startswith(HOST)), "")
        self._uses.setdefault((host, past.trial.server), _Use()).took(past)

    def text(self, period: str, *, unpinned: bool) -> str:
        """The policy. `period`: which time it is from, in words. `unpinned`: servers ran that have no manifest."""
        self._ids.clear()
        self.skipped = []
        lines = [
            f"# Suggested from {self.count} requests {period}. Read every rule: it allows what was done,",
            "# and whether that should be done only you can tell. Then: mcpguard policy apply FILE",
            "version = 1",
            'mode = "enforce"',
        ]
        if unpinned:
            lines.append('unpinned = "allow"  # until every server is registered: mcpguard server add')
        for (host, server), use in sorted(self._uses.items()):
            if _WILD.isdisjoint(server) and not flaw(server):
                lines += self._of_use(host, server, use)
            else:
                self._skip(lines, f"server {server!a}")
        return "\n".join(lines) + "\n"

    def _of_use(self, host: str, server: str, use: _Use) -> Iterator[str]:
        head = [f"server = {toml_text(server)}"]
        if host:
            head.insert(0, f"who = [{toml_text(host)}]")
        if use.grade:
            head.append(f'grade = "{use.grade.name}"')
        base = f"{host.removeprefix(HOST) or 'any'}-{server}"
        skipped: list[str] = []
        plain = []
        for name, tool in sorted(use.tools.items()):
            if not _WILD.isdisjoint(name) or flaw(name):
                self._skip(skipped, f"tool {name!a} of {server}")
            elif tool.constrained:
                notes = [f"# {tool.described()}"]
                args = [self._argument(each, tool) for each in sorted(tool.constrained)]
                yield from self._rule(f"{base}-{name}", head, [f"tools = [{toml_text(name)}]"], notes, args)
            else:
                plain.append((name, tool))
        if plain:
            listed = ", ".join(toml_text(name) for name, _ in plain)
            notes = [f"# {_comment(name)}: {tool.described()}" for name, tool in plain]
            yield from self._rule(f"{base}-tools", head, [f"tools = [{listed}]"], notes)
        yield from self._others(base, head, server, use, skipped)
        yield from skipped

    def _others(
        self, base: str, head: list[str], server: str, use: _Use, skipped: list[str]
    ) -> Iterator[str]:
        for key, seen in sorted(use.targets.items()):
            for name in [name for name in seen if not name or not _WILD.isdisjoint(name) or flaw(name)]:
                self._skip(skipped, f"{key} {name!a} of {server}")
                del seen[name]
            most = [name for name, _ in seen.most_common(_TARGETS)]
            for name in seen.keys() - set(most):
                self._skip(skipped, f"{key} {name!a} of {server}")
            if most:
                listed = ",\n  ".join(map(toml_text, sorted(most)))
                keys = [f"{key} = [\n  {listed},\n]"]
                yield from self._rule(f"{base}-{key}", head, keys, [f"# {_times(seen.total())}"])
        for flag, many in sorted(use.flags.items()):
            yield from self._rule(f"{base}-{flag.partition(' ')[0]}", head, [flag], [f"# {_times(many)}"])
        if use.methods:
            listed = ", ".join(map(toml_text, sorted(use.methods)))
            yield from self._rule(f"{base}-methods", head, [f"methods = [{listed}]"], [])

    def _rule(
        self, name: str, head: list[str], keys: list[str], notes: list[str], args: Iterable[str] = ()
    ) -> Iterator[str]:
        yield from ("", *map(_one_line, notes), "[[rule]]", f"id = {toml_text(self._ident(name))}")
        yield from (*head, *keys, 'effect = "allow"', *args)

    def _argument(self, name: str, tool: _Tool) -> str:
        words = tool.words[name]
        texts = [word.partition(":")[2] for word in words]
        if next(iter(words)).startswith(PATH):
            listed = [toml_text(self._short(folder)) for folder in parents(texts)]
            said = f"under = [{', '.join(listed)}]"
        else:
            said = f"hosts = [{', '.join(toml_text(host) for host in sorted(texts))}]"
        if words.total() < tool.count:
            said += ", optional = true"
        key = name if _BARE.fullmatch(name) else toml_text("/" + name.replace("~", "~0").replace("/", "~1"))
        return f"args.{key} = {{ {said} }}"

    def _short(self, folder: str) -> str:
        home = self._home
        return f"~{folder.removeprefix(home)}" if home and f"{folder}/".startswith(f"{home}/") else folder

    def _ident(self, name: str) -> str:
        base = (_NOT_ID.sub("-", name.lower()).strip("-") or "rule")[:_ID_CHARS]
        found = next(
            one for n in range(1, 1_000_000) if (one := base if n == 1 else f"{base}-{n}") not in self._ids
        )
        self._ids.add(found)
        return found

    def _skip(self, lines: list[str], what: str) -> None:
        self.skipped.append(what)
        lines.append(_one_line(f"# left out, because no pattern describes it exactly: {what}"))


def parents(folders: Iterable[str], most: int = _FOLDERS) -> list[str]:
    """At most so many folders that hold all of these; the deepest that do, so that little more is let pass."""
    found = {folder.rstrip("/") or "/" for folder in folders}
    while True:
        found = {one for one in found if not any(_holds(other, one) for other in found - {one})}
        if len(found) <= most:
            return sorted(found)
        deepest = max(found, key=lambda one: (one.count("/"), one))
        found = (found - {deepest}) | {deepest.rpartition("/")[0] or deepest[:1]}


def _holds(folder: str, other: str) -> bool:
    return other.startswith(folder if folder.endswith("/") else f"{folder}/")


def _constrains(words: Counter[str]) -> bool:
    """Whether every value that was seen can be described by `under` or by `hosts`."""
    texts = [word.partition(":")[2] for word in words]
    if any(not _WILD.isdisjoint(text) or not text.isprintable() for text in texts):
        return False
    if all(word.startswith(PATH) for word in words):
        return True
    return all(word.startswith(URL) for word in words) and len(texts) <= _HOSTS


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _kinds(words: Iterable[str]) -> set[str]:
    return {word.partition(":")[0] for word in words}


def _comment(name: str) -> str:
    return toml_text(name)[1:-1]


def _one_line(text: str) -> str:
    """A comment that stays one: what is in it comes from others."""
    return "".join(char if char.isprintable() else "?" for char in text)
