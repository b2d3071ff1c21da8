"""The policy in force, and what it comes to for one connection: who calls, from where, with which manifest."""

from pathlib import Path

import msgspec
import pytest

from mcpguard.daemon.folders import Folders
from mcpguard.daemon.policies import Policies
from mcpguard.daemon.registry import Registered
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.gate.shared import Manners
from mcpguard.identity.described import Definitions
from mcpguard.identity.verification import Verified
from mcpguard.model import Caller, Grade, Mode, ToolFacts, Verdict
from mcpguard.policy.builtin import OBSERVE_RULES
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.system.folderstore import FolderStore
from mcpguard.system.policystore import PolicyStore
from tests.daemon.test_registry import FILES

TOP = 'version = 1\nmode = "enforce"\n'
ALL = TOP + '[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'
NO_NOTES = 'version = 1\n[[rule]]\nid = "no-notes"\ntools = ["note"]\neffect = "deny"\n'


class World:
    """A store and folders on a real disk, and a system without a policy of its own."""

    def __init__(self, home: Path, system: str = "") -> None:
        self.home = home
        made = parse(system.encode(), "/etc/p.toml") if system else None
        self.store = PolicyStore(home / "policy", lambda: made)
        self.folders = FolderStore(home / "policy")

    def policies(self, text: str = "") -> Policies:
        found = Policies(self.store, Folders(self.folders))
        if text:
            found.apply(text.encode(), "p.toml")
        return found

    def project(self, name: str = "project", text: str = NO_NOTES) -> Path:
        folder = (self.home / name).resolve()
        folder.mkdir(parents=True)
        (folder / ".mcpguard.toml").write_text(text)
        return folder

    def trust(self, folder: Path) -> Path:
        self.folders.trust(str(folder), (folder / ".mcpguard.toml").read_text(), 0.0)
        return folder


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def came(policies, *, cwd="", server="files", found=None, **caller):
    return policies.standing(server, Caller(cwd=cwd, **caller), "/srv", found)


def verdict(policies, standing, tool="note", arguments=None):
    decider = policies.decider(standing)
    return decider.judge("tools/call", tool, arguments or {}, Circumstances(), 0).verdict


# --- which policy ------------------------------------------------------------------------------------------------


def test_until_one_is_applied_the_policy_watches_and_nothing_else(world):
    policies = world.policies()
    assert policies.applied is None
    assert policies.rules is OBSERVE_RULES
    decider = policies.decider(came(policies))
    assert (decider.observing, decider.policy) == (True, "built-in")
    assert decider.tool("anything").verdict is Verdict.ALLOW


def test_what_is_applied_is_in_force_at_once_and_after_a_restart(world):
    policies = world.policies()
    applied = policies.apply(ALL.encode(), "p.toml")
    assert policies.applied is policies.rules is applied
    assert world.policies().applied == applied
    assert policies.decider(came(policies)).policy == applied.digest


@pytest.mark.parametrize(
    "text", [b"version = ", b"", b"\xff", b'version = 1\nmode = "enforce"\nnonsense = 1\n']
)
def test_what_is_no_policy_changes_nothing(world, text):
    policies = world.policies(ALL)
    before = policies.applied
    with pytest.raises(ConfigError):
        policies.apply(text, "q.toml")
    assert policies.applied is before
    assert world.policies().applied == before


def test_the_policy_of_the_system_counts_with_and_without_one_of_the_user(tmp_path):
    world = World(tmp_path, TOP + '[[rule]]\nid = "never"\ntools = ["note"]\neffect = "deny"\n')
    policies = world.policies()
    assert policies.rules.mode is Mode.ENFORCE
    assert verdict(policies, came(policies)) is Verdict.DENY
    policies.apply(ALL.encode(), "p.toml")
    assert verdict(policies, came(policies)) is Verdict.DENY
    assert verdict(policies, came(policies), "other") is Verdict.ALLOW


