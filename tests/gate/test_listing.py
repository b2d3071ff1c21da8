"""Lists through policy: order kept, pages chained by cursors of our own, deceptions withdrawn."""

import pytest

from mcpguard import limits
from mcpguard.gate.listing import Listing
from mcpguard.gate.pending import Chain
from mcpguard.model import Era, Side
from mcpguard.protocol.methods import REQUESTS
from tests.gate.playbook import POLICY, Playbook, Text, call, error, modern, request, result, snapshot

METHODS = {
    "tools": "tools/list",
    "resources": "resources/list",
    "resourceTemplates": "resources/templates/list",
    "prompts": "prompts/list",
}
SILENT = 'version = 1\nmode = "enforce"\n'


def tool(name, **others):
    return {"name": name, "inputSchema": {"type": "object"}, **others}


def listed(play, ident, number, method="tools/list", cursor=None, real=None):
    """The host lists; `number` is the id the server sees, `real` the cursor."""
    params = None if cursor is None else {"cursor": cursor}
    forwarded = None if cursor is None else {"cursor": real}
    return play.host(request(ident, method, params), to_server=[request(number, method, forwarded)])


def test_list_shows_what_may_be_used_in_the_order_of_the_server():
    play = listed(Playbook().opened(), 7, 2)
    names = ["read_b", "delete_all", "other_tool", "rm", "read_a"]
    play.server(
        result(2, {"tools": [tool(name, x=i) for i, name in enumerate(names)], "_meta": {"a": 1}}),
        to_host=[
            result(
                7,
                {
                    "tools": [tool("read_b", x=0), tool("other_tool", x=2), tool("read_a", x=4)],
                    "_meta": {"a": 1},
                },
            )
        ],
    )
    play.host(
        call(8, "delete_all"),
        to_host=[result(8, {"content": [{"type": "text", "text": Text("no-deleting")}], "isError": True})],
    )


@pytest.mark.parametrize("holds", ["resources", "resourceTemplates", "prompts"])
def test_other_lists_are_shown_whole_or_empty(holds):
    entries = [
        {"name": "b", "uri": "a:b", "uriTemplate": "a:{b}"},
        {"name": "a", "uri": "a:a", "uriTemplate": "a:{a}"},
    ]
    for policy, shown in ((POLICY, entries), (SILENT, []), (None, entries)):
        play = listed(Playbook(policy).opened(), 7, 2, METHODS[holds])
        play.server(result(2, {holds: entries}), to_host=[result(7, {holds: shown})])


@pytest.mark.parametrize("holds", METHODS)
@pytest.mark.parametrize("value", [None, {}, "x", 5])
def test_list_without_its_entries_is_withheld(holds, value):
    play = listed(Playbook().opened(), 7, 2, METHODS[holds])
    play.server(result(2, {holds: value}), to_host=[error(7, 50201, Text(f"a list without {holds}"))])
    listed(play, 8, 3, METHODS[holds]).server(result(3, {}), to_host=[error(8, 50201)])


@pytest.mark.parametrize(
    "entry",
    [
        5,
        None,
        [],
        {},
        {"name": ["read_a"]},
        {"name": {"read_a": 1}},
        {"name": "read_\u200ba"},
        {"name": " read_a"},
        {"name": " read_a", "uri": "a:b"},
        {"name": "read_\uff41", "uri": "a:b", "uriTemplate": "a:{b}"},
        {"name": "read_" + "a" * 200},
        tool("read_a", description="a\u202eb"),
        tool("read_a", description="a" * (limits.DESCRIPTION_CHARS + 1)),
        tool("read_a", title="\x1b[2J"),
        tool("read_a", icons=[{"src": "javascript:x"}]),
        {"name": "read_a", "inputSchema": 5},
    ],
)
def test_definition_that_deceives_is_withdrawn_and_the_rest_stays(entry):
    play = listed(Playbook().opened(), 7, 2)
    play.server(
        result(2, {"tools": [tool("read_1"), entry, tool("read_2")]}),
        to_host=[result(7, {"tools": [tool("read_1"), tool("read_2")]})],
        records=[{"type": "drop", "side": "server", "reason": Text("definition ")}, {"type": "outcome"}],
    )
    seen = listed(Playbook(None).opened(), 7, 2)
    seen.server(
        result(2, {"tools": [tool("read_1"), entry]}), to_host=[result(7, {"tools": [tool("read_1"), entry]})]
    )


