"""The tables against the schema of every revision."""

import pytest

from mcpguard.model import Era, Side
from mcpguard.policy.rules import GATED_METHODS
from mcpguard.protocol import methods
from mcpguard.protocol.methods import ANY_METHOD, EMBEDDED, NOTIFICATIONS, REQUESTS, Kind

LISTS = {"tools/list", "resources/list", "resources/templates/list", "prompts/list"}
TARGETS = {"tools/call", "resources/read", "prompts/get", "completion/complete"}
ASKS = {"sampling/createMessage", "elicitation/create", "roots/list"}
TASKS = {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel"}


@pytest.mark.parametrize(
    ("era", "side", "names"),
    [
        (
            Era.LEGACY,
            Side.HOST,
            LISTS
            | TARGETS
            | TASKS
            | {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"},
        ),
        (Era.LEGACY, Side.SERVER, ASKS | TASKS | {"ping"}),
        (
            Era.MODERN,
            Side.HOST,
            LISTS
            | TARGETS
            | {"server/discover", "subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel"},
        ),
        (Era.MODERN, Side.SERVER, set()),
    ],
)
def test_requests_are_those_of_the_schema(era, side, names):
    assert set(REQUESTS[era, side]) == names
    assert all(name == method.name for name, method in REQUESTS[era, side].items())


def test_method_is_a_request_or_a_notification_and_never_both():
    requests = {name for table in REQUESTS.values() for name in table}
    notifications = {name for table in NOTIFICATIONS.values() for name in table}
    assert requests.isdisjoint(notifications)
    assert all(name.startswith("notifications/") for name in notifications)
    assert requests | notifications == ANY_METHOD


def test_only_three_methods_ask_back_and_only_in_them_three_are_embedded():
    asking = {method.name for method in REQUESTS[Era.MODERN, Side.HOST].values() if method.asks}
    assert asking == {"tools/call", "resources/read", "prompts/get"}
    assert set(EMBEDDED) == ASKS
    assert {method.needs for method in EMBEDDED.values()} == {"sampling", "elicitation", "roots"}


def test_every_list_names_what_it_holds_and_nothing_else_does():
    for table in REQUESTS.values():
        for method in table.values():
            assert bool(method.holds) == (method.kind is Kind.LIST)


def test_every_gated_method_is_one_that_rules_can_speak_of():
    gated = {
        m.name
        for table in REQUESTS.values()
        for m in table.values()
        if m.kind in (Kind.GATED, Kind.LISTEN, Kind.TASK)
    }
    assert gated <= GATED_METHODS
    assert set(GATED_METHODS) <= ANY_METHOD


def test_modern_host_sends_one_notification_and_revisions_are_told_apart():
    assert NOTIFICATIONS[Era.MODERN, Side.HOST] == {"notifications/cancelled"}
    assert not set(methods.LEGACY_REVISIONS) & set(methods.MODERN_REVISIONS)
    assert methods.BATCH_REVISION in methods.LEGACY_REVISIONS
    assert methods.ON_A_SUBSCRIPTION <= NOTIFICATIONS[Era.MODERN, Side.SERVER]
