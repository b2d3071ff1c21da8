"""One imagined request, and what a policy says of it: what `policy explain` asks once and `policy test` many times.

A file of cases is TOML, one `[[case]]` for each request; it is read as strictly as a policy.

Not here: the normal form of URIs, which whoever asks brings them into; facts of real manifests.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Caller, Grade, Json, JsonObject, ToolFacts, Verdict
from mcpguard.policy.cedar import CedarPolicy
from mcpguard.policy.circumstances import Circumstances, Surroundings, unresolved
from mcpguard.policy.engine import compile_policy
from mcpguard.policy.explanation import Asked, Explanation
from mcpguard.policy.lines import Path
from mcpguard.policy.narrowed import Narrowed, narrow
from mcpguard.policy.reading import Reader, found, is_name
from mcpguard.policy.rules import ANYBODY, GATED_METHODS, HOST, RuleSet
from mcpguard.policy.snapshot import Snapshot

_SECOND: Final = 1_000_000_000
_PROMPT: Final = "prompts/get"
_KEYS: Final = (
    "name", "who", "grade", "unit", "label", "ancestors", "host_version", "cwd", "session", "seen", "at",
    "server", "tool", "method", "target", "args", "expect", "rule",
)  # fmt: skip
_GRADES: Final = {grade.name: grade for grade in Grade}
_SESSION: Final = {word: word for word in ("local", "remote", "locked", "unlocked")}
VERDICTS: Final = {"allow": Verdict.ALLOW, "ask": Verdict.ASK, "deny": Verdict.DENY}


class Trial(msgspec.Struct, frozen=True):
    """A request, who makes it, and under which circumstances.

    Attributes:
        server: The server's name.
        tool: The tool; empty if it is another method.
        method: One of `rules.GATED_METHODS`; empty if it is a tool.
        target: The URI in normal form, the prompt, or what is completed.
        args: Arguments of the tool or prompt, else the params; None: whatever they are.
        who: Principals of the caller besides `any`.
        grade: How much the evidence is worth.
        unit: Its systemd unit.
        label: Its security label.
        ancestors: Programs above it.
        host_version: Its version.
        cwd: Where it has started the server.
        session: What is true of its login session.
        seen: Labels that it has seen.
        at: Unix time.
        name: What the case is called.
        expect: The verdict that is expected; None if any is.
        rule: The rule that is expected to decide; empty if any is.
        line: Where the case stands, from 1.
    """

    server: str
    tool: str = ""
    method: str = ""
    target: str = ""
    args: JsonObject | None = None
    who: tuple[str, ...] = ()
    grade: Grade = Grade.G0
    unit: str = ""
    label: str = ""
    ancestors: tuple[str, ...] = ()
    host_version: str = ""
    cwd: str = ""
    session: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    at: float = 0.0
    name: str = ""
    expect: Verdict | None = None
    rule: str = ""
    line: int = 0

    @property
    def caller(self) -> Caller:
        """Who makes the request."""
        return Caller(
            principals=(ANYBODY, *self.who),
            grade=self.grade,
            unit=self.unit,
            label=self.label,
            ancestors=("", *self.ancestors),
            release=self.host_version,
            cwd=self.cwd,
        )


class World(msgspec.Struct, frozen=True):
    """What is the same for all trials.

    Attributes:
        home: What `~` stands for.
        resolve: Leads paths to where they lead; see `circumstances.Surroundings`.
        tools: What manifests say of tools, by server.
        projects: The policies of trusted folders that a folder is in.
    """

    home: str = ""
    resolve: Callable[[str], str | None] = unresolved
    tools: Mapping[str, Mapping[str, ToolFacts]] = {}
    projects: Callable[[str], Iterable[RuleSet]] = lambda _folder: ()


def explained(ruleset: RuleSet, trial: Trial, world: World, *, whatever: bool = False) -> Explanation:
    """What the policy says of a trial. `whatever`: of its name alone, whatever the request and the moment are."""
    around = Surroundings(
        home=world.home, cwd=trial.cwd, resolve=world.resolve, tools=world.tools.get(trial.server, {})
    )
    name, asked = trial.tool or trial.method, None if whatever else _asked(trial)
    decider: Snapshot | CedarPolicy | Narrowed = compile_policy(ruleset, trial.server, trial.caller, around)
    answer = decider.explain(name, asked)
    for project in world.projects(trial.cwd):
        decider = narrow(decider, project, trial.caller, around, ruleset.labels)
        answer = _both(answer, decider.explain(name, asked))
    return answer


def _asked(trial: Trial) -> Asked:
    circumstances = Circumstances(offset=int(trial.at * _SECOND))
    circumstances.session = frozenset(trial.session)
    circumstances.saw(trial.seen, 0)
    return Asked(_value(trial), circumstances, 0, target=trial.target)


def _both(outer: Explanation, project: Explanation) -> Explanation:
    """What the rules of both say; the decision is that of both."""
    return Explanation(
        project.decision,
        (*outer.matching, *project.matching),
        (*outer.missed, *project.missed),
        (*outer.silent, *project.silent),
    )


def failing(trial: Trial, answer: Explanation) -> str:
    """Why a trial fails, as a sentence; empty if it is as expected."""
    decision = answer.decision
    if trial.expect is not None and decision.verdict is not trial.expect:
        word = decision.verdict.name.lower()
        return f"expected {trial.expect.name.lower()}, found {word}: {decision.reason} ({decision.origin})"
    if trial.rule and decision.rule != trial.rule:
        return f"expected rule {trial.rule}, found rule {decision.rule} ({decision.origin})"
    return ""


def _value(trial: Trial) -> Json:
    args = trial.args or {}
    if trial.method == _PROMPT:
        return {"name": trial.target, "arguments": args}
    return args


# --- the file -----------------------------------------------------------------------------------------------


def parse_trials(data: bytes, file: str, now: float) -> list[Trial]:
    """Read a file of cases; `now`: Unix time of those that name none.

    Raises:
        ConfigError: It is not one; file, line and key.
    """
    if len(data) > limits.POLICY_BYTES:
        raise ConfigError(f"expected at most {limits.POLICY_BYTES} bytes, found more", file=file)
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected TOML: {error}", file=file) from error
    return _Cases(file, text).trials(document, now)


class _Cases(Reader):
    """Turns the decoded document into trials."""

    def trials(self, document: JsonObject, now: float) -> list[Trial]:
        self.known(document, (), ("case", "version"))
        cases = document.get("case", [])
        if not isinstance(cases, list) or not cases:
            raise self.missing((), "case", "[[case]]")
        return [self._trial(table, ("case", index), now) for index, table in enumerate(cases)]

    def _trial(self, value: Json, path: Path, now: float) -> Trial:
        table = self.table(value, path, "write [[case]]")
        self.known(table, path, _KEYS)
        for key in ("server", "expect"):
            if key not in table:
                raise self.missing(
                    path, key, "the server's name" if key == "server" else "allow, ask or deny"
                )
        tool, method = self._word(table, path, "tool"), self._word(table, path, "method")
        if bool(tool) is bool(method):
            raise self.missing(path, "tool", "a tool, or a method and not both")
        if method and method not in GATED_METHODS:
            raise self.fault((*path, "method"), f"expected a gated method, found {found(method)}")
        return Trial(
            server=self._word(table, path, "server"),
            tool=tool,
            method=method,
            target=self._word(table, path, "target"),
            args=self.table(table.get("args", {}), (*path, "args")),
            who=self.optional(table, path, "who", self._who, ()),
            grade=self.choice(table, path, "grade", _GRADES) if "grade" in table else Grade.G0,
            unit=self._word(table, path, "unit"),
            label=self._word(table, path, "label"),
            ancestors=self.optional(table, path, "ancestors", self._texts, ()),
            host_version=self._word(table, path, "host_version"),
            cwd=self._word(table, path, "cwd"),
            session=self.optional(table, path, "session", self._session, ()),
            seen=self.optional(table, path, "seen", self._texts, ()),
            at=self.optional(table, path, "at", self._moment, now),
            name=self._word(table, path, "name") or f"case {path[1]}",
            expect=self.choice(table, path, "expect", VERDICTS),
            rule=self._word(table, path, "rule"),
            line=self.line(path),
        )

    def _word(self, table: JsonObject, path: Path, key: str) -> str:
        return self.optional(table, path, key, self._any_text, "")

    def _any_text(self, value: Json, path: Path) -> str:
        return self.text(value, path, "text", limits.TARGET_CHARS)

    def _texts(self, value: Json, path: Path) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else self.list(value, path, "texts", '["a"]')
        return tuple(self._any_text(item, (*path, index)) for index, item in enumerate(items))

    def _who(self, value: Json, path: Path) -> tuple[str, ...]:
        return tuple(principal for name in self._texts(value, path) if (principal := principal_of(name)))

    def _session(self, value: Json, path: Path) -> tuple[str, ...]:
        words = self._texts(value, path)
        return tuple(self.word(word, (*path, index), _SESSION) for index, word in enumerate(words))

    def _moment(self, value: Json, path: Path) -> float:
        try:
            return unix_of(value)
        except ValueError as error:
            message = f"expected a time with its zone, 2026-11-22T10:00:00+01:00, found {found(value)}"
            raise self.fault(path, message) from error


def principal_of(name: str) -> str:
    """The principal that a person means: that of an enrolled host by its name; empty for `any`."""
    if name == ANYBODY:
        return ""
    return name if ":" in name or not is_name(name) else HOST + name


def unix_of(value: object) -> float:
    """Unix time of a moment that a person wrote, with its zone.

    Raises:
        ValueError: It is none, or has no zone.
    """
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, dt.datetime) or moment.tzinfo is None:
        raise ValueError("no moment with a zone")
    return moment.timestamp()
