"""OCSF: every type of record is valid for the published schema, and nothing of it is lost."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from mcpguard.audit.event import event_of, unsent
from mcpguard.audit.ocsf import VERSION, ocsf
from tests.audit.exported import lines

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "ocsf" / "classes.json").read_text())
VALIDATORS: dict[str, Any] = {
    uid: jsonschema_rs.validator_for({**each["schema"], "$defs": PUBLISHED["$defs"]})
    for uid, each in PUBLISHED["classes"].items()
}


def faults(found: dict[str, Any]) -> list[str]:
    errors = VALIDATORS[str(found["class_uid"])].iter_errors(json.loads(json.dumps(found)))
    return [f"{error.instance_path}: {error.message}" for error in errors]


@pytest.mark.parametrize("hostname", ["", "box"])
@pytest.mark.parametrize("odd", ["\x1b[31m|=\u2028\n", "", "x" * 500])
def test_every_record_is_valid(odd: str, hostname: str) -> None:
    classes = set()
    for line in lines(odd):
        found = ocsf(event_of(line), hostname)
        assert faults(found) == [], found
        assert found["metadata"]["profiles"] == PUBLISHED["classes"][str(found["class_uid"])]["profiles"]
        classes.add(found["class_uid"])
    assert {str(each) for each in classes} == PUBLISHED["classes"].keys()


def test_what_was_not_sent_is_valid() -> None:
    found = ocsf(unsent("siem", 1, 9, 2, "2026-11-22T18:00:00.000000Z"))
    assert faults(found) == []
    assert found["unmapped"]["mcpguard"]["lost"] == 9


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.pop("actor"),
        lambda found: found["metadata"].pop("version"),
        lambda found: found.update(no_such_attribute=1),
        lambda found: found.update(time="now"),
        lambda found: found["api"].pop("operation"),
        lambda found: found["message_context"].pop("application") and found["message_context"].pop("service"),
        lambda found: found.update(severity_id=7),
    ],
)  # fmt: skip
def test_the_schema_would_find_a_mistake(spoil: Any) -> None:
    found = ocsf(event_of(lines()[0]))
    spoil(found)
    assert faults(found)


def test_nothing_of_a_record_is_lost() -> None:
    for line in lines()[:-2]:
        event = event_of(line)
        kept = ocsf(event)["unmapped"]["mcpguard"]
        assert kept == {
            "seq": event.record.seq,
            "prev": event.record.prev,
            "boot": event.record.boot,
            **event.body,
        }


@pytest.mark.parametrize(
    ("number", "uid", "activity", "action"),
    [(0, 6003, 99, 2), (1, 6003, 99, 3), (2, 6003, 2, 1), (3, 6003, 99, 99), (4, 6003, 99, 1)],
)  # fmt: skip
def test_decisions(number: int, uid: int, activity: int, action: int) -> None:
    found = ocsf(event_of(lines()[number]))
    assert (found["class_uid"], found["activity_id"], found["action_id"]) == (uid, activity, action)


def test_a_call_says_who_what_and_where() -> None:
    found = ocsf(event_of(lines("files")[0]), "box")
    assert found["metadata"]["version"] == VERSION == PUBLISHED["version"]
    assert found["actor"]["app_name"] == "claude"
    assert found["actor"]["process"]["file"]["hashes"][0]["value"] == "ab" * 32
    assert found["message_context"] == {
        "application": {"name": "claude"}, "service": {"name": "files"}, "ai_role_id": 3, "ai_role": "Tool",
    }  # fmt: skip
    assert (
        found["metadata"]["correlation_uid"]
        == ocsf(event_of(lines("files")[4]))["metadata"]["correlation_uid"]
    )
    assert found["firewall_rule"] == {"name": "files"}


def test_a_finding_names_its_technique() -> None:
    found = next(each for line in lines() if (each := ocsf(event_of(line))).get("remediation"))
    assert found["finding_info"]["attacks"][0]["technique"]["uid"] == "AML.T0053"
    assert found["finding_info"]["tags"] == [{"name": "owasp", "values": ["MCP03"]}]
    assert (found["severity"], found["is_alert"]) == ("Critical", True)
