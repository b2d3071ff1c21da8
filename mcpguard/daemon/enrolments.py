"""The enrolled hosts of this daemon: who is recognised, and what the command line asks of the list.

Rule: the file says who is enrolled, at every question. Nothing is remembered here, so that a list which was restored
by hand counts from then on, and a damaged one refuses from then on.

Not here: sockets, and who may ask (`daemon.control`); what the kernel said (`daemon.callers`).
"""

from __future__ import annotations

import msgspec

from mcpguard.errors import TrustError
from mcpguard.identity import enrolment
from mcpguard.identity.enrolment import Enrolled, Recognition
from mcpguard.identity.facts import Appraisal, HostFacts
from mcpguard.model import Json, JsonObject
from mcpguard.system.hostsfile import HostsFile


class Enrolments:
    """The list in `store`. Every method raises TrustError if it cannot be relied on."""

    def __init__(self, store: HostsFile) -> None:
        self._store = store

    def concerns(self, facts: HostFacts) -> bool:
        """Whether the host is where an enrolled one is, so that its digests are worth taking."""
        return any(enrolment.concerns(facts, host) for host in self._store.load())

    def recognise(self, facts: HostFacts, on_update: str) -> Recognition:
        """The enrolled host that these facts are of. A change that policy lets pass is written down.

        Order: digests were taken, if `concerns` said that they matter.
        """
        hosts = self._store.load()
        found = enrolment.recognise_among(facts, hosts, on_update)
        if found.updated is not None:
            self._store.save(_with(hosts, found.updated))
        return found

    def trust(self, text: str, name: str) -> JsonObject:
        """Enrol the host that `text` describes (`identity.enrolment.encode_one`), or enrol it again.

        Raises:
            TrustError: The text is not an enrolment of that name, or the program is enrolled by another one.
        """
        new = enrolment.decode_one(text)
        if new.name != name:
            raise TrustError(f"the enrolment is of {new.name}, not of {name[:64]!a}")
        hosts = self._store.load()
        for host in hosts:
            if host.name != name and host.same_program(new):
                raise TrustError(
                    f"this program is enrolled as {host.name}",
                    hint=f"mcpguard host trust {host.name}, or first: mcpguard host forget {host.name}",
                )
        old = next((host for host in hosts if host.name == name), None)
        if old is not None:
            new = enrolment.succeed(old, new)
        self._store.save(_with(hosts, new))
        return {"host": msgspec.to_builtins(new)}

    def forget(self, name: str) -> JsonObject:
        """Take a host off the list; the connections that it has keep what they were given.

        Raises:
            TrustError: There is no such host.
        """
        hosts = self._store.load()
        kept = [host for host in hosts if host.name != name]
        if len(kept) == len(hosts):
            raise TrustError(f"no host is enrolled as {name[:64]!a}", hint="mcpguard host list")
        self._store.save(kept)
        return {"forgotten": name}

    def described(self) -> list[JsonObject]:
        """Every enrolled host, by name, as JSON."""
        return [msgspec.to_builtins(host) for host in self._store.load()]


def connected(
    ident: str, server: str, facts: HostFacts, appraisal: Appraisal, recognition: Recognition
) -> JsonObject:
    """What `hosts` says of the host of one connection.

    Args:
        ident: Id of the connection.
        server: Name of the server that it uses.
        facts: What the kernel said; with digests, or the host cannot be enrolled.
        appraisal: What that is worth.
        recognition: As which enrolled host it was recognised.
    """
    told: JsonObject = _plain(msgspec.to_builtins(facts))
    return {
        "id": ident,
        "server": server,
        "pid": facts.pid,
        "grade": appraisal.grade.name,
        "reasons": list(appraisal.reasons),
        "host": recognition.name,
        "sentence": recognition.sentence,
        "facts": told,
    }


def _with(hosts: tuple[Enrolled, ...], new: Enrolled) -> list[Enrolled]:
    return [*(host for host in hosts if host.name != new.name), new]


def _plain(value: Json) -> Json:
    """JSON without lone surrogates, which paths that are not UTF-8 have; they become escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
