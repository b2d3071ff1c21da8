"""Where the guard does not do what the corpus expects: the whole list, with reasons.

`today` says what it does instead, which the tests assert, so that an entry that has become untrue fails:
`pass` the input passes unchanged, `neutralised` it passes without control characters, `withdrawn` the one definition
is taken out of the list and the rest passes, `silenced` it passes without its instructions, `denied before` the call
that it is about was denied in the set-up.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Entry:
    """Why an input is not treated as expected, and what becomes of it."""

    today: str
    reason: str


_SCHEMAS = (
    "argument rules: they bring the validator that checks arguments and structured content against a schema"
)
_APPROVALS = "approvals: a call that waits for a person is withdrawn by its cancellation"
_RULES = "argument rules: a rule says under which directory a path must lie"

WAITING = {
    "tnm-029": Entry("pass", _RULES),
    "tnm-030": Entry("pass", _RULES),
    "cor-018": Entry("denied before", _APPROVALS),
    "mta-009": Entry("pass", _SCHEMAS),
    "cnt-033": Entry("pass", _SCHEMAS),
}
"""Inputs that only a feature to come can refuse."""

_WITHDRAWN = (
    "a bad definition is withdrawn from the list and recorded, so that one bad tool does not break a server"
)

DEVIATIONS = {
    **{
        name: Entry("withdrawn", _WITHDRAWN)
        for name in (
            "cnt-001", "cnt-003", "cnt-004", "cnt-006", "cnt-007", "cnt-008", "cnt-009", "cnt-010", "cnt-011",
            "cnt-012", "cnt-013", "cnt-014", "cnt-016", "cnt-018", "cnt-019", "cnt-020", "cnt-021", "cnt-022",
            "cnt-024", "res-009", "res-013", "res-014", "mta-022",
        )
    },
    "cor-031": Entry(
        "silenced",
        "instructions that are not the pinned ones are taken out and recorded; the handshake goes on without them",
    ),
    "cnt-042": Entry(
        "neutralised",
        "a secret in a log message passes: what is secret cannot be told from its shape, and a host reads its own logs",
    ),
}  # fmt: skip
"""Inputs of the groups whose limits a policy may relax that are deliberately treated otherwise."""
