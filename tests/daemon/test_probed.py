"""What of a server's answers can be pinned."""

from mcpguard.daemon.probed import Answers, key_of, merged
from mcpguard.model import Era

READ = {"name": "read_file", "inputSchema": {"type": "object"}}
WRITE = {"name": "write_file", "inputSchema": {"type": "object"}}
SAVED = {"name": "read_file", "description": "Another one.", "inputSchema": {"type": "object"}}


def answers(era=Era.LEGACY, instructions="", requests=(), findings=(), capabilities=("tools",), **lists):
    return Answers(era, "x", "acme", "1", instructions, capabilities, lists, requests, findings)


def test_what_both_eras_say_alike_is_pinned_once():
    probed = merged([answers(tools=[READ]), answers(Era.MODERN, tools=[READ, WRITE])], {})
    assert probed.definitions.tools == {"read_file": READ, "write_file": WRITE}
    assert probed.findings == ()


def test_era_that_differs_is_a_finding_and_the_first_is_pinned():
    probed = merged([answers(tools=[READ]), answers(Era.MODERN, tools=[SAVED])], {})
    assert probed.definitions.tools == {"read_file": READ}
    assert probed.findings == (
        "tool 'read_file' is another one in the modern era: hosts of that era will find it withdrawn",
    )


def test_duplicate_faulty_and_nameless_definitions_are_said_and_not_pinned():
    hidden = {"name": "read\u200bfile", "inputSchema": {"type": "object"}}
    lists = [READ, SAVED, hidden, {"inputSchema": {}}, "text", {**WRITE, "description": "\u202etxt"}]
    probed = merged([answers(tools=lists)], {})
    assert probed.definitions.tools == {"read_file": READ}
    assert len(probed.findings) == 5
    assert "there twice" in probed.findings[0]
    assert all("will be withdrawn" in finding for finding in probed.findings)
    assert all(finding.isascii() for finding in probed.findings)


def test_uri_beside_a_name_excuses_nothing():
    tool = {**READ, "name": " read_file", "uri": "a:b", "uriTemplate": "a:{b}"}
    probed = merged(
        [answers(tools=[tool], prompts=[tool], resourceTemplates=[{"uri": "a:b", "name": "x"}])], {}
    )
    assert (
        probed.definitions.tools == probed.definitions.prompts == probed.definitions.resource_templates == {}
    )
    assert ["not what it looks like" in finding for finding in probed.findings] == [True, True, False]
    assert "has no uriTemplate" in probed.findings[2]


def test_definition_too_large_to_pin_is_said():
    large = {**READ, "title": "x" * 300_000}
    probed = merged([answers(tools=[large])], {})
    assert probed.definitions.tools == {}
    assert "cannot be pinned" in probed.findings[0]


def test_look_alikes_are_pointed_out_once():
    other = {**READ, "name": "read-file"}
    probed = merged([answers(tools=[READ, other])], {})
    assert set(probed.definitions.tools) == {"read_file", "read-file"}
    assert probed.findings == ("tool 'read-file' is easily taken for 'read_file'",)


def test_templates_are_known_by_their_uri_template():
    template = {"name": "x", "uriTemplate": "file:///{path}"}
    probed = merged([answers(resourceTemplates=[template], prompts=[{"name": "p"}])], {})
    assert probed.definitions.resource_templates == {"file:///{path}": template}
    assert probed.definitions.prompts == {"p": {"name": "p"}}
    assert key_of("resourceTemplates", template) == "file:///{path}"
    assert key_of("tools", {"name": 5}) == key_of("tools", []) == ""


def test_resources_are_the_uris_of_all_eras():
    one, two = {"uri": "a:1", "name": "1"}, {"uri": "a:2", "name": "2"}
    probed = merged([answers(resources=[two, one]), answers(Era.MODERN, resources=[one, {"uri": 5}])], {})
    assert probed.definitions.resources == ("a:1", "a:2")


def test_instructions_of_the_first_are_pinned_and_a_difference_is_said():
    probed = merged([answers(instructions="one"), answers(Era.MODERN, instructions="two")], {})
    assert probed.definitions.instructions == "one"
    assert "differ between the eras" in probed.findings[0]


def test_name_capabilities_and_requests_are_those_of_all_eras():
    probed = merged(
        [
            answers(requests=("roots/list",)),
            answers(Era.MODERN, capabilities=("prompts",), findings=("odd",)),
        ],
        {},
    )
    assert (probed.name, probed.capabilities, probed.requests) == (
        "acme",
        ("prompts", "tools"),
        ("roots/list",),
    )
    assert probed.findings == ("odd",)
