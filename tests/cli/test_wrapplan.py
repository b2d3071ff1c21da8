"""Plans: what is shown is what is written, and each file stands for itself."""

import json
import resource
from pathlib import Path

import pytest

from mcpguard.cli.wrapplan import Fault, Plan, called, carry_out, diff, every, to_unwrap, to_wrap
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.hosts.places import Place, of_hosts
from mcpguard.system.hostfiles import HostFile, look
from mcpguard.system.wrapstore import WrapStore
from tests.cli.homes import SECRET, argv, put, servers

AT = "2026-11-22T10:00:00Z"
PROGRAM = "/opt/mcpguard"
CURSOR, CLAUDE = (next(of_hosts((name,))) for name in ("cursor", "claude-code"))


@pytest.fixture
def store(tmp_path: Path) -> WrapStore:
    return WrapStore(tmp_path / "state")


def at(path: Path, place: Place = CURSOR) -> HostFile:
    """A file that is there."""
    found = look(place, path)
    assert found
    return found


def planned(*files: HostFile, store: WrapStore, names: tuple[str, ...] = ()) -> list[Plan]:
    plans, faults = to_wrap(files, PROGRAM, called(names))
    assert faults == []
    return plans


def undone(path: Path, store: WrapStore, *, force: bool = False) -> tuple[list[Plan], list[Fault]]:
    return to_unwrap([at(path)], store.load(), every, force=force)


def wrapped(path: Path, store: WrapStore) -> bytes:
    """Wrap everything in a file; the bytes from before."""
    before = path.read_bytes()
    (plan,) = planned(at(path), store=store)
    carry_out(plan, store, AT)
    assert path.read_bytes() == plan.new != before
    return before


