"""Questions for tests of approvals: everything about them is plain but what a test says."""

from typing import Any

from mcpguard.approvals.ticket import Answer, Binding, Question

SECOND = 1_000_000_000
YES = Answer(granted=True, by="uid 1000 (pid 4711)")
NO = Answer(granted=False, by="uid 1000 (pid 4711)", reason="not on a Sunday")
HOST = {
    "uid": 1000, "pid": 4711, "grade": "G2", "host": "claude-code", "exe": "/usr/bin/node",
}  # fmt: skip


def binding(arguments: str = "a", **others: str) -> Binding:
    """What an approval is for; `arguments` stands for their digest."""
    plain = {
        "instance": "4711@5", "server": "files", "manifest": "m", "method": "tools/call", "target": "write_file",
        "definition": "d", "policy": "p",
    }  # fmt: skip
    return Binding(**{**plain, **others}, arguments=arguments)


def question(
    bound: Binding | None = None,
    arguments: Any = None,
    *,
    timeout: float = 120.0,
    confirm: str = "",
    **others: Any,
) -> Question:
    """What a gate asks."""
    plain = {
        "conn": "c1", "host": HOST, "rule": "ask-writes", "origin": "policy.toml:7", "reason": "writing is asked about",
    }  # fmt: skip
    return Question(
        bound or binding(),
        confirm=confirm,
        arguments={"path": "/srv/a"} if arguments is None else arguments,
        timeout=timeout,
        **{**plain, **others},
    )
