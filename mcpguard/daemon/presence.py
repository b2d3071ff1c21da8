"""How an approver shows to be a person: by a passphrase, a touch of a security key, or what the system asks (polkit).

Rule 1: a challenge is for one ticket, for one answer, and for a short time.
Rule 2: wrong passphrases cost more time each time.
Rule 3: who changes the ways has to use one of them, if there is any.

What it is worth: a program of the same user that reads the person's keyboard learns a passphrase. It cannot touch a
key, nor answer the system's own window.

Not here: where the passphrase is typed (`cli.presence`).

Source: RFC 7914 (scrypt).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mcpguard import limits
from mcpguard.daemon import touch
from mcpguard.daemon.control import Caller, Personal, PresenceWanted
from mcpguard.daemon.polkit import Polkit
from mcpguard.errors import PeerError
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system import paths
from mcpguard.system.kernel import Kernel
from mcpguard.system.memoryfile import MemoryFile
from mcpguard.system.processes import Process

WAYS: Final = ("polkit", "fido2", "passphrase")
CHANGE: Final = "presence"
"""What a challenge is for that is for no ticket: a change of the ways themselves."""
_COST: Final = 2**15
_FREE: Final = 3
"""So many wrong passphrases cost nothing."""
_LONGEST: Final = 300.0


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shows presence.

    Attributes:
        challenge: The challenge that it answers.
        way: One of `WAYS`.
        passphrase: For that way.
        response: For `fido2`, the answer of the key (WebAuthn, JSON form).
    """

    challenge: str
    way: str
    passphrase: str = ""
    response: JsonObject = {}


