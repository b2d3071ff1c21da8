"""The policy file: bytes in, a `RuleSet` or one sentence that says what is wrong and where.

Rule 1: whatever the bytes are, the answer is a valid `RuleSet` or a `ConfigError`.
Rule 2: nothing is overlooked: a key or a value that is not understood is an error, never a default.
Rule 3: a message says what was expected, what was found, and on which line.

Three kinds of files share the language. A user's may say everything but `final`. The system's may say `final`, too. A
project's holds rules that deny or ask, roles and labels, and nothing else: it narrows.

Not here: reading the file (`system.policystore`, `cli.policy`), what the rules mean (`snapshot`), putting several
files together (`layers`).

Decided:
    *Keys read by hand* instead of `msgspec.convert`, because its messages know neither lines nor near misses;
    rejected: tomlkit for the positions, a second reading of the text that may differ from the first.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import FINDING_KINDS, Action, Json, JsonObject, Mode, Verdict
from mcpguard.policy.cedartext import policies
from mcpguard.policy.lines import DEPTH, Path, scan
from mcpguard.policy.reading import Reader, found, is_name
from mcpguard.policy.roles import cycle, flattened
from mcpguard.policy.rulekeys import RuleReader
from mcpguard.policy.rules import ALLOW_SAME_OWNER, ASK, CEDAR, TOML, Approving, Restarting, Rule, RuleSet

Choice = TypeVar("Choice")

__all__ = ["VERSION", "digest", "is_name", "parse", "parse_project", "parse_system"]

VERSION: Final = 1
"""The version of the file format that is read here."""

KEYS: Final = (
    "version", "mode", "text", "rule", "unpinned", "on_update", "recheck", "zone", "schemas", "engine", "cedar",
    "roles", "approvals", "label", "restart", "record", "findings",
)  # fmt: skip
_PROJECT_KEYS: Final = ("version", "rule", "roles", "label", "zone", "findings")
FINAL_KEYS: Final = (
    "mode", "text", "unpinned", "on_update", "recheck", "zone", "schemas", "approvals", "rule", "restart", "record",
    "findings",
)  # fmt: skip
"""What a system policy may keep users from setting otherwise."""
_MODES: Final = {"enforce": Mode.ENFORCE, "observe": Mode.OBSERVE}
_TEXTS: Final = {"neutralise": True, "as-is": False}
_UNPINNED: Final = {"refuse": False, "allow": True}
_SCHEMAS: Final = {"check": True, "ignore": False}
_RECORD: Final = {"rules": True, "digests": False}
_ENGINES: Final = {word: word for word in (TOML, CEDAR)}
_ON_UPDATE: Final = {word: word for word in (ASK, ALLOW_SAME_OWNER)}
_PRESENCE: Final = {word: word for word in ("polkit", "fido2", "passphrase")}
_ACTIONS: Final = {action.name.lower(): action for action in Action}
_FINAL: Final = {word: word for word in FINAL_KEYS}
_PACKED: Final = msgspec.msgpack.Decoder(RuleSet)
_LONGEST_WAIT: Final = 3600.0
_LINE: Final = re.compile(r" \(at line (\d+), (column \d+)\)$")


def parse(data: bytes, file: str) -> RuleSet:
    """Read a policy; `file` is the name that errors and explanations show.

    Raises:
        ConfigError: The bytes are not a policy of this version. The first fault found is named.
    """
    return _parsed(data, file, KEYS)


def parse_system(data: bytes, file: str) -> RuleSet:
    """Read a policy of the system, which may say what is `final`.

    Raises:
        ConfigError: As for `parse`.
    """
    return _parsed(data, file, (*KEYS, "final"))


def parse_project(data: bytes, file: str) -> RuleSet:
    """Read the policy of a project's folder, which narrows.

    Raises:
        ConfigError: As for `parse`; also if it would allow something.
    """
    return _parsed(data, file, _PROJECT_KEYS)


def _parsed(data: bytes, file: str, keys: tuple[str, ...]) -> RuleSet:
    return _PACKED.decode(_packed(data, file, keys))


def _packed(data: bytes, file: str, keys: tuple[str, ...]) -> bytes:
    """The rules as one piece: what reading them took is gone before they are made anew, side by side.

    Otherwise a daemon keeps, between its rules, three times as much in pages that it cannot give back.
    """
    text = _text(data, file)
    places = _places(text, file)
    return msgspec.msgpack.encode(
        _Document(file, text, keys).ruleset(_toml(text, file), places, digest(data))
    )


def digest(data: bytes) -> str:
    """The name of a policy by its content: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _text(data: bytes, file: str) -> str:
    if len(data) > limits.POLICY_BYTES:
        raise ConfigError(f"expected at most {limits.POLICY_BYTES} bytes, found more", file=file)
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(
            "expected plain UTF-8, found a byte order mark", file=file, line=1, hint="save it without one"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"expected UTF-8, found byte 0x{data[error.start]:02x} at offset {error.start}",
            file=file,
            line=data.count(b"\n", 0, error.start) + 1,
        ) from error
    if not text.strip():
        raise ConfigError(
            "expected a policy, found an empty file",
            file=file,
            hint='begin with version = 1, mode = "observe"',
        )
    return text