@pytest.mark.parametrize(
    ("holds", "good", "bad"),
    [
        ("prompts", {"name": "a"}, {"name": " a", "uri": "a:b"}),
        ("resources", {"name": "a ", "uri": "a:b"}, {"name": "a", "uriTemplate": "a:{b}"}),
        ("resourceTemplates", {"name": "a ", "uriTemplate": "a:{b}"}, {"name": "a", "uri": "a:b"}),
    ],
)
def test_kind_of_list_says_what_a_definition_is_known_by(holds, good, bad):
    play = listed(Playbook().opened(), 7, 2, METHODS[holds])
    play.server(result(2, {holds: [bad, good]}), to_host=[result(7, {holds: [good]})])


def test_tools_with_the_same_name_are_both_withdrawn():
    play = listed(Playbook().opened(), 7, 2)
    tools = [tool("read_a"), tool("read_b"), tool("read_a", evil=1)]
    play.server(result(2, {"tools": tools}), to_host=[result(7, {"tools": [tool("read_b")]})])


def test_tools_of_one_server_are_bounded():
    play = listed(Playbook().opened(), 7, 2)
    tools = [tool(f"read_{i}") for i in range(limits.TOOLS + 50)]
    play.server(result(2, {"tools": tools}), to_host=[result(7, {"tools": tools[: limits.TOOLS]})])


def test_pages_are_chained_by_cursors_of_our_own():
    play = listed(Playbook().opened(), 1, 2)
    play.server(
        result(2, {"tools": [tool("read_a")], "nextCursor": "../../etc"}),
        to_host=[result(1, {"tools": [tool("read_a")], "nextCursor": "page-1"})],
    )
    listed(play, 2, 3, cursor="page-1", real="../../etc")
    play.server(
        result(3, {"tools": [tool("read_b"), tool("read_a", evil=1)], "nextCursor": ""}),
        to_host=[result(2, {"tools": [tool("read_b")], "nextCursor": "page-2"})],
    )
    listed(play, 3, 4, cursor="page-2", real="")
    play.server(result(4, {"tools": []}), to_host=[result(3, {"tools": []})])


def test_page_that_is_asked_for_again_is_the_same_page():
    play = listed(Playbook().opened(), 1, 2)
    play.server(
        result(2, {"tools": [], "nextCursor": "c"}),
        to_host=[result(1, {"tools": [], "nextCursor": "page-1"})],
    )
    for ident, minted in ((2, "page-2"), (3, "page-3")):
        listed(play, ident, ident + 1, cursor="page-1", real="c")
        page = {"tools": [tool("read_a")], "nextCursor": "d"}
        play.server(result(ident + 1, page), to_host=[result(ident, {**page, "nextCursor": minted})])


@pytest.mark.parametrize("cursor", ["", "page-2", "c", "page-1 ", 1, None, ["page-1"], "x" * 5000])
def test_cursor_that_was_not_given_out_leads_nowhere(cursor):
    play = listed(Playbook().opened(), 1, 2)
    play.server(
        result(2, {"tools": [], "nextCursor": "c"}),
        to_host=[result(1, {"tools": [], "nextCursor": "page-1"})],
    )
    play.host(request(2, "tools/list", {"cursor": cursor}), to_host=[error(2, -32602, Text("cursor"))])
    play.host(
        request(3, "prompts/list", {"cursor": "page-1"}), to_host=[error(3, -32602, Text("not given out"))]
    )


@pytest.mark.parametrize("cursor", [5, None, ["c"], "x" * 5000])
def test_cursor_of_a_server_is_a_string_of_reasonable_length(cursor):
    play = listed(Playbook().opened(), 1, 2)
    play.server(result(2, {"tools": [], "nextCursor": cursor}), to_host=[error(1, 50201, Text("nextCursor"))])


