"""mcpguard: a reference monitor between agent hosts and MCP servers.

The rooms, and what each may know (imports point down)::

    cli        verbs for people, and the shim that hosts start                      I/O
    daemon     the only asyncio: listener, admission, session, spawn, desks         I/O
    gate       the reference monitor: Gate.handle(event) -> [commands]              pure
    system     kernel and disk; each file one question                              I/O
    protocol   MCP on the wire: framing, strict JSON, methods by era                pure
    policy     rules in, decisions out                                              pure
    audit      records and their chain                                              pure
    identity   who calls: facts, grades, enrolled hosts; what runs: signatures,
               manifests, whose signatures count, digests of definitions           pure
    hosts      what is known of agent hosts; their configurations, edited by span   pure
    approvals  questions to people, what a yes is for, the words that are read      pure
    credentials  what of an environment a server may see, references to secrets     pure
    model      values that several rooms speak
    errors, limits

Decided:
    *No environment variable of a desktop session is consulted for the sockets* (system.paths), because hosts
    drop them; rejected: XDG_RUNTIME_DIR, which Codex and SDK hosts do not pass on.
    *A plain script instead of a console entry point* (scripts/mcpguard), because installers' wrappers import
    `re`; rejected: an entry point, twice the shim's own start-up cost.
"""

__version__ = "0.1.0"