def test_a_damaged_store_is_no_absent_policy(world):
    world.policies(ALL)
    (world.store.directory / "active.toml").write_text("")
    with pytest.raises(ConfigError, match="damaged"):
        world.policies()


# --- what it is compiled for --------------------------------------------------------------------------------------

CALLERS = TOP + (
    '[[rule]]\nid = "acme"\nwho = ["host:acme"]\nserver = ["files"]\ntools = ["*"]\neffect = "allow"\ngrade = "G2"\n'
)


@pytest.mark.parametrize(
    ("server", "caller", "allowed"),
    [
        ("files", {"principals": ("any", "host:acme"), "grade": Grade.G2}, True), ("other", {"principals": ("any", "host:acme"), "grade": Grade.G2}, False),
        ("files", {"principals": ("any", "host:acme"), "grade": Grade.G1}, False), ("files", {"principals": ("any",), "grade": Grade.G4}, False),
    ],
)  # fmt: skip
def test_it_depends_on_the_server_and_on_who_calls(world, server, caller, allowed):
    policies = world.policies(CALLERS)
    assert (verdict(policies, came(policies, server=server, **caller)) is Verdict.ALLOW) is allowed


def test_paths_are_those_of_this_machine_and_of_the_servers_directory(world):
    folder = world.home.resolve() / "real"
    folder.mkdir()
    (world.home / "link").symlink_to(folder)
    under = f'args.path = {{ under = ["{folder}"] }}\n'
    policies = world.policies(ALL + under)
    standing = policies.standing("files", Caller(), str(folder), None)
    assert standing.surroundings.home == str(Path.home())
    for path, fits in (
        ("a", True), (f"{folder}/a", True), (f"{world.home.resolve()}/link/a", True), ("../a", False), ("/etc/passwd", False),
    ):  # fmt: skip
        assert (verdict(policies, standing, "note", {"path": path}) is Verdict.ALLOW) is fits, path


def registered(**members) -> Registered:
    manifest = msgspec.structs.replace(FILES, **members)
    annotated = {"name": "note", "annotations": {"readOnlyHint": True}}
    definitions = Definitions(
        tools={"note": annotated, "odd": {"name": "odd", "annotations": ["readOnlyHint"]}}
    )
    return Registered("files", Verified(manifest, "d", ("k",), "local"), definitions=definitions)


def test_what_a_manifest_says_of_tools_is_known_of_them(world):
    found = registered(
        tools={"note": "0" * 64, "odd": "1" * 64, "bare": "2" * 64}, risks={"note": "high"}, reads={"note": ("mail",)}, sends={"odd": ("net",)}
    )  # fmt: skip
    standing = came(world.policies(ALL), found=found)
    assert dict(standing.surroundings.tools) == {
        "note": ToolFacts(annotations={"readOnlyHint": True}, risk="high", reads=("mail",)),
        "odd": ToolFacts(sends=("net",)),
        "bare": ToolFacts(),
    }


def test_a_rule_about_what_a_manifest_says_speaks_of_no_server_without_one(world):
    policies = world.policies(
        TOP + '[[rule]]\nid = "r"\ntools = ["*"]\neffect = "allow"\nwhen.risk = ["low"]\n'
    )
    found = registered(tools={"note": "0" * 64}, risks={"note": "low"})
    assert verdict(policies, came(policies, found=found)) is Verdict.ALLOW
    assert verdict(policies, came(policies)) is Verdict.DENY


# --- folders -----------------------------------------------------------------------------------------------------


def test_trusted_folders_narrow_what_is_started_in_them_and_only_that(world):
    folder = world.trust(world.project())
    policies = world.policies(ALL)
    for cwd, expected in (
        (folder, Verdict.DENY),
        (folder / "src", Verdict.DENY),
        (folder.parent, Verdict.ALLOW),
        (Path(f"{folder}2"), Verdict.ALLOW),
        ("", Verdict.ALLOW),
    ):
        assert verdict(policies, came(policies, cwd=str(cwd))) is expected, cwd
    assert verdict(policies, came(policies, cwd=str(folder)), "other") is Verdict.ALLOW


def test_folders_in_folders_all_count(world):
    outer = world.trust(world.project())
    inner = world.trust(
        world.project("project/in", NO_NOTES.replace('"note"', '"echo"').replace("no-notes", "no-echo"))
    )
    policies = world.policies(ALL)
    standing = came(policies, cwd=str(inner))
    assert [verdict(policies, standing, tool) for tool in ("note", "echo", "x")] == [
        Verdict.DENY,
        Verdict.DENY,
        Verdict.ALLOW,
    ]
    assert policies.decider(standing).policy.count("+") == 2
    assert len(came(policies, cwd=str(outer)).projects) == 1


def test_an_open_connection_gets_the_folders_that_are_trusted_now_and_stays_what_it_was_otherwise(world):
    folder = world.project()
    policies = world.policies(ALL)
    before = came(policies, cwd=str(folder))
    assert verdict(policies, before) is Verdict.ALLOW
    world.trust(folder)
    assert verdict(policies, before) is Verdict.ALLOW
    after = policies.refolded(before)
    assert verdict(policies, after) is Verdict.DENY
    assert msgspec.structs.replace(after, projects=()) == before
    world.folders.forget(str(folder))
    assert policies.refolded(after) == before


def test_a_file_that_nobody_trusted_is_told_of_once_there_is_a_policy_that_it_could_narrow(world):
    folder = world.project()
    assert world.policies().notes(Caller(cwd=str(folder))) == []
    (said,) = world.policies(ALL).notes(Caller(cwd=str(folder)))
    assert said.startswith(f"{folder}/.mcpguard.toml does not count")
    world.trust(folder)
    assert world.policies().notes(Caller(cwd=str(folder))) == []


def test_while_nothing_is_applied_folders_do_not_bind(world):
    folder = world.trust(world.project())
    policies = world.policies()
    assert verdict(policies, came(policies, cwd=str(folder))) is Verdict.ALLOW


def test_a_list_of_folders_that_cannot_be_relied_on_lets_nothing_start(world):
    folder = world.trust(world.project())
    policies = world.policies(ALL)
    (world.store.directory / "folders.json").write_text("{")
    for ask in (lambda: came(policies, cwd=str(folder)), lambda: policies.notes(Caller(cwd=str(folder)))):
        with pytest.raises(DaemonError, match="trusted folders"):
            ask()


# --- how people are asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "principals", "manners"),
    [
        ("", ("any",), Manners(120.0, False)), ('[approvals]\ntimeout = "5s"\n', ("any",), Manners(5.0, False)),
        ('[approvals]\nelicitation = ["host:acme"]\n', ("any", "host:acme"), Manners(120.0, True)), ('[approvals]\nelicitation = ["host:acme"]\n', ("any", "host:other"), Manners(120.0, False)),
        ('[approvals]\nelicitation = ["any"]\n', ("any",), Manners(120.0, True)), ('[approvals]\nelicitation = ["any"]\n', (), Manners(120.0, False)),
    ],
)  # fmt: skip
def test_a_host_may_ask_its_own_user_if_policy_names_one_of_its_principals(world, text, principals, manners):
    assert world.policies(TOP + text).manners(Caller(principals=principals)) == manners


def test_nobody_is_asked_in_band_before_a_policy_is_applied(world):
    assert world.policies().manners(Caller(principals=("any", "host:acme"))) == Manners()


@pytest.mark.parametrize(
    ("when", "asks"), [("", False), ('when.after = ["x"]\n', False), ('when.session = ["local"]\n', True)]
)
def test_login_sessions_are_looked_at_only_if_a_rule_speaks_of_them(world, when, asks):
    assert world.policies(ALL + when).asks_of_logins is asks
