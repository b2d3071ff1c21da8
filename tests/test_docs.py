"""What docs/ shows is true: every example of a policy is one, every example of cases is one."""

import re
from pathlib import Path

import pytest

from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.lint import notices
from mcpguard.policy.trials import parse_trials

PAGE = Path(__file__).parents[1] / "docs" / "policy.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_valid(text: str) -> None:
    if text.startswith("[[case]]"):
        assert parse_trials(text.encode(), "example", 0.0)
    elif text.startswith("# .mcpguard.toml"):
        assert parse_project(text.encode(), "example").rules
    else:
        ruleset = parse(text.encode(), "example")
        assert not [
            one.words for one in notices(ruleset) if "never" in one.words or "changes nothing" in one.words
        ]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8