class Presence:
    """The ways that are set up.

    Args:
        file: Where they are kept.
        accepted: The ways that policy accepts, in its order.
        polkit: The system's authority.
        changed: Told of a change of the ways, in words of the record.
    """

    def __init__(
        self,
        file: MemoryFile,
        accepted: Callable[[], tuple[str, ...]],
        polkit: Polkit,
        changed: Callable[[str, str], None],
    ) -> None:
        self._file = file
        self._accepted = accepted
        self._polkit = polkit
        self._changed = changed
        self._challenges: dict[str, tuple[str, float]] = {}
        self._wrong = 0
        self._closed_until = 0.0
        self._checks: dict[str, Callable[[Proof, Caller], Awaitable[str]]] = {
            "polkit": self._by_polkit,
            "fido2": self._by_touch,
            "passphrase": self._by_passphrase,
        }

    def methods(self) -> list[str]:
        """The ways that are set up and accepted, best first."""
        there = self._there()
        return [way for way in self._accepted() if way in there]

    def challenge(self, ticket: str) -> str:
        """What is to be answered for one ticket, as JSON: `challenge` (hex) and the ids of enrolled `keys`."""
        while len(self._challenges) >= limits.CHALLENGES:
            del self._challenges[next(iter(self._challenges))]
        fresh = secrets.token_hex(32)
        self._challenges[fresh] = ticket, time.monotonic() + limits.CHALLENGE_SECONDS
        keys = [touch.credential_id(kept) for kept in self._keys().values()]
        return json.dumps({"challenge": fresh, "keys": keys})

    async def check(self, ticket: str, proof: str, caller: Caller) -> str:
        """How presence was shown.

        Raises:
            PeerError: It was not: by which way it was tried, and what to do.
        """
        given = _proof(proof)
        meant, expires = self._challenges.pop(given.challenge, ("", 0.0))
        if meant != ticket or time.monotonic() > expires:
            raise PeerError("the question about presence is over", hint="answer it again")
        if given.way not in self.methods():
            raise PeerError(
                f"presence cannot be shown by {given.way[:20]!a} here", hint="mcpguard presence list"
            )
        return await self._checks[given.way](given, caller)

    async def require(self, request: Request, caller: Caller) -> None:
        """Have whoever asks show presence, in a way other than polkit, if one is set up.

        Raises:
            PresenceWanted: Nothing was shown yet.
            PeerError: It was not shown.
        """
        await self._require(request, caller)

    def changing(self) -> dict[str, Personal]:
        """Verbs that change the ways."""
        return {"presence-begin": self.begin, "presence-put": self.put, "presence-remove": self.remove}

    # --- verbs ---------------------------------------------------------------------------------------------

    def described(self, _request: Request) -> JsonObject:
        """The ways, and the names of security keys."""
        there = self._there()
        ways = {way: way in there for way in WAYS}
        return {"ways": ways, "accepted": list(self._accepted()), "keys": sorted(self._keys())}

    async def begin(self, request: Request, caller: Caller) -> JsonObject:
        """A challenge for a key that is to be enrolled, once whoever asks has shown presence."""
        await self._require(request, caller)
        return {"challenge": self.challenge(CHANGE)}

    async def put(self, request: Request, caller: Caller) -> JsonObject:
        """Set up a way: `name` is `passphrase` and `text` that, or `fido2` with a name in `source` and the answer."""
        if request.name == "passphrase":
            await self._require(request, caller)
            await self._keep_passphrase(request.text)
        elif request.name == "fido2":
            self._keep_key(request.source, _proof(request.text))
        else:
            raise PeerError(f"there is no way {request.name[:20]!a}", hint="passphrase or fido2")
        self._changed("presence-set", request.name)
        return self.described(request)

    async def remove(self, request: Request, caller: Caller) -> JsonObject:
        """Give up a way, or the security key that is called `source`."""
        await self._require(request, caller)
        memory = self._file.load()
        kept = memory.get("fido2", {}) if request.name == "fido2" else memory
        what = request.source if request.name == "fido2" else request.name
        if request.name not in WAYS or kept.pop(what, None) is None:
            raise PeerError(f"{(what or request.name)[:40]!a} is not set up", hint="mcpguard presence list")
        self._file.save(memory)
        self._changed("presence-removed", request.name)
        return self.described(request)

    async def _require(self, request: Request, caller: Caller) -> None:
        """Have whoever changes the ways use one of them, if there is any."""
        ways: list[str] = [way for way in WAYS if way in self._there() and way != "polkit"]
        if not ways:
            return
        if not request.proof:
            raise PresenceWanted(ways, self.challenge(CHANGE))
        given = _proof(request.proof)
        meant, expires = self._challenges.pop(given.challenge, ("", 0.0))
        if meant != CHANGE or time.monotonic() > expires or given.way not in ways:
            raise PeerError("the question about presence is over", hint="try again")
        await self._checks[given.way](given, caller)

    # --- the ways ------------------------------------------------------------------------------------------

    def _there(self) -> set[str]:
        memory = self._file.load()
        there = {"passphrase"} if memory.get("passphrase") else set()
        if memory.get("fido2") and touch.available():
            there.add("fido2")
        return there | ({"polkit"} if self._polkit.available() else set())

    def _keys(self) -> dict[str, str]:
        keys: dict[str, str] = self._file.load().get("fido2", {}) if touch.available() else {}
        return keys

    async def _by_passphrase(self, proof: Proof, _caller: Caller) -> str:
        left = self._closed_until - time.monotonic()
        if left > 0:
            raise PeerError("too many wrong passphrases", hint=f"try again in {left:.0f} s")
        kept = self._file.load().get("passphrase", {})
        given = proof.passphrase.encode("utf-8", "surrogatepass")
        expected = base64.b64decode(kept["hash"])
        found = await asyncio.to_thread(_hashed, given, base64.b64decode(kept["salt"]), kept["cost"])
        if hmac.compare_digest(found, expected):
            self._wrong = 0
            return "passphrase"
        self._wrong += 1
        if self._wrong >= _FREE:
            self._closed_until = time.monotonic() + min(_LONGEST, 2.0 ** (self._wrong - _FREE + 1))
        raise PeerError("the passphrase is wrong", hint="try again")

    async def _by_touch(self, proof: Proof, _caller: Caller) -> str:
        name = touch.touched(proof.response, bytes.fromhex(proof.challenge), self._keys())
        return f"fido2 {name}"

    async def _by_polkit(self, _proof: Proof, caller: Caller) -> str:
        process = Process.find(Kernel(), caller.pid)
        if process is None:
            raise PeerError("the caller is gone")
        try:
            start = process.stated().start
        except OSError as error:
            raise PeerError("the kernel does not say who the caller is") from error
        finally:
            process.close()
        await self._polkit.authorise(caller.pid, start, caller.uid)
        return "polkit"

    async def _keep_passphrase(self, text: str) -> None:
        given = text.encode("utf-8", "surrogatepass")
        if not 0 < len(given) <= limits.PASSPHRASE_BYTES:
            raise PeerError(f"expected a passphrase of 1 to {limits.PASSPHRASE_BYTES} bytes")
        salt = secrets.token_bytes(16)
        found = await asyncio.to_thread(_hashed, given, salt, _COST)
        kept = {
            "salt": base64.b64encode(salt).decode(),
            "hash": base64.b64encode(found).decode(),
            "cost": _COST,
        }
        self._file.save({**self._file.load(), "passphrase": kept})

    def _keep_key(self, name: str, given: Proof) -> None:
        """Enrol a key: the challenge that it answers was given to somebody who had shown presence (`begin`)."""
        meant, expires = self._challenges.pop(given.challenge, ("", 0.0))
        if meant != CHANGE or time.monotonic() > expires:
            raise PeerError("the question about presence is over", hint="try again")
        if not name or len(name) > limits.NAME_CHARS:
            raise PeerError(
                "expected a name for the security key", hint="mcpguard presence set fido2 --name NAME"
            )
        memory = self._file.load()
        keys = memory.setdefault("fido2", {})
        if len(keys) >= limits.TOUCH_KEYS:
            raise PeerError(
                f"{len(keys)} security keys are enrolled, no more fit", hint="mcpguard presence remove"
            )
        keys[name] = touch.enrolled(given.response, bytes.fromhex(given.challenge))
        self._file.save(memory)


def presence_file() -> MemoryFile:
    """Where the ways of this user are kept."""
    return MemoryFile(
        paths.presence_dir(), "presence.json", "how you show presence", "set it up again, and remove it: rm"
    )


def _proof(text: str) -> Proof:
    try:
        return msgspec.json.decode(text, type=Proof)
    except (ValueError, RecursionError) as error:
        raise PeerError("what shows presence cannot be read", hint="answer it again") from error


def _hashed(passphrase: bytes, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(passphrase)
