"""The API keys of this daemon: recognised when they are shown, made, rotated and revoked by people on admin.sock.

Rule 1. A key as text leaves once, in the reply to the person who made it; what is kept is its digest.
Rule 2. To make or rotate a key is recorded first: none counts that the log does not know. To revoke one holds first,
in memory and on the disk, and is recorded then.
Rule 3. While the file cannot be relied on, no key counts.

Not here: who may use these verbs (`daemon.control`: no host that is connected, nor what it has started).
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.audit import record
from mcpguard.credentials import apikey
from mcpguard.credentials.apikey import ApiKey, Secret
from mcpguard.daemon.control import Caller, Personal, Verb
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import DaemonError, PeerError, TrustError
from mcpguard.model import JsonObject
from mcpguard.policy.match import flaw as pattern_flaw
from mcpguard.protocol.control import Request
from mcpguard.system.apikeystore import KEYS, ApiKeyStore

_log: Final = logging.getLogger("mcpguard")
NOTE_SECONDS: Final = 60.0
"""How long a last use may be known in memory alone."""
KEPT_SECONDS: Final = 90 * 86_400.0
"""How long a revoked key is listed before another may take its room."""
OVERLAP_SECONDS: Final = 3600.0
LONGEST_SECONDS: Final = 10 * 366 * 86_400.0
PATTERNS: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LIST: Final = "mcpguard apikey list"


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for a key; `seconds` until it expires, 0.0 for never. The others are as in `ApiKey`."""

    seconds: float = 0.0
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    certificates: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


