"""Rules as values: what a policy file says once it has been read and found right.

Nothing here decides; `snapshot` does. Values are frozen and shared by all connections.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.model import Action, Grade, JsonObject, Mode, Verdict
from mcpguard.policy.match import Pattern

GATED_METHODS: Final = frozenset(
    {
        "completion/complete",
        "elicitation/create",
        "logging/setLevel",
        "notifications/message",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
    }
)
"""The methods that `methods` of a rule speaks of. `tools/call` is not among them: tools are judged by name.

The resource URIs of a `subscriptions/listen` are gated as `resources/subscribe`, over and above the listen.
The two of logging pass unless a rule denies them, and so do those of tasks, which follow the call that made the task.
Source: MCP schema, revisions 2024-11-05 to 2026-07-28.
"""

ANYBODY: Final = "any"
"""The principal that everybody has."""

HOST: Final = "host:"
"""What the principal of an enrolled host begins with; its name follows."""

ROLE: Final = "role:"
"""What stands for all principals of a role begins with; its name follows."""

GROUP: Final = "group:"
"""What the principal of a group of the operating system begins with; its name follows."""

CREDENTIALS: Final = ("spiffe://", "cert:", "key:", "jwt:", "claim:")
"""What principals of peers beyond stdio begin with, the narrowest kind first; what their credential says follows."""

ASK: Final = "ask"
ALLOW_SAME_OWNER: Final = "allow_same_owner"
"""What `on_update` says of an enrolled host whose executable changed: a person looks at it first, or it is enough
that the file has the same owner as before."""


PER: Final = ("principal", "server", "tool")
"""What a meter can count apart."""

TOML: Final = "toml"
CEDAR: Final = "cedar"
"""What decides: rules of this language, or Cedar policies."""

ARGUMENTS: Final = "arguments"
"""What `record` of a rule keeps beside the digest of arguments."""

PRESENCE: Final = "presence"
"""What `confirm` of a rule that asks can demand of whoever answers."""


class Argument(msgspec.Struct, frozen=True):
    """What a rule says of one argument; all of it must hold.

    Attributes:
        name: As written in the file: the name of an argument, or a JSON Pointer (RFC 6901) into the arguments, in
            which `*` stands for every element of a list or member of an object. The empty pointer is all arguments.
        schema: JSON Schema keywords (draft 2020-12), None if there are none.
        under: Directories, as written: `~/src`, `/srv`, `{cwd}`. The argument is a path at or below one of them.
        deny: Patterns over the path, in which `**` crosses `/` and `*` does not; none of them may match.
        hosts: Patterns over the host of a URL; `*.example.com` does not match `example.com`.
        optional: Whether the rule also speaks of a call without this argument.
        line: Where it stands, from 1.
    """

    name: str
    schema: JsonObject | None = None
    under: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    hosts: tuple[Pattern, ...] = ()
    optional: bool = False
    line: int = 0


class When(msgspec.Struct, frozen=True):
    """Under which circumstances a rule speaks; all that is given must hold.

    Attributes:
        hours: Half-open spans of minutes since midnight; one that ends before it begins crosses midnight.
        days: Days of the week, Monday is 0; of a span that crosses midnight, the day on which it begins.
        zone: IANA time zone of hours and days; empty for that of the machine.
        after: Labels of which the host must have seen one.
        after_not: Labels of which the host must have seen none.
        reads: Labels of which the tool must have one.
        sends: Likewise, of where it sends.
        session: Words that must all be true of the login session: `local`, `remote`, `locked`, `unlocked`.
        cwd: Directories at or below which the host started the server, as written.
        release: Comparisons of the host's version, `>=1.2`; all must hold.
        annotations: Members of the pinned annotations of the tool, and their values.
        risk: Patterns over what the manifest says of the tool.
    """

    hours: tuple[tuple[int, int], ...] = ()
    days: frozenset[int] = frozenset()
    zone: str = ""
    after: tuple[str, ...] = ()
    after_not: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    cwd: tuple[str, ...] = ()
    release: tuple[tuple[str, str], ...] = ()
    annotations: JsonObject = {}
    risk: tuple[Pattern, ...] = ()


class Limit(msgspec.Struct, frozen=True):
    """How much a rule lets pass.

    Attributes:
        count: So many requests.
        seconds: In this time; 0.0: at once; `model.DAY`: in one calendar day.
        per: What is counted apart, of `PER`.
    """

    count: int
    seconds: float
    per: tuple[str, ...] = PER


class Elicit(msgspec.Struct, frozen=True):
    """What a rule says of `elicitation/create`: modes, `form` or `url`, and patterns over hosts of pages."""

    modes: tuple[str, ...] = ("form", "url")
    hosts: tuple[Pattern, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """One `[[rule]]`.

    Attributes:
        id: Its name in records, refusals and explanations; unique in its file.
        who: Principals that it speaks of; one of them is enough. A host that is not recognised has no principal of
            its own, so a denial for a host reaches it only while it is.
        server: Patterns over server names; one of them is enough.
        tools: Patterns over tool names.
        methods: Patterns over `GATED_METHODS`.
        effect: ALLOW, ASK or DENY.
        durable: The record of a call is on stable storage before the call is forwarded.
        grade: Least evidence about the host. This and the next three stand on rules that allow: a denial that
            asks for evidence would be escaped by having less.
        unit: Patterns over the host's systemd unit; one of them is enough, none given asks for nothing.
        label: Patterns over the security label that the system enforces on the host; likewise.
        ancestor_not: Patterns over paths, or last components of paths, of executables; the rule does not speak of
            a host that has an ancestor which one of them describes.
        recheck: The host is looked at again before each such call.
        record: `ARGUMENTS`: those of a call are kept with its record; or nothing.
        line: Where it begins in its file, from 1.
        file: The file's name for people; empty for that of the whole policy.
        resources: Patterns over normalised URIs, in which `**` crosses `/` and `*` does not.
        prompts: Patterns over prompt names.
        completions: Patterns over `prompt NAME` and `resource URI`.
        sampling: Whether it speaks of `sampling/createMessage`.
        elicitation: What it says of `elicitation/create`; None if it does not speak of it.
        roots: Whether it speaks of `roots/list`.
        logging: Whether it speaks of `logging/setLevel` and of log notifications.
        tasks: Whether it speaks of the methods of tasks.
        extensions: Patterns over names of extensions, in the capabilities of either side.
        args: What it says of arguments, of a tool or of a prompt.
        when: Under which circumstances it speaks; None for all.
        limits: Rate, concurrency and budget. On rules that allow or ask: beyond them the rule denies.
        result_bytes: Longest result that may pass; 0 for no bound of its own.
        confirm: `PRESENCE`, or nothing. On rules that ask.
        answers: Ids of rules that ask and need not, where this rule allows: an approval for good.
        secrets: Names of secrets whose handles in arguments of tools are replaced by their values, where this rule
            allows, or asks and a person says yes.
        cedar: A Cedar policy as Cedar's JSON, if it is one; then nothing of the above says what it speaks of.
    """

    id: str
    effect: Verdict
    who: tuple[str, ...] = (ANYBODY,)
    server: tuple[Pattern, ...] = ()
    tools: tuple[Pattern, ...] = ()
    methods: tuple[Pattern, ...] = ()
    durable: bool = False
    grade: Grade = Grade.G0
    unit: tuple[Pattern, ...] = ()
    label: tuple[Pattern, ...] = ()
    ancestor_not: tuple[Pattern, ...] = ()
    recheck: bool = False
    line: int = 0
    file: str = ""
    resources: tuple[Pattern, ...] = ()
    prompts: tuple[Pattern, ...] = ()
    completions: tuple[Pattern, ...] = ()
    sampling: bool = False
    elicitation: Elicit | None = None
    roots: bool = False
    logging: bool = False
    tasks: bool = False
    extensions: tuple[Pattern, ...] = ()
    args: tuple[Argument, ...] = ()
    when: When | None = None
    limits: tuple[Limit, ...] = ()
    result_bytes: int = 0
    confirm: str = ""
    answers: tuple[str, ...] = ()
    record: str = ""
    secrets: tuple[str, ...] = ()
    cedar: str = ""

    def same_as(self, other: Rule) -> bool:
        """Whether both say the same, wherever they stand."""
        return _unplaced(self) == _unplaced(other)


def _unplaced(rule: Rule) -> Rule:
    args = tuple(msgspec.structs.replace(argument, line=0) for argument in rule.args)
    return msgspec.structs.replace(rule, line=0, file="", args=args)


class Labelled(msgspec.Struct, frozen=True):
    """One `[[label]]`: what tools read and where they send, as policy says; it adds to what their manifest says.

    Attributes:
        server: Patterns over server names.
        tools: Patterns over tool names.
        reads: Labels of what their answers carry.
        sends: Labels of where they send what they are given.
        line: Where it begins, from 1.
    """

    server: tuple[Pattern, ...]
    tools: tuple[Pattern, ...]
    reads: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    line: int = 0


class Approving(msgspec.Struct, frozen=True):
    """`[approvals]`: how people are asked.

    Attributes:
        timeout: Seconds until a question that nobody answers is a denial.
        elicitation: Principals that may be asked in band, through their own host; none by itself.
        notify: Whether desktop notifications are shown where that is possible.
        presence: Ways to show presence, of `polkit`, `fido2`, `passphrase`; the first that is set up is used.
    """

    timeout: float = 120.0
    elicitation: tuple[str, ...] = ()
    notify: bool = True
    presence: tuple[str, ...] = ("polkit", "fido2", "passphrase")


class Restarting(msgspec.Struct, frozen=True):
    """`[restart]`: which servers are started again when they crash, so that their hosts keep the connection.

    Attributes:
        servers: Patterns over server names; none by itself.
        times: At most so often for one connection.
        seconds: In this time.
    """

    servers: tuple[Pattern, ...] = ()
    times: int = 3
    seconds: float = 600.0


class RuleSet(msgspec.Struct, frozen=True):
    """A whole policy, valid; made by `document.parse`.

    Attributes:
        file: The name that people know it by; shown in explanations, never opened.
        digest: The first 16 hexadecimal digits of the SHA-256 of its bytes.
        mode: Whether verdicts bind.
        neutralise: Whether text of servers is stripped of characters that people cannot see.
        rules: In the order of the file, which has no meaning.
        unpinned: Whether a server that no manifest describes may run while verdicts bind.
        on_update: `ASK` or `ALLOW_SAME_OWNER`.
        recheck: Each host is looked at again after so many seconds; 0.0 for never.
        roles: Name to the principals in it, nested roles taken apart.
        labels: What policy says that tools read and send.
        approving: How people are asked.
        restarting: What becomes of servers that crash.
        zone: IANA time zone of rules that name none; empty for that of the machine.
        schemas: Whether arguments and results are held against the pinned schemas.
        record: Whether rules may have arguments recorded; without it only digests are, whatever rules say.
        final: Keys at the top of a system policy that a user's policy may not set otherwise; `rule` among them
            means that rules of a user only narrow.
        given: Keys at the top that the file sets, and on which line.
        findings: What follows from findings, by kind (`model.FINDING_KINDS`); those not named are recorded.
        engine: `TOML`, or `CEDAR`: then the rules are Cedar policies (`cedartext`).
    """

    file: str
    digest: str
    mode: Mode
    neutralise: bool
    rules: tuple[Rule, ...] = ()
    unpinned: bool = False
    on_update: str = ASK
    recheck: float = 0.0
    roles: dict[str, tuple[str, ...]] = {}
    labels: tuple[Labelled, ...] = ()
    approving: Approving = Approving()
    restarting: Restarting = Restarting()
    zone: str = ""
    schemas: bool = True
    record: bool = True
    final: tuple[str, ...] = ()
    given: dict[str, int] = {}
    engine: str = TOML
    findings: dict[str, Action] = {}
