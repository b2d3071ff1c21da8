"""What a manifest's digests are of, and what differed from it: kept beside a manifest so that a person can compare.

None of it is relied on: the gate compares with the manifest's digests. A definition is kept only if it has the digest
that is pinned; that many are missing is normal for a publisher's manifest, whose definitions nobody sent.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest, text_digest
from mcpguard.identity.manifest import Manifest
from mcpguard.identity.statement import parse_json
from mcpguard.model import Json, JsonObject

KINDS: Final = {"tools": "tool", "prompts": "prompt", "resourceTemplates": "resource template"}
"""Members of lists whose definitions are pinned, and what a person calls one of them."""

_T = TypeVar("_T", bound=msgspec.Struct)


class Definitions(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Definitions by name, for resource templates by URI template; instructions; URIs of resources."""

    tools: dict[str, JsonObject] = {}
    prompts: dict[str, JsonObject] = {}
    resource_templates: dict[str, JsonObject] = {}
    instructions: str = ""
    resources: tuple[str, ...] = ()

    def of(self, kind: str) -> dict[str, JsonObject]:
        """The definitions of a member of `KINDS`."""
        return {
            "tools": self.tools,
            "prompts": self.prompts,
            "resourceTemplates": self.resource_templates,
        }[kind]

    def digests(self, kind: str) -> dict[str, str]:
        """Name to digest.

        Raises:
            TrustError: One of them cannot be pinned.
        """
        return {name: definition_digest(entry) for name, entry in self.of(kind).items()}

    @property
    def instructions_digest(self) -> str:
        """Digest of the instructions; empty if there are none.

        Raises:
            TrustError: They cannot be pinned.
        """
        return text_digest(self.instructions) if self.instructions else ""


class Observation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition that a server gave and that is not what its manifest pins.

    Attributes:
        kind: A member of `KINDS`, `instructions` or `serverInfo`.
        name: Name, or URI template; empty for the other two.
        fault: What is wrong with it, as the end of a sentence.
        pinned: The pinned digest, for `serverInfo` the name; empty if nothing is pinned.
        seen: That of what was seen.
        definition: What the server said; None if it was too large to be kept.
    """

    kind: str
    name: str
    fault: str
    pinned: str = ""
    seen: str = ""
    definition: Json = None


class Observed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a server differed, as last seen."""

    seen: tuple[Observation, ...] = ()


def parse_definitions(data: bytes, manifest: Manifest) -> Definitions:
    """The definitions that belong to a manifest.

    Raises:
        TrustError: The text is too large, not theirs, or one of them is not what the manifest pins.
    """
    definitions = _parsed(data, Definitions, "the definitions")
    for kind, word in KINDS.items():
        pinned = pinned_table(manifest, kind)
        for name, digest in definitions.digests(kind).items():
            if pinned.get(name) != digest:
                raise TrustError(
                    f"the definition of {word} {name!a} is not the one that the manifest pins",
                    hint="probe the server again: mcpguard server trust NAME --probe",
                )
    if definitions.instructions and definitions.instructions_digest != manifest.instructions_sha256:
        raise TrustError(
            "the instructions are not those that the manifest pins",
            hint="probe the server again: mcpguard server trust NAME --probe",
        )
    return definitions


def encode_definitions(definitions: Definitions) -> bytes:
    """The text of definitions.

    Raises:
        TrustError: It is too large to be kept.
    """
    data = msgspec.json.encode(definitions, enc_hook=float)
    if len(data) > limits.DEFINITIONS_BYTES:
        raise _too_large("the definitions")
    return data


def pinned_table(manifest: Manifest, kind: str) -> dict[str, str]:
    """Name to pinned digest."""
    pins = manifest.pins()
    return {"tools": pins.tools, "prompts": pins.prompts, "resourceTemplates": pins.templates}[kind]


def parse_observed(data: bytes) -> Observed:
    """What differed.

    Raises:
        TrustError: The text is too large or not ours.
    """
    return _parsed(data, Observed, "the observed definitions")


def observe(before: Observed, now: tuple[Observation, ...], manifest: Manifest) -> Observed:
    """What differs, after further observations of the same server; those that the manifest pins are left out.

    The newest are kept. Definitions are left out of the oldest if all together are too large.
    """
    table: dict[tuple[str, str], Observation] = {}
    for each in (*before.seen, *now):
        table.pop((each.kind, each.name), None)  # so that the newest are last
        table[each.kind, each.name] = each
    kept: list[Observation] = []
    room = limits.OBSERVED_BYTES
    for each in reversed(list(table.values())[-limits.OBSERVED :]):
        if accepted(each, manifest):
            continue
        size = len(msgspec.json.encode(each.definition, enc_hook=float))
        room -= size
        kept.append(each if room >= 0 else msgspec.structs.replace(each, definition=None))
    return Observed(tuple(reversed(kept)))


def accepted(observation: Observation, manifest: Manifest) -> bool:
    """Whether it is what the manifest pins."""
    pins = manifest.pins()
    if observation.kind == "instructions":
        return observation.seen == pins.instructions
    if observation.kind == "serverInfo":
        return observation.seen == pins.server_name
    pinned = pinned_table(manifest, observation.kind).get(observation.name, "")
    return bool(pinned) and pinned == observation.seen


def _parsed(data: bytes, kind: type[_T], what: str) -> _T:
    if len(data) > limits.DEFINITIONS_BYTES:
        raise _too_large(what)
    try:
        return msgspec.convert(parse_json(data, what), kind)
    except msgspec.ValidationError as error:
        raise TrustError(f"{what} are not what was written: {error}") from error


def _too_large(what: str) -> TrustError:
    return TrustError(
        f"{what} are larger than {limits.DEFINITIONS_BYTES >> 20} MiB",
        hint="ask the publisher of the server for shorter definitions",
    )
