"""No secret of anybody is on disk or in what a verb prints: a real daemon, a real host, a server that says everything.

Two hundred secrets of every kind go through every field of every message, through arguments, environments, command
lines, reasons and errors. Then everything below the home is searched, byte by byte, and all that verbs print.
"""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ahocorasick_rs import AhoCorasick

from mcpguard.audit.redact import MARK
from mcpguard.system.argumentkeys import NAME, ArgumentReader
from tests.audit.planted import Planted, needles, planted, written
from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, house, until

LEAKY = str(Path(__file__).with_name("leaky.py"))
SECRETS = planted(209)
MARKED = ("known", "github", "aws", "api-key", "slack", "jwt")
"""Kinds that are recognised wherever they stand alone."""
POLICY = """\
version = 1
mode = "{mode}"
unpinned = "allow"
[approvals]
timeout = "60s"
[[rule]]
id = "all"
tools = ["*"]
resources = ["**"]
prompts = ["*"]
effect = "allow"
record = "arguments"
rate = "5000/min"
[[rule]]
id = "asks"
tools = ["ask_*"]
effect = "ask"
[[rule]]
id = "never"
tools = ["never_*"]
effect = "deny"
record = "arguments"
"""


def environment() -> dict[str, str]:
    """The known secrets, as a host gives them to its server."""
    return {f"SECRET_{number}": one.secret for number, one in enumerate(SECRETS) if one.kind == "known"}


def text(one: Planted) -> str:
    """A secret as a text alone; one that is only told by its member gets an announcement."""
    return f"password={json.dumps(one.secret)}" if one.kind == "member" else one.text


def say(host: Host, one: Planted) -> None:
    """Put a secret into everything that a host can say."""
    words = text(one)
    name = words if len(words) < 100 else one.secret[:100]
    arguments: dict[str, Any] = {
        "note": words, "list": [words, {"deep": [words]}], "chunks": [{"type": "text", "text": words}], words[:200]: 1,
        "argv": ["x", "--token", one.secret], one.name or "password": one.secret, "json": json.dumps({"a": words}),
        "env": [{"name": "API_KEY", "value": one.secret}],
    }  # fmt: skip
    if one.kind == "known":
        arguments |= written(one.secret)
        half = len(one.secret) // 2
        arguments["split"] = [one.secret[:half], one.secret[half:]]
    for tool in ("echo", "never_this", name):
        host.call(tool, **arguments)
    path = one.secret if one.kind in MARKED else "x"
    host.ask(
        "resources/read",
        {"uri": f"https://h.example/{path}?password={quote(one.secret)}&x={words}"},
    )
    host.ask("prompts/get", {"name": name, "arguments": {"password": one.secret, "note": words}})
    host.ask(f"method/{words}"[:300], {"x": words})
    host.ask(
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": name, "value": words}},
    )
    host.write(
        json.dumps({"jsonrpc": "2.0", "method": f"notifications/{words}"[:300], "params": {}}).encode()
        + b"\n"
    )
    host.write(
        json.dumps({"jsonrpc": "2.0", "id": f"stray {words}"[:200], "result": {"x": words}}).encode() + b"\n"
    )


def written_below(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, its name included."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            yield str(path.relative_to(root)), path.read_bytes() if path.is_file() else b""


def leaks(secrets: list[Planted], places: Iterator[tuple[str, bytes]]) -> list[tuple[str, str, str, str]]:
    """Where a secret is: its kind, what was found, where, and what stands around it. JSON is also read, so that no escape hides one."""
    wanted = {needle: one.kind for one in secrets for needle in needles(one.secret)}
    search = AhoCorasick(list(wanted))
    found = []
    for where, data in places:
        plain = f"{where}\n{data.decode('utf-8', 'replace')}"
        values = decoded(plain)
        seen = [plain, *(json.dumps(each, ensure_ascii=False) for each in values)]
        whole = "\n".join([*seen, *(each for one in values for each in strings(one))])
        hits = {
            index: (start, end)
            for index, start, end in search.find_matches_as_indexes(whole, overlapping=True)
        }
        names = list(wanted)
        for index, (start, end) in hits.items():
            needle = names[index]
            found.append((wanted[needle], needle, where, whole[max(0, start - 60) : end + 20]))
    return found


def decoded(plain: str) -> list[Any]:
    found = []
    for line in plain.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def printed(place: House) -> Iterator[tuple[str, bytes]]:
    """What verbs print of it, and what the daemon tells a console."""
    for words in (
        ("audit", "tail", "-n", "100000", "--json"), ("audit", "tail", "-n", "100000"), ("status", "--json"), ("status",),
        ("pending", "--json"), ("pending",), ("audit", "verify", "--json"), ("server", "list", "--json"),
    ):  # fmt: skip
        ran = place.mcpguard(*words)
        yield " ".join(words), (ran.stdout + ran.stderr).encode()
    for request in ({"verb": "recent", "since": 0}, {"verb": "pending"}, {"verb": "status"}):
        yield str(request), json.dumps(place.ask(request)).encode()


def log(place: House) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((place.state / "audit").glob("*.jsonl")))


