"""An approval for good: one rule more in the policy file, shown first, and put in force like any other change.

Rule 1: the file that was applied is the file that is added to, as it was applied; one that was edited since is a
change that nobody has looked at.
Rule 2: what was shown is what is written, and what is written is what is applied; if it is not applied, the file is
as it was.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.approvals.always import rule_for, with_rule
from mcpguard.cli import client
from mcpguard.errors import ConfigError, GuardError
from mcpguard.model import JsonObject, visible
from mcpguard.policy.changes import describe
from mcpguard.policy.document import digest, parse
from mcpguard.policy.rules import CEDAR
from mcpguard.system import paths
from mcpguard.system.policystore import PolicyStore

_NEW: Final = ".mcpguard-new"


class Addition(msgspec.Struct, frozen=True):
    """A rule that would be added.

    Attributes:
        file: The policy file, links followed.
        source: The name that the policy was applied under.
        old: Its bytes.
        rule: The text of the rule.
        changes: What applying it changes, in words.
    """

    file: Path
    source: str
    old: bytes
    rule: str
    changes: list[str]

    @property
    def new(self) -> bytes:
        """The bytes of the file with the rule."""
        return with_rule(self.old.decode(), self.rule).encode()

    def lines(self) -> list[str]:
        """What a person reads before agreeing; every character visible."""
        added = [f"+ {line}" for line in self.rule.splitlines()]
        changes = [f"  {visible(line)}" for line in self.changes]
        return [f"for good: this rule is added to {visible(self.source)}", *added, *changes]


def addition(ticket: JsonObject) -> Addition:
    """The rule that would let this call, and no other, through from now on.

    Raises:
        ApprovalError: No rule describes it.
        ConfigError: The policy in force is not in a file that a rule can be added to.
    """
    current = PolicyStore(paths.policy_dir()).current()
    if current is None:
        raise ConfigError("no policy is applied", file="policy", hint="mcpguard policy apply FILE")
    applied, ruleset = current
    if ruleset.engine == CEDAR:
        message = 'no rule can be added where engine = "cedar" decides; its policies are yours to write'
        raise ConfigError(message, file=applied.source, key="engine", hint="approve without --always")
    rule = rule_for(ticket, {rule.id for rule in ruleset.rules})
    file = Path(applied.source)
    try:
        old = file.read_bytes() if file.is_absolute() and file.stat().st_size <= limits.POLICY_BYTES else b""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"the policy that was applied cannot be read: {reason}", file=applied.source
        ) from error
    if digest(old) != applied.digest:
        raise ConfigError(
            "it is not what was applied", file=applied.source, hint=f"mcpguard policy apply {applied.source}"
        )
    new = parse(with_rule(old.decode(), rule).encode(), applied.source)
    return Addition(file.resolve(), applied.source, old, rule, describe(ruleset, new))


def add(plan: Addition) -> None:
    """Write the rule into the file and put it in force.

    Raises:
        GuardError: It was not put in force, and the file is as it was.
    """
    try:
        if plan.file.read_bytes() != plan.old:
            raise ConfigError("it was edited in the meantime; no rule was added", file=plan.source)
        _replace(plan.file, plan.new)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"no rule was added: {reason}", file=plan.source) from error
    try:
        client.request({"verb": "policy-apply", "source": plan.source, "text": plan.new.decode()})
    except GuardError:
        with contextlib.suppress(OSError):  # the reason why it was not applied is what has to be told
            _replace(plan.file, plan.old)
        raise


def _replace(file: Path, data: bytes) -> None:
    """Replace a file of the user's: the old bytes or the new ones, with the old mode."""
    mode = stat.S_IMODE(file.stat().st_mode)
    new = file.with_name(file.name + _NEW)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 (a descriptor, not a path)
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise
