"""Registered servers: real SDKs offer through pins what they offer without, in both eras, and no server turns on us."""

import difflib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import GUARD, daemon_home
from harness import SERVERS, TAP, Run, run
from scenarios import DUAL, LEGACY, MODERN, PYTHON, UNICODE, Scenario, call, lists, wait
from transcript import compare_text

pytestmark = pytest.mark.timeout(120)

POLICY = """
version = 1
mode = "enforce"

[[rule]]
id = "everything"
server = "*"
tools = ["*"]
methods = [
  "resources/*", "prompts/*", "completion/complete", "sampling/createMessage", "elicitation/create",
  "roots/list", "subscriptions/listen",
]
effect = "allow"
"""
REGISTERED = ("python", "ts2", "everything", "filesystem", "turning")
IN_TAPS = {"cwd": "{DIR}/taps"}
"""The registered tap writes where the host starts it: manifests leave the directory open, and nothing else."""


class House:
    """A home whose daemon enforces POLICY and knows the servers by their manifests."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.home = Path(env["HOME"])

    def mcpguard(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [GUARD, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def add(self, server: str) -> str:
        """Register a server behind a tap: probes it in both eras, drafts, signs."""
        target = [str(word).replace("{DIR}", str(self.home)) for word in SERVERS[server]]
        return self.mcpguard("server", "add", server, "--yes", "--", *map(str, TAP), ".", "--", *target)

    def shown(self, server: str) -> dict:
        return json.loads(self.mcpguard("server", "show", server, "--json"))

    def records(self) -> list[dict]:
        logs = sorted(self.home.rglob("audit-*.jsonl"))
        return [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]

    def findings(self, server: str) -> list[tuple[str, str, str]]:
        """What differed from the pins so far: kind, name, fault."""
        return [
            (record["kind"], record["name"], record["fault"])
            for record in self.records()
            if record["type"] == "finding"
            and record["server"] == server
            and record.get("event") != "detected"
        ]

    def play(self, client: str, mode: str, server: str, steps: tuple, directory: Path) -> Run:
        """A session of a client with a registered server."""
        return run(
            client, mode, server, Scenario(tuple(steps), options=IN_TAPS), wrapper=[str(GUARD), "run", server],
            directory=directory, env=self.env, registered=True,
        )  # fmt: skip


def names(outcome: Run) -> list[list[str]]:
    """The tools of each list; one SDK gives pages, the other one whole lists."""
    answers = [one["result"] for one in outcome.outcomes("list")]
    lists_of_pages = [one if isinstance(one, list) else [one] for one in answers]
    return [
        [tool["name"] for page in of for tool in page["tools"]] for of in lists_of_pages if "tools" in of[0]
    ]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, guarded: bool) -> Iterator[House]:
    if not guarded:
        pytest.skip("pins need mcpguard as the wrapper")
    for env in daemon_home(tmp_path_factory.mktemp("pinned")):
        made = House(env)
        words, policy = made.home / "words", made.home / "policy.toml"
        words.write_text("correct horse\n", encoding="utf-8")
        words.chmod(0o600)
        env["MCPGUARD_PASSPHRASE_FILE"] = str(words)
        (made.home / "root").mkdir()
        policy.write_text(POLICY, encoding="utf-8")
        made.mcpguard("policy", "apply", str(policy))
        for server in REGISTERED:
            made.add(server)
        yield made


@pytest.mark.parametrize(
    ("server", "tools", "prompts", "templates"),
    [("python", 22, 2, 1), ("ts2", 19, 2, 1), ("everything", 17, 4, 2), ("filesystem", 14, 0, 0)],
)
def test_probing_pins_all_that_a_real_server_offers(house, server, tools, prompts, templates):
    shown = house.shown(server)
    manifest = shown["manifest"]
    assert [len(manifest[kind]) for kind in ("tools", "prompts", "resource_templates")] == [
        tools,
        prompts,
        templates,
    ]
    assert bool(manifest["instructions_sha256"]) == (server != "filesystem")
    assert shown["definitions"]["tools"].keys() == manifest["tools"].keys()
    assert shown["problem"] == ""


UNFIT = (call("weather", town=1), call("echo"), call("add", a="not a number"))
"""Calls whose arguments do not fit what the servers define."""


def changeless(steps: tuple) -> tuple:
    """The steps without those that use or make what cannot be pinned: unknown names, and a tool that comes later.

    Nor with control characters in results: an enforced policy shows them as pictures. Nor with arguments that do not fit
    the pinned schema: they do not reach the server (`test_arguments_that_do_not_fit_stay_here`).
    """
    left_out = (
        *UNFIT,
        call("echo", text=UNICODE),
        call("nothing-of-the-kind", x=1),
        {"op": "prompt", "name": "nothing"},
        call("change", kind="tools"),
        wait("tools/list_changed"),
        call("extra"),
    )
    return tuple(step for step in steps if step not in left_out)


def same(house: House, client: str, mode: str, server: str, steps: tuple, tmp_path: Path) -> Run:
    """A session directly and one with the registered server, which must say the same; nothing may be found."""
    direct_of = Scenario(steps, options=IN_TAPS)
    before = house.findings(server), house.shown(server)["observed"]
    with ThreadPoolExecutor(2) as pool:
        direct = pool.submit(
            run, client, mode, server, direct_of, wrapper=[], directory=tmp_path / "run-1", env=house.env
        )
        pinned = pool.submit(house.play, client, mode, server, steps, tmp_path / "run-2")
    expected, found = compare_text(direct.result()), compare_text(pinned.result())
    difference = list(difflib.unified_diff(expected, found, "direct", "pinned", lineterm="", n=4))
    assert not difference, "\n".join(line[:400] for line in difference[:200])
    assert (house.findings(server), house.shown(server)["observed"]) == before
    return pinned.result()


@pytest.mark.parametrize(("client", "mode"), [("python", "legacy"), ("python", "modern")])
def test_arguments_that_do_not_fit_stay_here(house, client, mode, tmp_path):
    """The client is told what does not fit, by the guard; the server never sees the calls."""
    steps = (call("weather", city="Bern"), *UNFIT)
    outcome = house.play(client, mode, "python", steps, tmp_path / "run")
    text = "\n".join(compare_text(outcome))
    assert text.count("mcpguard refused this call: the arguments object does not fit the schema") >= len(
        UNFIT
    )
    assert text.count('"town": 1') == 1, "in the steps, and not in what the server was sent"


@pytest.mark.parametrize(
    ("client", "mode", "server"),
    [
        ("python", "legacy", "python"),
        ("python", "modern", "python"),
        ("ts2", "modern", "ts2"),
        ("ts1", "legacy", "ts2"),
    ],
)
def test_same_features_as_without(house, client, mode, server, tmp_path):
    """Lists, calls, progress, cancellation, what a server asks, changes, subscriptions, the end."""
    outcome = same(house, client, mode, server, changeless(PYTHON if server == "python" else DUAL), tmp_path)
    assert set(names(outcome)[0]) == house.shown(server)["manifest"]["tools"].keys()


@pytest.mark.parametrize(
    ("client", "mode", "server", "steps"),
    [
        ("ts2", "auto", "python", tuple(lists())),
        ("python", "auto", "ts2", tuple(lists())),
        ("ts1", "legacy", "everything", (wait("message"), wait("tools/list_changed"), *lists())),
        ("ts2", "auto", "everything", (wait("message"), wait("tools/list_changed"), *lists())),
        ("python", "legacy", "filesystem", (lists()[0],)),
    ],
)
def test_same_lists_as_without(house, client, mode, server, steps, tmp_path):
    same(house, client, mode, server, steps, tmp_path)


def test_command_that_is_started_twice_does_not_disturb_its_pins(house, tmp_path):
    """SDK 2 asks a first process for its era, ends it, and starts the one that it uses."""
    begun = len([r for r in house.records() if r["type"] == "session" and r["event"] == "begin"])
    outcome = house.play("ts2", "auto", "ts2", (*lists(), call("echo", text="hello")), tmp_path / "run")
    assert len(outcome.servers) == 2
    records = [r for r in house.records() if r["type"] == "session" and r["event"] == "begin"][begun:]
    assert [(r["server"], r["manifest_name"], r["version"]) for r in records] == [("ts2", "ts2", 1)] * 2
    assert "hello" in json.dumps(outcome.outcomes("call")[0]["result"])
    assert house.findings("ts2") == []
    assert house.shown("ts2")["observed_count"] == 0


@pytest.mark.parametrize(("client", "mode"), [("python", "legacy"), ("python", "modern"), ("ts2", "legacy")])
def test_server_that_turns_is_stopped(house, client, mode, tmp_path):
    """A rug pull of a real server between two lists: abuse case 62."""
    listen = {"op": "listen", "key": "all", "filter": {"toolsListChanged": True}, "only": MODERN}
    steps = (
        listen,
        {"op": "list", "kind": "tools"},
        call("forecast", city="Bern"),
        call("turn"),
        wait("tools/list_changed"),
        {"op": "list", "kind": "tools"},
        call("forecast", city="Chur"),
        call("turn"),
        {"op": "unlisten", "key": "all", "only": MODERN},
        {"op": "ping", "only": LEGACY},
    )
    outcome = house.play(client, mode, "turning", steps, tmp_path / "run")
    before, after = (json.dumps(one["result"]) for one in outcome.outcomes("list"))
    assert "The weather of a city." in before
    assert "IMPORTANT" not in json.dumps(outcome.records)
    assert "forecast" not in after
    assert "turn" in after
    good, bad = outcome.outcomes("call", "forecast")
    assert "rain in Bern" in json.dumps(good["result"])
    assert "differs from the pinned definition" in json.dumps(bad)
    assert "result" not in bad or bad["result"]["isError"]
    assert [message["params"]["arguments"].get("city") for message in outcome.received("tools/call")] == [
        "Bern", None, None,
    ]  # fmt: skip
    assert ("tools", "forecast", "differs from the pinned definition") in house.findings("turning")
    difference = house.mcpguard("server", "diff", "turning", code=7)
    assert "The weather of a city." in difference
    assert "IMPORTANT" in difference
    assert outcome.gone()


def test_withdrawal_outlives_the_connection_until_the_server_is_honest_again(house, tmp_path):
    turned = ({"op": "list", "kind": "tools"}, call("turn"), {"op": "list", "kind": "tools"})
    house.play("python", "legacy", "turning", turned, tmp_path / "run-1")
    assert house.shown("turning")["observed_count"] == 1
    steps = (call("forecast", city="Bern"), {"op": "list", "kind": "tools"}, call("forecast", city="Chur"))
    outcome = house.play("python", "legacy", "turning", steps, tmp_path / "run-2")
    before, after = outcome.outcomes("call", "forecast")
    assert "differs from the pinned definition" in json.dumps(before)
    assert "rain in Chur" in json.dumps(after["result"])
    assert "The weather of a city." in json.dumps(outcome.outcomes("list")[0]["result"])
    assert house.findings("turning")[-1] == ("tools", "forecast", "is the pinned definition again")
    assert house.shown("turning")["observed_count"] == 0


@pytest.mark.parametrize(
    ("client", "mode", "server"), [("python", "legacy", "python"), ("ts2", "legacy", "ts2")]
)
def test_tool_that_comes_later_is_not_offered(house, client, mode, server, tmp_path):
    steps = (
        {"op": "list", "kind": "tools"},
        call("change", kind="tools"),
        wait("tools/list_changed"),
        {"op": "list", "kind": "tools"},
        call("extra"),
        call("echo", text="hello"),
    )
    outcome = house.play(client, mode, server, steps, tmp_path / "run")
    assert len(outcome.outcomes("wait")[0]["result"]) == 1
    before, after = names(outcome)
    assert before == after
    assert "came later" not in json.dumps(outcome.records)
    assert "result" not in outcome.outcomes("call", "extra")[0]
    assert "hello" in json.dumps(outcome.outcomes("call", "echo")[0]["result"])
    assert "extra" not in [message["params"]["name"] for message in outcome.received("tools/call")]
    assert house.findings(server)[-1] == ("tools", "extra", "is not pinned")