def opened(place: House) -> list[dict[str, Any]]:
    """All arguments that records keep."""
    reader = ArgumentReader(place.state / "audit")
    found = [reader.arguments(record) for record in place.records()]
    reader.close()
    return [each for each in found if each is not None]


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.timeout(300)
def test_no_planted_secret_is_on_disk_or_printed(mode: str, tmp_path: Path) -> None:
    script = tmp_path / "texts.json"
    script.write_text(json.dumps([text(one) for one in SECRETS]))
    with house() as place, (tmp_path / "err").open("wb") as errors:
        place.policy(POLICY.format(mode=mode))
        argv = [
            word for one in SECRETS if one.kind not in ("known", "pem") for word in ("--token", text(one))
        ]

        def arrived() -> Host:
            words = [*MCPGUARD, "run", "--", PYTHON, "-I", "-S", LEAKY, str(script), *argv]
            host = Host([*FORMS["pipes"], *words], place.env | environment(), stderr=errors)
            place.hosts.append(host)
            info = {"name": text(SECRETS[2]), "version": SECRETS[0].secret}
            host.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
            host.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            return host

        for first in range(0, len(SECRETS), 8):
            other = arrived()
            assert "result" in other.call("leak", first=first)
            other.close()
        host = arrived()
        for one in SECRETS:
            say(host, one)
        host.call("fail")
        if mode == "enforce":
            _ask_people(place, host)
        searched = [*printed(place), *written_below(place.root)]
        assert leaks(SECRETS, iter(searched)) == []
        contents = opened(place)
        assert len(contents) > len(SECRETS)
        assert leaks(SECRETS, iter([("arguments", "\n".join(map(json.dumps, contents)).encode())])) == []
        assert log(place).decode().count(MARK) > len(SECRETS)
        assert place.mcpguard("audit", "verify").returncode == 0
        host.close()
        place.mcpguard("daemon", "stop")
        assert place.daemon is not None
        said = place.daemon.communicate()[1]
        assert leaks(SECRETS, iter([("stderr of the daemon", said.encode())])) == []


def _ask_people(place: House, host: Host) -> None:
    """Have calls wait, look at them in every way, and deny them with a secret as the reason."""
    for one in SECRETS[:7]:
        password = one.secret if one.secret.isalnum() else "nothing"
        waiting = host.calling("ask_this", note=text(one), password=password, chunks=[text(one)])
        (ticket,) = until(lambda: place.ask({"verb": "pending"})["tickets"])
        assert leaks([one] if one.kind != "member" else [], printed(place)) == []
        ran = place.mcpguard("deny", ticket["id"], "--reason", f"no: {text(one)}")
        assert ran.returncode == 0, ran.stderr
        host.answer(waiting)


def test_what_a_probed_server_says_when_it_fails_is_repeated_without_secrets(tmp_path: Path) -> None:
    texts = [text(one) for one in SECRETS[:60]]
    code = "import json, sys\nfor each in json.load(open(sys.argv[1])): print(each, file=sys.stderr)\nsys.exit(3)\n"
    (tmp_path / "fails.py").write_text(code)
    with House() as place:
        place.env |= environment()
        names = [word for name in environment() for word in ("--pass", name)]
        for at in range(0, len(texts), 5):
            (tmp_path / "texts.json").write_text(json.dumps(texts[at : at + 5]))
            ran = place.mcpguard(
                "server",
                "add",
                "x",
                *names,
                "--",
                PYTHON,
                str(tmp_path / "fails.py"),
                str(tmp_path / "texts.json"),
            )
            assert ran.returncode
            assert MARK in ran.stderr
            assert leaks(SECRETS[:60], iter([("server add", (ran.stdout + ran.stderr).encode())])) == []


