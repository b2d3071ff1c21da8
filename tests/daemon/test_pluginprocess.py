"""Programs that authenticate, with manners of every kind: real children on both loops."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcpguard.daemon import pluginprocess
from mcpguard.daemon.pluginprocess import PluginProcess
from mcpguard.errors import PeerError
from mcpguard.system.authfile import Plugin
from tests.daemon.loops import both_loops, eventually, run

HEAD = "#!/usr/bin/env python3\nimport json, os, sys, time\n"
ECHO = "for line in sys.stdin:\n    print(line, end='', flush=True)\n"


def program(place: Path, body: str, **settings: Any) -> PluginProcess:
    file = place / "plugin"
    file.write_text(HEAD + body)
    file.chmod(0o755)
    return PluginProcess(Plugin("badge", (str(file),), **settings))


def gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@both_loops
def test_many_questions_at_a_time_and_answers_in_another_order(tmp_path: Path, loop: str) -> None:
    body = "lines = [sys.stdin.readline() for _ in range(20)]\nfor line in reversed(lines):\n    print(line, end='', flush=True)\n"

    async def story() -> None:
        each = program(tmp_path, body)
        answers = await asyncio.gather(*(each.ask({"n": number}, 10) for number in range(20)))
        assert [answer["n"] for answer in answers] == list(range(20))
        assert each.starts == 1
        await each.close()

    run(story, loop)


BAD = {
    "ends": ("sys.stdin.readline()\n", "it ended"),
    "ends at once": ("", "gave no answer|cannot be asked"),
    "prints rubbish": (
        "sys.stdin.readline()\nprint('hello', flush=True)\ntime.sleep(60)\n",
        "what is no answer",
    ),
    "prints no id": ("sys.stdin.readline()\nprint('{}', flush=True)\ntime.sleep(60)\n", "what is no answer"),
    "prints a list": (
        "sys.stdin.readline()\nprint('[1]', flush=True)\ntime.sleep(60)\n",
        "what is no answer",
    ),
    "prints without end": ("while True:\n    sys.stdout.write('x' * 65536)\n", "printed too much"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_that_breaks_the_rules_has_refused_and_is_ended(tmp_path: Path, case: str) -> None:
    body, words = BAD[case]

    async def story() -> None:
        each = program(tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n" + body)
        with pytest.raises(PeerError, match=words):
            await each.ask({}, 10)
        with pytest.raises(PeerError, match="does not run"):
            await each.ask({}, 10)
        assert each.starts == 1
        if (tmp_path / "pid").exists():
            pid = int((tmp_path / "pid").read_text())
            assert await eventually(lambda: gone(pid))
        await each.close()

    run(story)


def test_one_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    body = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(600)\n"
    )

    async def story() -> None:
        each = program(tmp_path, body)
        asked = asyncio.get_running_loop().create_task(each.ask({}, 600))
        assert await eventually(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
        with pytest.raises(PeerError, match="does not answer"):
            await each.ask({}, 0.05)
        with pytest.raises(PeerError, match="gave no answer: it did not answer in time"):
            await asked
        for pid in (tmp_path / "pids").read_text().split():
            assert await eventually(lambda pid=pid: gone(int(pid)))  # type: ignore[misc]

    run(story)


def test_it_is_started_again_after_a_pause_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pluginprocess, "PAUSE_SECONDS", 0.02)

    async def story() -> None:
        each = program(tmp_path, "sys.stdin.readline()\n")
        pauses = []
        for _ in range(4):
            with pytest.raises(PeerError, match="gave no answer"):
                await each.ask({}, 10)
            loop = asyncio.get_running_loop()
            pauses.append(each._pause)
            while loop.time() < each._not_before:  # uvloop's timers may come up to 1 ms early
                await asyncio.sleep(0.002)
        assert pauses == [0.04, 0.08, 0.16, 0.32]
        assert each.starts == 4

    run(story)


def test_it_gets_no_environment_of_ours_no_descriptor_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BADGE_URL", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    body = (
        "line = json.loads(sys.stdin.readline())\n"
        "open_ = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)]\n"
        "print(json.dumps({'id': line['id'], 'env': dict(os.environ), 'fds': len(open_), 'cwd': os.getcwd(),"
        " 'session': os.getsid(0) == os.getpid()}), flush=True)\n"
    )

    async def story() -> None:
        leaked = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(leaked, True)
        each = program(tmp_path, body, env=("BADGE_URL", "NOT_SET"))
        answer = await each.ask({}, 10)
        os.close(leaked)
        environment = {
            name: value for name, value in answer["env"].items() if name not in ("LC_CTYPE", "PWD")
        }
        assert environment == {"PATH": "/usr/local/bin:/usr/bin:/bin", "BADGE_URL": "x"}
        assert (answer["fds"], answer["cwd"], answer["session"]) == (3, "/", True)
        await each.close()

    run(story)


def test_there_is_no_such_program(tmp_path: Path) -> None:
    async def story() -> None:
        each = PluginProcess(Plugin("badge", (str(tmp_path / "none"),)))
        with pytest.raises(PeerError, match="cannot be asked"):
            await each.ask({}, 10)
        with pytest.raises(PeerError, match="does not run"):
            await each.ask({}, 10)

    run(story)


def test_it_ends_when_we_close_and_is_not_started_again(tmp_path: Path) -> None:
    async def story() -> None:
        each = program(tmp_path, "open(sys.argv[0] + '.pid', 'w').write(str(os.getpid()))\n" + ECHO)
        await each.ask({}, 10)
        await each.close()
        assert gone(int((tmp_path / "plugin.pid").read_text()))
        with pytest.raises(PeerError, match="does not run"):
            await each.ask({}, 10)

    run(story)


def test_questions_that_wait_are_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        each = program(tmp_path, "time.sleep(600)\n")
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(each.ask({"n": number}, 600)) for number in range(pluginprocess.PENDING)]
        assert await eventually(lambda: len(each._waiting) == pluginprocess.PENDING)
        with pytest.raises(PeerError, match="too many questions"):
            await each.ask({}, 10)
        await each.close()
        for task in tasks:
            with pytest.raises(PeerError, match="asks no more"):
                await task

    run(story)


def test_an_answer_is_what_was_said_and_its_id_is_ours(tmp_path: Path) -> None:
    async def story() -> None:
        each = program(tmp_path, ECHO)
        assert await each.ask({"a": [1, {"b": None}]}, 10) == json.loads('{"a": [1, {"b": null}]}')
        await each.close()

    run(story)


def test_a_program_that_others_may_write_to_is_not_started(tmp_path: Path) -> None:
    async def story() -> None:
        each = program(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n" + ECHO)
        (tmp_path / "plugin").chmod(0o777)
        with pytest.raises(PeerError, match="its program is writable by others"):
            await each.ask({}, 10)
        assert not (tmp_path / "ran").exists()
        await each.close()

    run(story)
