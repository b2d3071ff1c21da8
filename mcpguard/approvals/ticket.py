"""Values of approvals: what is asked, what was answered, what that permits.

Times are nanoseconds of a monotonic clock that the caller reads.
"""

from __future__ import annotations

import enum

import msgspec

from mcpguard.model import Json, JsonObject


class Binding(msgspec.Struct, frozen=True):
    """What an approval is for. It is good for nothing that differs in any of this.

    Attributes:
        instance: The run of the host (`model.Caller.instance`).
        server: The server's name.
        manifest: Digest of the server's manifest; empty if it has none.
        method: `tools/call`, or another method.
        target: The tool, prompt or URI.
        definition: Digest of the pinned definition of a tool; empty if none is pinned.
        arguments: SHA-256 of the canonical form (RFC 8785) of the arguments, hexadecimal.
        policy: Digest of the policy that asks.
    """

    instance: str
    server: str
    manifest: str
    method: str
    target: str
    definition: str
    arguments: str
    policy: str


class Question(msgspec.Struct, frozen=True):
    """What a gate asks a person.

    Attributes:
        binding: What the answer will be for.
        conn: Short name of the connection that asks.
        host: Evidence of who is calling, as records have it.
        rule: The rule that asks.
        origin: `file:line` of it.
        reason: One sentence: why it asks.
        confirm: `presence`, or nothing.
        arguments: The decoded arguments, as people are shown them: without secrets.
        timeout: Seconds until silence is a denial.
    """

    binding: Binding
    conn: str
    host: JsonObject
    rule: str
    origin: str
    reason: str
    confirm: str
    arguments: Json
    timeout: float


class State(enum.Enum):
    """Of a ticket: it waits, or how it ended."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    VOID = "void"


class Scope(enum.Enum):
    """How far a yes goes: one call, identical calls for a time, or identical calls as long as the host runs."""

    ONCE = "once"
    FOR = "for"
    SESSION = "session"


class Ticket(msgspec.Struct):
    """A question that waits for a person.

    Attributes:
        ident: What a person types; unique in the life of a daemon.
        question: What is asked.
        asked: When.
        expires: From then on it is denied.
        waiting: Calls that wait for it now; 0: the host gave up, and an answer lets one identical retry through.
        times: How often the identical call was made while it is open.
        state: Whether it waits.
        before: Arguments of the last call of this tool that went through; None if there was none.
        by: Who answered.
        reason: Why, in the words of whoever answered, or of the guard.
        settled: When it ended; 0 while it waits, and if it is void.
        scope: How far a yes went; None if there was none.
    """

    ident: str
    question: Question
    asked: int
    expires: int
    waiting: int = 1
    times: int = 1
    state: State = State.OPEN
    before: Json = None
    by: str = ""
    reason: str = ""
    settled: int = 0
    scope: Scope | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a person said.

    Attributes:
        granted: Yes or no.
        by: Who, and by what channel: `uid 1000 (pid 4711)`, `desktop notification`, `elicitation`.
        reason: Why not, for the host to read.
        scope: How far a yes goes.
        seconds: For `Scope.FOR`.
        presence: How presence was shown; empty if it was not.
    """

    granted: bool
    by: str
    reason: str = ""
    scope: Scope = Scope.ONCE
    seconds: float = 0.0
    presence: str = ""


class Grant(msgspec.Struct):
    """What a yes permits.

    Attributes:
        ticket: The ticket it comes from.
        binding: What it is for.
        expires: From then on it is nothing.
        count: Calls left; -1 for any number until it expires.
        by: Who gave it.
        presence: How presence was shown; empty if it was not, and then it covers no call that wants it.
    """

    ticket: str
    binding: Binding
    expires: int
    count: int
    by: str
    presence: str = ""
