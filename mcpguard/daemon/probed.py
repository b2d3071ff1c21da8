"""What a server said of itself when it was probed, in each era; and what of it a manifest can pin.

Rule: a definition is pinned only if it may be shown at all, has one name and one content, in every era. What is
left out is said (`findings`), never dropped silently.

Decided: *where the eras differ, the legacy definition is pinned*, because most hosts speak it; a host of the other
era then finds that tool withdrawn, and the finding says so beforehand. Rejected: two digests for one name, under
which a server could offer either to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest, looks_like
from mcpguard.identity.described import KINDS, Definitions
from mcpguard.model import Era, Json, JsonObject
from mcpguard.protocol.views import definition_fault


class Answers(msgspec.Struct, frozen=True):
    """What a server answered in one era.

    Attributes:
        era: Which.
        protocol: Revision that it chose.
        name: `serverInfo.name`.
        release: `serverInfo.version`.
        instructions: Empty if it gives none.
        capabilities: Names of those that it declared.
        lists: Entries of `tools`, `prompts`, `resources` and `resourceTemplates`, as received and in order.
        requests: Methods that it asked of its host meanwhile.
        findings: Sentences about what it did wrong.
    """

    era: Era
    protocol: str
    name: str
    release: str = ""
    instructions: str = ""
    capabilities: tuple[str, ...] = ()
    lists: dict[str, list[Json]] = {}
    requests: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


class Probed(msgspec.Struct, frozen=True):
    """What a server said of itself, over all eras that it speaks.

    Attributes:
        answers: One for each era in which it answered; never empty.
        silent: Why it did not in the others.
        definitions: What can be pinned.
        findings: Sentences: what is not pinned, where eras differ, what looks wrong.
    """

    answers: tuple[Answers, ...]
    silent: dict[str, str]
    definitions: Definitions
    findings: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the server calls itself; in the legacy era, if it speaks that."""
        return self.answers[0].name

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Those of all eras."""
        return tuple(sorted({name for answers in self.answers for name in answers.capabilities}))

    @property
    def requests(self) -> tuple[str, ...]:
        """Those of all eras."""
        return tuple(sorted({method for answers in self.answers for method in answers.requests}))


def merged(answers: Sequence[Answers], silent: dict[str, str]) -> Probed:
    """What can be pinned of what was answered. `answers` is not empty; the first wins where they differ."""
    findings = [finding for each in answers for finding in each.findings]
    tables: dict[str, dict[str, JsonObject]] = {}
    for kind in KINDS:
        table: dict[str, JsonObject] = {}
        for each in answers:
            findings += _take(table, kind, each)
        tables[kind] = table
        findings += _alike(kind, table)
    findings += _instructions_differ(answers)
    definitions = Definitions(
        tools=tables["tools"],
        prompts=tables["prompts"],
        resource_templates=tables["resourceTemplates"],
        instructions=next((each.instructions for each in answers if each.instructions), ""),
        resources=_resources(answers),
    )
    return Probed(tuple(answers), silent, definitions, tuple(dict.fromkeys(findings)))


def key_of(kind: str, entry: Json) -> str:
    """The name under which an entry is pinned; empty if it has none."""
    found = entry.get(_known_by(kind)) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else ""


def _take(table: dict[str, JsonObject], kind: str, answers: Answers) -> list[str]:
    """Add the entries of one era that can be pinned; sentences about the others."""
    findings: list[str] = []
    seen: set[str] = set()
    for entry in answers.lists.get(kind, []):
        name = key_of(kind, entry)
        what = f"{KINDS[kind]} {name!a}" if name else f"a {KINDS[kind]} without a name"
        fault = _fault(kind, name, entry)
        if fault:
            findings.append(f"{what} {fault}: it is not pinned, and will be withdrawn")
        elif name in seen:
            findings.append(f"{what} is there twice: the second is not pinned, and will be withdrawn")
        elif name in table and definition_digest(table[name]) != definition_digest(entry):
            findings.append(
                f"{what} is another one in the {answers.era.value} era: hosts of that era will find it withdrawn"
            )
        else:
            table[name] = entry
        seen.add(name)
    return findings


def _known_by(kind: str) -> str:
    return "uriTemplate" if kind == "resourceTemplates" else "name"


def _fault(kind: str, name: str, entry: Json) -> str:
    if fault := definition_fault(entry, _known_by(kind)):
        return fault
    if not name:
        return "cannot be named"
    try:
        definition_digest(entry)
    except TrustError as error:
        return f"cannot be pinned ({error.message})"
    return ""


def _alike(kind: str, table: dict[str, JsonObject]) -> list[str]:
    return [
        f"{KINDS[kind]} {name!a} is easily taken for {other!a}"
        for name in table
        if (other := looks_like(name, table)) and name < other
    ]


def _instructions_differ(answers: Sequence[Answers]) -> list[str]:
    given = {each.instructions for each in answers}
    if len(given) < 2:
        return []
    return [
        "the instructions differ between the eras: those of the first are pinned, the others will be withdrawn"
    ]


def _resources(answers: Sequence[Answers]) -> tuple[str, ...]:
    uris = (
        entry["uri"]
        for each in answers
        for entry in each.lists.get("resources", [])
        if isinstance(entry, dict) and not definition_fault(entry, "uri")
    )
    return tuple(sorted(set(uris)))