def test_plan_changes_nothing_by_itself(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    before = path.read_bytes()
    (plan,) = planned(at(path), store=store)
    assert (plan.names, plan.target, path.read_bytes()) == (("a", "b"), path, before)
    assert store.load() == {}


def test_wrap_and_unwrap_give_every_byte_back(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    before = wrapped(path, store)
    assert argv(path, "a") == [PROGRAM, "run", "--name", "a", "--", "npx", "-y", "a"]
    assert planned(at(path), store=store) == []
    ((plan,), faults) = undone(path, store)
    carry_out(plan, store, AT)
    assert (path.read_bytes(), faults, store.load()) == (before, [], {})


def test_one_after_the_other_is_remembered_together(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    before = path.read_bytes()
    for name in ("b", "a"):
        (plan,) = planned(at(path), store=store, names=(name,))
        assert plan.names == (name,)
        carry_out(plan, store, AT)
    assert {one.path[-1] for one in store.load()[str(path)].entries} == {"a", "b"}
    carry_out(undone(path, store)[0][0], store, AT)
    assert path.read_bytes() == before


def test_only_one_of_two_is_taken_back(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    wrapped(path, store)
    (plan,), _ = to_unwrap([at(path)], store.load(), called(("a",)), force=False)
    carry_out(plan, store, AT)
    assert argv(path, "a") == ["npx", "-y", "a"]
    assert argv(path, "b")[0] == PROGRAM
    assert [one.path[-1] for one in store.load()[str(path)].entries] == ["b"]


def test_one_file_under_two_paths_is_changed_once(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a"))
    (tmp_path / "link.json").symlink_to("mcp.json")
    plans = planned(at(tmp_path / "link.json"), at(path), store=store)
    assert [(plan.target, plan.names) for plan in plans] == [(path, ("a",))]


def test_bad_file_is_said_and_the_good_one_is_planned(tmp_path: Path, store: WrapStore) -> None:
    bad = put(tmp_path / "bad.json", '{\n"mcpServers": {\n')
    good = put(tmp_path / "good.json", servers("a"))
    for plans, faults in (
        to_wrap([at(bad), at(good)], PROGRAM), to_unwrap([at(bad), at(good)], {}, force=False),
    ):  # fmt: skip
        assert [plan.target for plan in plans] in ([good], [])
        assert [fault.file for fault in faults] == [str(bad)]
        assert faults[0].sentence.startswith(f"{bad}:")
        assert faults[0].sentence.endswith(": it is left as it is")


def test_names_of_servers_become_names_of_policy(tmp_path: Path, store: WrapStore) -> None:
    names = {"plain": "plain", "two words": "two words", "é✓": "é✓", "a\nb\x1b": "a_b_", "x" * 200: "x" * 128,
             "": "server", "--": "server", "-x": "-x"}  # fmt: skip
    path = put(tmp_path / "mcp.json", servers(*names))
    before = wrapped(path, store)
    assert [argv(path, name)[3] for name in names] == list(names.values())
    records = store.load()
    store.changing(path, b"", b"", (), AT)  # forget it: the words alone have to do
    (plan,), faults = undone(path, store)
    assert faults == []
    assert json.loads(plan.new) == json.loads(before)
    (plan,), faults = to_unwrap([at(path)], records, force=False)
    assert plan.new == before


def test_half_a_character_stops_no_other_server(tmp_path: Path, store: WrapStore) -> None:
    """JSON can say half of a character, which no file can hold otherwise."""
    half = '"h": {"command": "n\\ud800px", "args": ["x"]}'
    path = put(tmp_path / "mcp.json", f'{{"mcpServers": {{{half}, "a": {{"command": "npx"}}}}}}')
    odd = put(tmp_path / "odd.json", '{"mcpServers": {"\\ud800": {"command": "npx", "args": ["x"]}}}')
    plans = planned(at(path), at(odd), store=store)
    assert plans[0].names == ("a",)
    assert half.encode() in plans[0].new
    assert [line for plan in plans for line in diff(plan)]


def test_record_of_an_entry_that_is_gone_goes_with_the_next_change(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    wrapped(path, store)
    content = json.loads(path.read_bytes())
    del content["mcpServers"]["b"]
    put(path, content)
    carry_out(undone(path, store)[0][0], store, AT)
    assert store.load() == {}


def test_entry_that_was_changed_since_is_left(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    wrapped(path, store)
    path.write_text(path.read_text().replace('"a"\n', '"a@2"\n'))
    (plan,), (fault,) = undone(path, store)
    assert plan.names == ("b",)
    assert fault.sentence == (
        f"{path}:3: the server 'a' was changed since mcpguard was put before it: "
        "it is left as it is; --force takes mcpguard away and keeps the rest"
    )
    (plan,), faults = undone(path, store, force=True)
    assert (plan.names, faults) == (("a", "b"), [])
    carry_out(plan, store, AT)
    assert argv(path, "a") == ["npx", "-y", "a@2"]
    assert store.load() == {}


def test_registered_server_has_no_command_to_go_back_to(tmp_path: Path, store: WrapStore) -> None:
    one = {"mcpServers": {"a": {"command": "mcpguard", "args": ["run", "a"]}}}
    path = put(tmp_path / "mcp.json", one)
    for force in (False, True):
        plans, (fault,) = undone(path, store, force=force)
        assert plans == []
        assert "says no command to go back to: it was registered" in fault.sentence


def test_server_that_was_changed_between_plan_and_deed_is_left(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a"))
    (plan,) = planned(at(path), store=store)
    for text in ("{}", path.read_text().replace('"npx"', '"other"')):
        path.write_text(text)
        with pytest.raises(ConfigError, match="the server 'a' was changed meanwhile"):
            carry_out(plan, store, AT)
        assert (path.read_text(), store.load()) == (text, {})


def test_file_that_became_unreadable_meanwhile_is_left(tmp_path: Path, store: WrapStore) -> None:
    path = put(tmp_path / "mcp.json", servers("a"))
    (plan,) = planned(at(path), store=store)
    path.write_text("{,}")
    with pytest.raises(ConfigError, match="not JSON"):
        carry_out(plan, store, AT)
    assert (path.read_text(), store.load()) == ("{,}", {})


def test_what_a_host_has_written_meanwhile_stays(tmp_path: Path, store: WrapStore) -> None:
    """One host keeps its state in this file and writes it all the time."""
    path = put(tmp_path / "mcp.json", {**servers("a", "b"), "starts": 7})
    (plan,) = planned(at(path), store=store, names=("a",))
    path.write_text(path.read_text().replace("7", "8"))
    carry_out(plan, store, AT)
    assert json.loads(path.read_bytes())["starts"] == 8
    assert argv(path, "a")[0] == PROGRAM
    ((plan,), _) = undone(path, store)
    path.write_text(path.read_text().replace("8", "9"))
    carry_out(plan, store, AT)
    assert (json.loads(path.read_bytes()), store.load()) == ({**servers("a", "b"), "starts": 9}, {})


def test_plans_of_two_commands_are_both_done_and_undone(tmp_path: Path, store: WrapStore) -> None:
    """Made at the same time, carried out one after the other: neither forgets what the other has done."""
    path = put(tmp_path / "mcp.json", servers("a", "b"))
    before = path.read_bytes()
    plans = [planned(at(path), store=store, names=(name,))[0] for name in "ab"]
    for plan in plans:
        carry_out(plan, WrapStore(tmp_path / "state"), AT)
    assert [argv(path, name)[0] for name in "ab"] == [PROGRAM, PROGRAM]
    assert {one.path[-1] for one in store.load()[str(path)].entries} == {"a", "b"}
    plans = [to_unwrap([at(path)], store.load(), called((name,)), force=False)[0][0] for name in "ab"]
    for plan in plans:
        carry_out(plan, WrapStore(tmp_path / "state"), AT)
    assert (path.read_bytes(), store.load()) == (before, {})


def test_change_that_fails_leaves_the_record_as_it_was(tmp_path: Path, store: WrapStore) -> None:
    """A file that is too large for this process, though what is noted of it is not."""
    path = put(tmp_path / "mcp.json", {**servers("a", "b"), "history": "x" * 100_000})
    carry_out(planned(at(path), store=store, names=("a",))[0], store, AT)
    record, data = store.load(), path.read_bytes()
    plans = [planned(at(path), store=store, names=("b",))[0], undone(path, store)[0][0]]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for plan in plans:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            with pytest.raises(ConfigError, match="file too large"):
                carry_out(plan, store, AT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (path.read_bytes(), store.load()) == (data, record)
        assert [one.name for one in tmp_path.iterdir() if "mcpguard-new" in one.name] == []


@pytest.mark.parametrize("how", ["gone", "read-only"])
def test_file_that_cannot_be_written_is_not_even_noted(tmp_path: Path, store: WrapStore, how: str) -> None:
    path = put(tmp_path / "mcp.json", servers("a"))
    (plan,) = planned(at(path), store=store)
    if how == "gone":
        path.unlink()
    else:
        path.chmod(0o400)
    with pytest.raises(ConfigError, match=r"is not there any more|read-only"):
        carry_out(plan, store, AT)
    assert store.load() == {}


def test_what_cannot_be_noted_is_not_done(tmp_path: Path) -> None:
    path = put(tmp_path / "mcp.json", servers("a"))
    before = path.read_bytes()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    store = WrapStore(tmp_path / "open/state")
    (plan,) = planned(at(path), store=store)
    with pytest.raises(DaemonError, match="writable by others"):
        carry_out(plan, store, AT)
    assert path.read_bytes() == before


def test_diff_shows_what_is_written_and_no_secret(tmp_path: Path, store: WrapStore) -> None:
    one = {"env": {"LEVEL": "3", "API_KEY": f'{SECRET}"x'}, "command": "npx", "args": ["a"]}
    path = put(tmp_path / "mcp.json", {"mcpServers": {"a": one}})
    (plan,) = planned(at(path), store=store)
    shown = list(diff(plan))
    assert shown[:2] == [f"--- {path}", f"+++ {path}"]
    assert any(line.startswith("+") and PROGRAM in line for line in shown)
    assert any('"API_KEY": "********"' in line for line in shown)
    assert SECRET not in "\n".join(shown)


def test_of_two_servers_of_one_name_one_can_be_meant(tmp_path: Path, store: WrapStore) -> None:
    """Claude Code keeps servers of folders beside those of the user."""
    content = {**servers("db"), "projects": {"/p": servers("db")}}
    path = put(tmp_path / ".claude.json", content)
    plans, _ = to_wrap([at(path, CLAUDE)], PROGRAM, lambda entry: entry.path[0] == "projects")
    assert [[entry.path for entry in plan.chosen] for plan in plans] == [
        [("projects", "/p", "mcpServers", "db")]
    ]
    assert json.loads(plans[0].new)["mcpServers"] == content["mcpServers"]
