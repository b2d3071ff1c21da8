"""The environment of a server: what belongs to the host or to mcpguard alone stays out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.environment import BLOCKED, BLOCKED_PREFIXES, MINIMUM, for_manifest, for_server

NAMES = sorted(BLOCKED) + [prefix + b"X" for prefix in BLOCKED_PREFIXES] + list(BLOCKED_PREFIXES)


@pytest.mark.parametrize("name", NAMES)
def test_blocked_name_is_left_out_whatever_its_value(name):
    assert for_server([b"A=1", name + b"=x=y", name + b"=", name, b"B=2"]) == [b"A=1", b"B=2"]


@pytest.mark.parametrize(
    "entry",
    [
        b"PATH=/bin",
        b"HOME=",
        b"X=NOTIFY_SOCKET=1",
        b"XNOTIFY_SOCKET=1",
        b"NOTIFY_SOCKETS=1",
        b"A=MCPGUARD_X",
        b"\xff=\xfe\n",
        b"",
        b"=x",
    ],
)
def test_other_entries_pass_as_they_are(entry):
    assert for_server([entry]) == [entry]


@given(st.lists(st.binary(max_size=6) | st.sampled_from(NAMES).map(lambda name: name + b"=1"), max_size=12))
def test_order_is_kept_and_nothing_is_made_up(environment):
    kept = for_server(environment)
    assert kept == [entry for entry in environment if entry in kept]
    assert not any(entry.split(b"=")[0] in BLOCKED or entry.startswith(BLOCKED_PREFIXES) for entry in kept)


HOST = [b"PATH=/bin", b"HOME=/h", b"TOKEN=t", b"LD_PRELOAD=/x.so", b"MCPGUARD_X=1", b"LANG=C", b"A=1", b"A=2"]


@pytest.mark.parametrize(
    ("passed", "fixed", "given"),
    [
        ((), {}, [b"PATH=/bin", b"HOME=/h", b"LANG=C"]),
        (("TOKEN",), {}, [b"PATH=/bin", b"HOME=/h", b"TOKEN=t", b"LANG=C"]),
        (("NONE",), {}, [b"PATH=/bin", b"HOME=/h", b"LANG=C"]),
        ((), {"PATH": "/own"}, [b"HOME=/h", b"LANG=C", b"PATH=/own"]),
        (("TOKEN",), {"TOKEN": "x=y"}, [b"PATH=/bin", b"HOME=/h", b"LANG=C", b"TOKEN=x=y"]),
        (("MCPGUARD_X", "NOTIFY_SOCKET"), {}, [b"PATH=/bin", b"HOME=/h", b"LANG=C"]),
        (("A",), {}, [b"PATH=/bin", b"HOME=/h", b"LANG=C", b"A=2"]),
    ],
)
def test_a_manifest_is_an_allow_list(passed, fixed, given):
    assert for_manifest(HOST, passed, fixed) == given


@given(st.lists(st.binary(max_size=9)), st.lists(st.text("ABHOME_", max_size=5)))
def test_nothing_leaks_that_no_list_names(environment, passed):
    for entry in for_manifest(environment, passed, {}):
        assert entry.partition(b"=")[0] in MINIMUM | {name.encode() for name in passed}