class ApiKeys:
    """The keys, for one daemon.

    Args:
        store: Their file.
        recorder: Where changes are recorded.
        clock: Unix seconds.
        revoked: Told the id of a key that no longer counts, or of which a secret does not, at once.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        recorder: Recorder,
        clock: Callable[[], float],
        revoked: Callable[[str], None] = lambda _ident: None,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self.revoked = revoked
        self._keys: dict[str, ApiKey] = {}
        self._fault: DaemonError | None = None
        self._used: dict[str, float] = {}
        self._noted = 0.0
        try:
            self._keys = {key.id: key for key in store.load()}
        except DaemonError as error:
            _log.error("%s", error.sentence())
            self._fault = error

    # --- what listeners ask --------------------------------------------------------------------------------

    def recognise(self, shown: str, uid: int | None, certificate: str, network: str) -> tuple[ApiKey, Secret]:
        """The key that was shown; it may be used. `certificate` is the SHA-256 of the one beside it, hex.

        Raises:
            PeerError: It is not known, or may not be used here and now.
        """
        now = self._clock()
        ident = apikey.parse(shown)
        self._require()
        key = self._keys.get(ident)
        secret = apikey.recognised(key, shown, now)
        if key is None:
            raise PeerError(apikey.UNKNOWN)
        apikey.require_usable(key, now, uid, certificate, network)
        self._used[ident] = now
        return key, secret

    def still(self, ident: str, digest: str) -> None:
        """A secret that was recognised before still counts; `digest` the first digits of what is kept of it.

        Raises:
            PeerError: It does not.
        """
        self._require()
        apikey.still(self._keys.get(ident), digest, self._clock())

    def ends(self, ident: str, digest: str) -> float:
        """Unix seconds from which such a secret no longer counts; 0.0 for never.

        Raises:
            PeerError: As `still`.
        """
        self.still(ident, digest)
        key = self._keys[ident]
        secret = next(each for each in key.secrets if each.digest.startswith(digest))
        return apikey.expiry(key, secret)

    def _require(self) -> None:
        if self._fault is not None:
            raise PeerError(self._fault.message, hint=self._fault.hint)

    def tick(self) -> None:
        """A second has gone by: last uses are written down now and then."""
        if self._used and self._clock() - self._noted >= NOTE_SECONDS:
            self.note()

    def note(self) -> None:
        """Write down when keys were used last."""
        self._noted = self._clock()
        used, self._used = self._used, {}
        if not used or self._fault is not None:
            return
        for ident, at in used.items():
            if key := self._keys.get(ident):
                self._keys[ident] = msgspec.structs.replace(key, used=at)
        try:
            self._store.save(tuple(self._keys.values()))
        except DaemonError as error:
            _log.warning("when API keys were used is not written down: %s", error.sentence())

    # --- verbs ---------------------------------------------------------------------------------------------

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"apikeys": lambda _request: {"keys": self.described()}}

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {"apikey-create": self._create, "apikey-rotate": self._rotate, "apikey-revoke": self._revoke}

    def described(self) -> list[JsonObject]:
        """The keys for people, the newest last: nothing by which one could be guessed or tried out."""
        if self._fault is not None:
            raise self._fault
        return [self._description(key) for key in sorted(self._keys.values(), key=lambda key: key.created)]

    def _description(self, key: ApiKey) -> JsonObject:
        now = self._clock()
        members = msgspec.to_builtins(key)
        del members["secrets"]
        old = [secret.until for secret in key.secrets[1:] if secret.until > now]
        state = "revoked" if key.revoked else "expired" if key.expires and now >= key.expires else "valid"
        return {
            **members,
            "used": self._used.get(key.id, key.used),
            "principal": key.principal,
            "state": state,
            "rotated": key.secrets[0].created if key.secrets[0].created > key.created else 0.0,
            "old_until": old[0] if old else 0.0,
        }

    def _create(self, request: Request, caller: Caller) -> JsonObject:
        if not _NAME.fullmatch(request.name):
            raise TrustError(
                "an API key is called by 1 to 64 of a-z 0-9 _ . - beginning with a letter or digit"
            )
        if any(key.name == request.name and not key.revoked for key in self._keys.values()):
            raise TrustError(
                f"there is an API key {request.name}", hint=f"mcpguard apikey rotate {request.name}"
            )
        wanted, now = _wanted(request), self._clock()
        ident = self._free()
        shown = apikey.write(ident, secrets.token_bytes(apikey.SECRET_BYTES))
        key = ApiKey(
            ident, request.name, (Secret(apikey.digest(shown), now),), now, caller.words,
            now + wanted.seconds if wanted.seconds else 0.0, 0.0,
            wanted.servers, wanted.tools, wanted.uids, wanted.certificates, wanted.networks,
        )  # fmt: skip
        if what := apikey.flaw(key):
            raise TrustError(f"no such key can be made: {what}", hint="mcpguard apikey create --help")
        self._record("created", key, caller, expires=key.expires, **_bounds(key))
        self._put(key)
        return {"key": shown, **self._description(key)}

    def _rotate(self, request: Request, caller: Caller) -> JsonObject:
        key, now = self._named(request.name), self._clock()
        if key.revoked:
            raise TrustError(f"the API key {key.id} is revoked", hint="mcpguard apikey create makes another")
        overlap = request.seconds
        if not 0 <= overlap <= LONGEST_SECONDS:
            raise TrustError("the overlap is not a time", hint="mcpguard apikey rotate --overlap 1h")
        shown = apikey.write(key.id, secrets.token_bytes(apikey.SECRET_BYTES))
        fresh = apikey.rotated(key, Secret(apikey.digest(shown), now), overlap)
        if seconds := _wanted(request).seconds:
            fresh = msgspec.structs.replace(fresh, expires=now + seconds)
        elif key.expires and now >= key.expires:
            raise TrustError(f"the API key {key.id} has expired", hint="say until when: --expires 90d")
        self._record("rotated", key, caller, overlap=overlap, expires=fresh.expires)
        self._put(fresh)
        self.revoked(key.id)
        return {"key": shown, **self._description(fresh)}

    def _revoke(self, request: Request, caller: Caller) -> JsonObject:
        key = self._named(request.name)
        if key.revoked:
            return self._description(key)
        gone = msgspec.structs.replace(key, revoked=self._clock())
        self._keys[key.id] = gone  # it holds from here on, whatever becomes of the file
        self.revoked(key.id)
        self._put(gone)
        self._record("revoked", key, caller, reason=request.reason[: record.TEXT_CHARS])
        return self._description(gone)

    def _named(self, name: str) -> ApiKey:
        if self._fault is not None:
            raise self._fault
        ident = name.removeprefix("key:")
        found = self._keys.get(ident) or next(
            (key for key in self._keys.values() if key.name == name and not key.revoked), None
        )
        if found is None:
            what = "said was a key itself" if apikey.is_key(name) else f"there is no API key {name[:80]!a}"
            raise TrustError(what, hint=_LIST)
        return found

    def _free(self) -> str:
        """An id that no key has; there is room for it."""
        if self._fault is not None:
            raise self._fault
        if len(self._keys) >= KEYS:
            old = self._clock() - KEPT_SECONDS
            for ident in [key.id for key in self._keys.values() if 0 < key.revoked < old]:
                del self._keys[ident]
        if len(self._keys) >= KEYS:
            raise TrustError(
                f"there are {KEYS} API keys, which is the most", hint="one for each program is enough"
            )
        while (ident := apikey.identifier(secrets.token_bytes(apikey.ID_BYTES))) in self._keys:
            continue
        return ident

    def _put(self, key: ApiKey) -> None:
        keys = {**self._keys, key.id: key}
        self._store.save(tuple(keys.values()))
        self._keys = keys

    def _record(self, event: str, key: ApiKey, caller: Caller, **members: object) -> None:
        body = record.credential(event, key.id, kind="apikey", called=key.name, by=caller.words, **members)
        self._recorder.append([body], durable=True)


def _bounds(key: ApiKey) -> JsonObject:
    names = ("servers", "tools", "uids", "certificates", "networks")
    return {name: list(value) for name in names if (value := getattr(key, name))}


def _wanted(request: Request) -> Wanted:
    """What the text of a request asks for.

    Raises:
        TrustError: It is not right.
    """
    if not request.text:
        return Wanted()
    try:
        wanted = msgspec.json.decode(request.text, type=Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrustError(f"not a request for an API key: {error}") from error
    if not 0 <= wanted.seconds <= LONGEST_SECONDS:
        raise TrustError("the time until it expires is not one", hint="--expires 90d")
    for name in ("servers", "tools", "uids", "certificates", "networks"):
        if len(getattr(wanted, name)) > PATTERNS:
            raise TrustError(f"expected at most {PATTERNS} {name}, found more")
    for each in (*wanted.servers, *wanted.tools):
        if what := pattern_flaw(each):
            raise TrustError(f"{each[:60]!a} is no pattern: expected {what}")
    return wanted