def _places(text: str, file: str) -> dict[Path, int]:
    """The line on which each key at the top begins, and each rule."""
    found: dict[Path, int] = {}
    for path, line in scan(text):
        if len(path) > DEPTH:
            raise ConfigError(f"expected at most {DEPTH} levels, found more", file=file, line=line)
        if len(path) == 1 or (len(path) == 2 and path[0] == "rule" and isinstance(path[1], int)):
            found.setdefault(path, line)
    return found


def _toml(text: str, file: str) -> JsonObject:
    """Order: `_places` has refused what is too deep for `tomllib`, which recurses."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and what int() and datetime say of absurd numbers
        message = str(error)
        place = _LINE.search(message)
        last = text.rstrip().count("\n") + 1 if "end of document" in message else 0
        line = int(place[1]) if place else last
        what = f"{message[: place.start()]} at {place[2]}" if place else message
        raise ConfigError(f"expected TOML: {what[:1].lower()}{what[1:]}", file=file, line=line) from error


class _Document(Reader):
    """Turns the decoded document into a value; `keys` are those that this kind of file may have."""

    def __init__(self, file: str, text: str, keys: tuple[str, ...]) -> None:
        super().__init__(file, text)
        self._source = text
        self._keys = keys

    def ruleset(self, document: JsonObject, places: Mapping[Path, int], name: str) -> RuleSet:
        """The whole document; `places` are lines, `name` is its digest."""
        self._version(document)
        self.known(document, (), self._keys)
        none: dict[str, tuple[str, ...]] = {}
        roles = self.optional(document, (), "roles", self._roles, none)
        rules = RuleReader(self.file, self._source, roles)
        mode = self._mode(document)
        engine = self._word(document, "engine", _ENGINES, default=TOML)
        self._one_engine(document, engine)
        lines = {path[1]: line for path, line in places.items() if len(path) > 1 and isinstance(path[1], int)}
        ruleset = RuleSet(
            file=self.file,
            digest=name,
            mode=mode,
            neutralise=self._word(document, "text", _TEXTS, default=mode is Mode.ENFORCE),
            rules=self._cedar(document, places)
            if engine == CEDAR
            else rules.rules(document.get("rule", []), lines),
            unpinned=self._word(document, "unpinned", _UNPINNED, default=False),
            on_update=self._word(document, "on_update", _ON_UPDATE, default=ASK),
            recheck=self.optional(document, (), "recheck", self.duration, 0.0),
            roles=flattened(roles),
            labels=rules.labels(document.get("label", [])),
            approving=self._approving(document, rules),
            restarting=self._restarting(document),
            zone=self.optional(document, (), "zone", rules.zone, ""),
            schemas=self._word(document, "schemas", _SCHEMAS, default=mode is Mode.ENFORCE),
            record=self._word(document, "record", _RECORD, default=True),
            findings=self.optional(document, (), "findings", self._findings, {}),
            final=self.optional(document, (), "final", self._final, ()),
            given={key: places.get((key,), 0) for key in document},
            engine=engine,
        )
        if "mode" not in self._keys:
            self._narrows(ruleset)
        return ruleset

    def _version(self, document: JsonObject) -> None:
        if "version" not in document:
            raise self.missing((), "version", f"version = {VERSION}")
        version = document["version"]
        if type(version) is not int or version != VERSION:
            raise self.fault(
                ("version",), f"expected {VERSION}, the only version read here, found {found(version)}"
            )

    def _mode(self, document: JsonObject) -> Mode:
        """The mode; a project's file binds as the policy does that it narrows."""
        return self.choice(document, (), "mode", _MODES) if "mode" in self._keys else Mode.ENFORCE

    def _word(
        self, document: JsonObject, key: str, choices: Mapping[str, Choice], *, default: Choice
    ) -> Choice:
        return self.choice(document, (), key, choices) if key in document else default

    def _narrows(self, ruleset: RuleSet) -> None:
        for index, rule in enumerate(ruleset.rules):
            if rule.effect is Verdict.ALLOW:
                message = 'expected "deny" or "ask", found "allow": the policy of a project narrows'
                raise self.fault(("rule", index, "effect"), message, "allow it in your own policy")
            if rule.secrets:
                message = "expected no secrets, found some: the policy of a project gives nothing away"
                raise self.fault(("rule", index, "secrets"), message, "say it in your own policy")
            if rule.record:
                message = (
                    "expected no record, found one: the policy of a project does not say what is recorded"
                )
                raise self.fault(("rule", index, "record"), message, "say it in your own policy")

    def _roles(self, value: Json, path: Path) -> dict[str, tuple[str, ...]]:
        table = self.table(value, path, 'write [roles] and below it coding = ["host:claude-code"]')
        if len(table) > limits.ROLES:
            raise self.fault(path, f"expected at most {limits.ROLES} roles, found {len(table)}")
        for name in table:
            self.name(name, (*path, name))
        reader = RuleReader(self.file, self._source, dict.fromkeys(table, ()))
        roles = {name: reader.who(members, (*path, name)) for name, members in table.items()}
        if around := cycle(roles):
            shown = " -> ".join(around)
            raise self.fault(
                (*path, around[0]), f"expected roles that end, found that they hold each other: {shown}"
            )
        return roles

    def _approving(self, document: JsonObject, rules: RuleReader) -> Approving:
        if "approvals" not in document:
            return Approving()
        path: Path = ("approvals",)
        table = self.table(document["approvals"], path, "write [approvals]")
        self.known(table, path, ("timeout", "elicitation", "notify", "presence"))
        return Approving(
            timeout=self.optional(table, path, "timeout", self._timeout, Approving().timeout),
            elicitation=self.optional(table, path, "elicitation", rules.who, ()),
            notify=self.optional(table, path, "notify", self.flag, default=True),
            presence=self.optional(table, path, "presence", self._presence, Approving().presence),
        )

    def _restarting(self, document: JsonObject) -> Restarting:
        if "restart" not in document:
            return Restarting()
        path: Path = ("restart",)
        table = self.table(document["restart"], path, 'write [restart] and below it servers = ["files"]')
        self.known(table, path, ("servers", "times", "within"))
        if "servers" not in table:
            raise self.missing(path, "servers", 'patterns over names: servers = ["files"]')
        return Restarting(
            servers=self.patterns(table["servers"], (*path, "servers")),
            times=self.optional(table, path, "times", self._times, Restarting().times),
            seconds=self.optional(table, path, "within", self.duration, Restarting().seconds),
        )

    def _times(self, value: Json, path: Path) -> int:
        return self.number(value, path, limits.RESTARTS)

    def _timeout(self, value: Json, path: Path) -> float:
        seconds = self.duration(value, path)
        if seconds > _LONGEST_WAIT:
            raise self.fault(path, f"expected at most 1h, found {found(value)}")
        return seconds

    def _presence(self, value: Json, path: Path) -> tuple[str, ...]:
        items = self.list(value, path, "ways", '["passphrase"]')
        return tuple(
            dict.fromkeys(self.word(item, (*path, index), _PRESENCE) for index, item in enumerate(items))
        )

    def _findings(self, value: Json, path: Path) -> dict[str, Action]:
        """What follows from findings. A project's file speaks of its own connections, so it holds nobody else up."""
        table = self.table(value, path, 'write [findings] and below it definition-drift = "quarantine"')
        self.known(table, path, FINDING_KINDS)
        found = {kind: self.word(word, (*path, kind), _ACTIONS) for kind, word in table.items()}
        for kind, action in found.items():
            if "mode" not in self._keys and action in (Action.ASK, Action.QUARANTINE):
                word = action.name.lower()
                message = f'expected "notify" or "end", found "{word}", which reaches beyond the folder'
                raise self.fault((*path, kind), message, "say it in your own policy")
        return found

    def _final(self, value: Json, path: Path) -> tuple[str, ...]:
        items = self.list(value, path, "keys", '["mode"]')
        return tuple(
            dict.fromkeys(self.word(item, (*path, index), _FINAL) for index, item in enumerate(items))
        )

    def _one_engine(self, document: JsonObject, engine: str) -> None:
        if engine != CEDAR:
            if "cedar" in document:
                raise self.fault(("cedar",), 'expected engine = "cedar" beside it')
            return
        if "rule" in document:
            raise self.fault(("rule",), 'expected no rules beside engine = "cedar", which decides by its own')
        if "cedar" not in document:
            raise self.missing((), "cedar", "Cedar policies")

    def _cedar(self, document: JsonObject, places: Mapping[Path, int]) -> tuple[Rule, ...]:
        text = self.text(document["cedar"], ("cedar",), "Cedar policies", limits.CEDAR_CHARS)
        first = places.get(("cedar",), 0)
        source = self._source.replace("\r\n", "\n")
        begins = -1
        if first:
            key = sum(len(line) + 1 for line in source.split("\n")[: first - 1])
            begins = source.find(text, key)

        def line_of(offset: int) -> int:
            """Where a text with escapes in it has its lines is not known: then it is the line of the key."""
            return first if begins < 0 else source.count("\n", 0, begins + offset) + 1

        return policies(text, self.file, line_of)