def test_pages_do_not_go_on_for_ever():
    play = listed(Playbook().opened(), 1, 2)
    play.server(
        result(2, {"tools": [], "nextCursor": "c"}),
        to_host=[result(1, {"tools": [], "nextCursor": "page-1"})],
    )
    listed(play, 2, 3, cursor="page-1", real="c")
    play.server(
        result(3, {"tools": [], "nextCursor": "c"}), to_host=[error(2, 50201, Text("pages without end"))]
    )
    play = listed(Playbook().opened(), 0, 2)
    for number in range(limits.LIST_PAGES):
        page = {"tools": [], "nextCursor": f"c{number}"}
        play.server(
            result(number + 2, page),
            to_host=[result(number, {"tools": [], "nextCursor": f"page-{number + 1}"})],
        )
        listed(play, number + 1, number + 3, cursor=f"page-{number + 1}", real=f"c{number}")
    page = {"tools": [], "nextCursor": "more"}
    play.server(
        result(limits.LIST_PAGES + 2, page),
        to_host=[error(limits.LIST_PAGES, 50201, Text("pages without end"))],
    )


def test_cursors_and_names_are_remembered_up_to_a_bound():
    play = Playbook().opened()
    for number in range(2, 302):
        listed(play, 1, number)
        minted = {"tools": [], "nextCursor": f"page-{number - 1}"}
        play.server(result(number, {"tools": [], "nextCursor": "c"}), to_host=[result(1, minted)])
    play.host(
        request(1, "tools/list", {"cursor": "page-1"}), to_host=[error(1, -32602, Text("not given out"))]
    )
    listed(play, 1, 302, cursor="page-300", real="c")
    listing = Listing()
    method = REQUESTS[Era.LEGACY, Side.HOST]["tools/list"]
    for page in range(limits.SNAPSHOT_NAMES // 200 + 2):
        entries = [tool(f"read_{page}_{i}") for i in range(200)]
        listing.answer(method, Chain(), {"tools": entries}, snapshot(POLICY), Era.LEGACY)
    assert len(listing.known) == limits.SNAPSHOT_NAMES


@pytest.mark.parametrize(
    ("said", "ttl"),
    [
        ({}, 1000),
        ({"ttlMs": 60_000}, 1000),
        ({"ttlMs": 5}, 5),
        ({"ttlMs": -1}, 1000),
        ({"ttlMs": True}, 1000),
    ],
)
def test_modern_list_is_private_and_soon_stale(said, ttl):
    play = Playbook().host(modern("a", "tools/list"), to_server=[modern(1, "tools/list")])
    value = {
        "resultType": "complete",
        "tools": [tool("rm"), tool("read_a")],
        "cacheScope": "public",
        "ttlMs": 9,
        **said,
    }
    if not said:
        del value["ttlMs"]
    shown = {**value, "tools": [tool("read_a")], "cacheScope": "private", "ttlMs": ttl}
    play.server(result(1, value), to_host=[result("a", shown)])


def test_modern_list_is_left_alone_where_we_only_watch():
    play = Playbook(None).host(modern("a", "tools/list"), to_server=[modern(1, "tools/list")])
    value = {"resultType": "complete", "tools": [tool("rm")], "cacheScope": "public", "ttlMs": 60_000}
    play.server(result(1, value), to_host=[result("a", value)])


# --- changes of policy -------------------------------------------------------------------------------------

CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def test_host_hears_of_another_policy_only_if_a_list_it_saw_changes():
    play = Playbook().opened()
    play.policy(SILENT)
    play.policy(POLICY)
    listed(play, 7, 2).server(
        result(2, {"tools": [tool("read_a"), tool("rm")]}), to_host=[result(7, {"tools": [tool("read_a")]})]
    )
    play.policy(POLICY.replace("other_tool", "another_tool"))
    play.policy(POLICY.replace("read_*", "*"), to_host=[CHANGED])
    play.policy(SILENT, to_host=[CHANGED])
    play.policy(SILENT)
    play.policy(None, to_host=[CHANGED])


def test_host_hears_of_the_lists_that_changed_and_of_no_others():
    play = Playbook().opened()
    for ident, (holds, method) in enumerate(METHODS.items(), 2):
        listed(play, ident, ident, method).server(
            result(ident, {holds: []}), to_host=[result(ident, {holds: []})]
        )
    play.policy(
        POLICY.replace('"prompts/get", ', ""),
        to_host=[{**CHANGED, "method": "notifications/prompts/list_changed"}],
    )
    play.policy(
        POLICY.replace('"resources/*", "prompts/get", ', ""),
        to_host=[{**CHANGED, "method": "notifications/resources/list_changed"}],
    )
    play.policy(
        POLICY,
        to_host=[
            {**CHANGED, "method": f"notifications/{kind}/list_changed"} for kind in ("prompts", "resources")
        ],
    )