@pytest.fixture
def kept() -> Iterator[tuple[House, Host]]:
    with house() as place:
        place.policy(POLICY.format(mode="enforce"))
        yield place, arrive(place, FORMS["pipes"]).greet()


def test_arguments_are_kept_where_a_rule_says_so_and_erased_for_good(kept: tuple[House, Host]) -> None:
    place, host = kept
    host.call("echo", text="a first sentence", password="swordfish-9")
    host.call("echo", text="a second sentence")
    keys = place.state / "audit" / NAME
    assert keys.stat().st_mode & 0o777 == 0o600
    first, second = [record for record in place.records() if "sealed" in record.get("args", {})]
    assert "sentence" not in json.dumps([first, second])
    assert [each["arguments"]["text"] for each in opened(place)] == ["a first sentence", "a second sentence"]
    assert opened(place)[0]["arguments"]["password"].startswith(MARK)
    assert "a first sentence" in place.mcpguard("audit", "tail").stdout

    looked = place.mcpguard("audit", "erase", "--seq", str(first["seq"]), "--dry-run", "--json")
    assert json.loads(looked.stdout)["found"] == 1
    assert len(opened(place)) == 2
    assert place.mcpguard("audit", "erase", "--seq", str(first["seq"])).returncode == 5  # nobody was asked
    before = keys.read_bytes()
    ran = place.mcpguard("audit", "erase", "--seq", str(first["seq"]), "--yes", "--json")
    assert json.loads(ran.stdout) == {"v": 1, "ok": True, "found": 1, "erased": 1}, ran.stderr
    after = keys.read_bytes()
    assert after[8:40] == bytes(32) != before[8:40]
    assert after[40:] == before[40:]
    assert opened(place) == [{"erased": True}, {"arguments": {"text": "a second sentence"}}]
    shown = place.mcpguard("audit", "tail").stdout
    assert "a first sentence" not in shown
    assert "(arguments erased)" in shown
    assert place.mcpguard("audit", "verify").returncode == 0
    (record,) = [record for record in place.records() if record.get("event") == "erased"]
    assert record["records"] == 1
    assert record["wanted"] == {"seq": str(first["seq"])}
    assert record["by"].startswith("uid ")
    again = place.mcpguard(
        "audit", "erase", "--before", "0m", "--server", "nothing-of-the-kind", "--yes", "--json"
    )
    assert json.loads(again.stdout)["found"] == 0


def test_erasing_goes_by_server_and_time(kept: tuple[House, Host]) -> None:
    place, host = kept
    for number in range(20):
        host.call("echo", text=f"sentence {number}")
    server = next(record["server"] for record in place.records() if record["type"] == "call")
    assert (
        json.loads(place.mcpguard("audit", "erase", "--before", "1d", "--yes", "--json").stdout)["found"] == 0
    )
    ran = place.mcpguard("audit", "erase", "--server", server, "--before", "2099-01-01", "--yes")
    assert "erased the arguments of 20 records" in ran.stdout, ran.stderr
    assert opened(place) == [{"erased": True}] * 20
    host.call("echo", text="a later sentence")
    assert opened(place)[-1] == {"arguments": {"text": "a later sentence"}}


def test_a_restarted_daemon_goes_on_with_the_next_key(kept: tuple[House, Host]) -> None:
    place, host = kept
    host.call("echo", text="before")
    host.close()
    place.mcpguard("daemon", "stop")
    assert place.daemon is not None
    place.daemon.wait(20)
    place.serve()
    arrive(place, FORMS["pipes"]).greet().call("echo", text="after")
    assert [each["arguments"]["text"] for each in opened(place)] == ["before", "after"]


def test_arguments_that_are_too_long_are_cut_and_say_so(kept: tuple[House, Host]) -> None:
    place, host = kept
    answer = host.call("echo", text="word " * 200_000, more=["x" * 50] * 3000)
    assert "result" in answer
    (found,) = opened(place)
    assert found["cut"] is True
    assert found["arguments"]["text"].startswith("word word")
    assert max(map(len, log(place).splitlines())) < 65_536


def test_the_daemon_leaves_no_core_and_lets_nobody_look_into_it() -> None:
    with house() as place:
        pid = place.pid()
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size")).split()
        assert core[4] == "0"
        assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0  # it is the daemon's own doing
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0  # what cannot be dumped belongs to root
        status = place.ask({"verb": "status"})
        assert status["ok"]
