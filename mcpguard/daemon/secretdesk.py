"""What people ask of the daemon about secrets; every change is recorded, with the name and never the value.

Rule 1: nothing that a connected host has started may use a verb that changes something or shows a value
(`daemon.control`, `Verbs.approving`). A value is shown to put it back into a configuration only, and where a way to
show presence is set up, to a person who has.
Rule 2: values come and go as base64, so that no message about a request that cannot be read repeats one.

Decided: *rotation starts the servers again that hold the secret*, each once its calls are answered; rejected: leaving
them with the old value, which the one who rotates it has often made void already. *Removal ends them*.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets as random
from collections.abc import Mapping
from typing import Final

import msgspec

from mcpguard.audit import record, redact
from mcpguard.credentials.secretref import is_name, parse_ref
from mcpguard.daemon.control import Caller, Personal, Verb
from mcpguard.daemon.presence import Presence
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.secrets import Secrets, pieces
from mcpguard.daemon.session import Session
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import SecretError
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system import vaultkey
from mcpguard.system.secretplaces import usable
from mcpguard.system.vault import Binding, Facts

_VAULT: Final = "vault://"
IMPORT: Final = "import"
"""What it says where the same value under the same name is no fault."""
ROTATE: Final = "rotate"
"""What `source` of `secret-put` says for a new value of a secret that is there."""


class SecretDesk:
    """The verbs about secrets.

    Args:
        secrets: The secrets of this daemon.
        recorder: Where changes are recorded.
        sessions: The connections that are open now, by id.
        presence: How people show that they are there.
    """

    def __init__(
        self, secrets: Secrets, recorder: Recorder, sessions: Mapping[str, Session], presence: Presence
    ) -> None:
        self._secrets = secrets
        self._vault = secrets.vault
        self._recorder = recorder
        self._sessions = sessions
        self._presence = presence
        self._tasks: set[asyncio.Task[bool]] = set()

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing and show no value."""
        return {"secrets": self._described}

    def approving(self) -> dict[str, Personal]:
        """Verbs of people."""
        return {
            "secret-put": self._put,
            "secret-remove": self._remove,
            "secret-bind": self._bind,
            "secret-reveal": self._reveal,
            "secret-unlock": self._unlock,
            "secret-lock": self._lock,
            "secret-renew": self._renew,
            "secret-seal": self._seal,
        }

    def tick(self) -> None:
        """End connections whose secrets have expired. Asked now and then."""
        for ident, why in self._secrets.expired().items():
            if (session := self._sessions.get(ident)) is not None:
                ref = self._secrets.of(ident).refs
                self._recorder.later([record.secret("expired", ", ".join(ref), reason=why, connection=ident)])
                session.cut(why)

    # --- looking -------------------------------------------------------------------------------------------

    async def _described(self, request: Request) -> JsonObject:  # noqa: ARG002 (the signature of verbs)
        """Every secret without its value, how the vault is kept, and who holds what now."""
        facts = await asyncio.to_thread(self._vault.facts)
        now = self._secrets.clock()
        return {
            "vault": await asyncio.to_thread(self._state),
            "secrets": [self._told(name, fact, now) for name, fact in sorted(facts.items()) if is_name(name)],
            "own": sum(not is_name(name) for name in facts),
            "references": [
                {"ref": ref, "uses": use.count, "used": use.last, "servers": sorted(use.servers)}
                for ref, use in self._secrets.use.all().items() if not ref.startswith(_VAULT)
            ],
        }  # fmt: skip

    def _told(self, name: str, fact: Facts, now: float) -> JsonObject:
        use = self._secrets.use.of(f"{_VAULT}{name}")
        return {
            "name": name,
            "created": fact.created,
            "changed": fact.changed,
            "expires": fact.expires,
            "expired": 0 < fact.expires <= now,
            "uses": use.count,
            "used": use.last,
            "servers": sorted({*use.servers, *(one.server for one in fact.bindings)}),
            "bindings": [
                {
                    "server": one.server, "variable": one.variable, "file": one.file, "entry": list(one.entry),
                    "undo": one.undo, "argv": one.argv,
                }
                for one in fact.bindings
            ],
            "running": sorted(
                {self._sessions[ident].server for ident in self._holding(f"{_VAULT}{name}")}
            ),
        }  # fmt: skip

    def _state(self) -> JsonObject:
        if not self._vault.exists:
            found = vaultkey.ways()
            return {"state": "none", "key": found[0] if found else "passphrase"}
        _, how = self._vault.how()
        return {"state": "locked" if self._vault.locked else "open", "key": how.way}

    def _holding(self, ref: str) -> list[str]:
        return [ident for ident in self._secrets.holders(ref) if ident in self._sessions]

    # --- changing ------------------------------------------------------------------------------------------

    async def _put(self, request: Request, caller: Caller) -> JsonObject:
        """Keep a value: `name`, `text` in base64, `seconds` when it expires (Unix; 0: never), `source` `rotate`."""
        value = usable(_decoded(request.text), repr(request.name[:64]), variable=False)
        redact.current().learn(pieces([value]))
        rotates = request.source == ROTATE
        if not is_name(request.name):
            raise SecretError(
                "a secret has a name of 1 to 64 letters, digits, and _ . -", hint="choose another"
            )
        now = self._secrets.clock()
        if 0 < request.seconds <= now:
            raise SecretError("it would have expired already", hint="name a later time")
        made = await asyncio.to_thread(self._opened)
        if request.source == IMPORT and await asyncio.to_thread(self._same, request.name, value):
            return {"made": made, "restarting": []}
        await asyncio.to_thread(
            self._vault.put, request.name, value, request.seconds, now=now, new=not rotates
        )
        event = "rotated" if rotates else "set"
        if made:
            self._note("created", "vault", by=caller.words, key=made)
        self._note(event, f"{_VAULT}{request.name}", by=caller.words, expires=request.seconds)
        return {"made": made, "restarting": self._restart(f"{_VAULT}{request.name}") if rotates else []}

    def _same(self, name: str, value: bytes) -> bool:
        """Whether just this value is kept under the name already. Blocks."""
        return name in self._vault.facts() and hmac.compare_digest(self._vault.get(name), value)

    async def _remove(self, request: Request, caller: Caller) -> JsonObject:
        ref = f"{_VAULT}{request.name}"
        await asyncio.to_thread(self._opened)
        bound = (await asyncio.to_thread(self._vault.facts)).get(request.name, Facts(0.0, 0.0)).bindings
        await asyncio.to_thread(self._vault.delete, request.name)
        for undo in {one.undo for one in bound if one.undo}:
            await asyncio.to_thread(self._vault.delete, undo)
        self._note("removed", ref, by=caller.words)
        ended = []
        for ident in self._holding(ref):
            session = self._sessions[ident]
            session.cut(f"the secret {request.name!a} of its server was removed")
            ended.append(session.server)
        self._secrets.use.forget(ref)
        return {"ended": sorted(ended)}

    async def _bind(self, request: Request, caller: Caller) -> JsonObject:
        """Keep a secret for servers without a manifest: `text` is a list of bindings, and of texts to undo them by.

        What was bound to the same server, command and variable before gives way. `source` is `unbind` to take them
        away instead.
        """
        wanted = _bindings(request.text)
        await asyncio.to_thread(self._opened)
        facts = (await asyncio.to_thread(self._vault.facts)).get(request.name)
        if facts is None:
            raise SecretError(
                f"there is no secret {request.name!a}", hint=f"mcpguard secret set {request.name}"
            )
        ours = {_place(one.binding) for one in wanted}
        kept = [one for one in facts.bindings if _place(one) not in ours]
        now = self._secrets.clock()
        if request.source != "unbind":
            for one in wanted:
                if one.literal:
                    undo = _decoded(one.literal)
                    redact.current().learn(pieces([undo]))
                    await asyncio.to_thread(self._vault.put, one.binding.undo, undo, now=now)
            kept += [one.binding for one in wanted]
        await asyncio.to_thread(self._vault.bind, request.name, tuple(kept))
        there = {one.undo for one in kept}
        for gone in {one.undo for one in facts.bindings if one.undo} - there:
            await asyncio.to_thread(self._vault.delete, gone)
        event = "unbound" if request.source == "unbind" else "bound"
        servers: list[str] = sorted({one.binding.server for one in wanted})
        self._note(event, f"{_VAULT}{request.name}", by=caller.words, servers=servers)
        return {"bindings": len(kept)}

    async def _reveal(self, request: Request, caller: Caller) -> JsonObject:
        """What stood in a configuration before an import, by the name that its binding has for it."""
        facts = await asyncio.to_thread(self._vault.facts)
        owners = [
            name for name, fact in facts.items() if any(one.undo == request.name for one in fact.bindings)
        ]
        if is_name(request.name) or not owners:
            raise SecretError(
                "only what was imported from a configuration can be put back", hint="mcpguard secret list"
            )
        await self._presence.require(request, caller)
        await asyncio.to_thread(self._opened)
        value = await asyncio.to_thread(self._vault.get, request.name)
        self._note("revealed", f"{_VAULT}{owners[0]}", by=caller.words)
        return {"text": base64.b64encode(value).decode()}

    async def _seal(self, request: Request, caller: Caller) -> JsonObject:  # noqa: ARG002 (the signature of verbs)
        """Seal bytes for a file outside of the vault."""
        await asyncio.to_thread(self._opened)
        return {
            "text": base64.b64encode(
                await asyncio.to_thread(self._vault.seal, _decoded(request.text))
            ).decode()
        }

    async def _renew(self, request: Request, caller: Caller) -> JsonObject:
        """A secret that is kept elsewhere has changed: start again whoever holds it; `name` is the reference."""
        ref = parse_ref(request.name).told
        self._note("rotated", ref, by=caller.words)
        return {"restarting": self._restart(ref)}

    # --- the vault as a whole ------------------------------------------------------------------------------

    async def _unlock(self, request: Request, caller: Caller) -> JsonObject:
        """Open the vault, or make one, with the passphrase in `text` (base64) or with what needs none."""
        passphrase = _decoded(request.text).decode("utf-8", "surrogateescape")
        fresh = not await asyncio.to_thread(lambda: self._vault.exists)
        try:
            await asyncio.to_thread(self._open_with, passphrase)
        except SecretError as error:
            self._note("unlock-failed", "vault", by=caller.words, reason=error.message)
            raise
        self._note("created" if fresh else "unlocked", "vault", by=caller.words)
        return {"made": fresh}

    async def _lock(self, request: Request, caller: Caller) -> JsonObject:  # noqa: ARG002 (the signature of verbs)
        """Forget the key; servers that run keep what they have."""
        self._vault.lock()
        self._note("locked", "vault", by=caller.words)
        return {}

    def _open_with(self, passphrase: str) -> None:
        if self._vault.exists:
            ident, how = self._vault.how()
            self._vault.open(vaultkey.find(how, ident, passphrase))
            return
        self._create("passphrase" if passphrase else "", passphrase)

    def _opened(self) -> str:
        """Open the vault, or make one, without a person; the way of its key if it was made. Blocks."""
        if not self._vault.exists:
            return self._create("", "")
        self._secrets.unlock()
        return ""

    def _create(self, way: str, passphrase: str) -> str:
        found = vaultkey.ways()
        way = way or (found[0] if found else "")
        if not way:
            raise SecretError(
                "there is no vault yet, and neither a keyring nor a credential of the unit to keep its key",
                hint="make one with a passphrase, at a terminal of yours: mcpguard secret unlock",
            )
        ident = random.token_hex(8)
        how, key = vaultkey.make(way, ident, passphrase)
        self._vault.create(ident, how, key)
        return way

    # --- both ----------------------------------------------------------------------------------------------

    def _restart(self, ref: str) -> list[str]:
        """Have every server started again that holds a secret; their names."""
        found = []
        for ident in self._holding(ref):
            session = self._sessions[ident]
            task = spawn_task(session.renew(), name=f"rotation on {ident}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            found.append(session.server)
        return sorted(found)

    def _note(self, event: str, credential: str, **members: Json) -> None:
        self._recorder.append([record.secret(event, credential, **members)], durable=True)


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A binding, and what is written into its configuration to undo it, base64; empty if it has none."""

    binding: Binding
    literal: str = ""


def _place(binding: Binding) -> tuple[str, ...]:
    """What a newer binding takes the place of: that of the same variable in the same entry of the same file."""
    if binding.file:
        return binding.file, *binding.entry, binding.variable
    return binding.server, binding.argv, binding.variable


def _bindings(text: str) -> list[Bound]:
    try:
        wanted = msgspec.json.decode(text, type=list[Bound])
    except (ValueError, RecursionError):
        raise SecretError("the request to keep a secret for servers cannot be read") from None
    for one in wanted:
        if one.literal and not one.binding.undo.startswith("import/"):
            raise SecretError("what undoes an import is kept below import/")
    return wanted


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise SecretError("the request does not hold a value") from None
