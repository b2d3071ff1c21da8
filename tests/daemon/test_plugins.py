"""Plug-ins can only add evidence or refuse: whatever one answers, nobody reaches more than without it."""

import asyncio
import importlib.util
import json
import os
from importlib.metadata import EntryPoint as Metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon import connectionauth, plugins
from mcpguard.daemon.connectionauth import ConnectionAuth
from mcpguard.daemon.plugins import Authenticator, EntryPoint, load
from mcpguard.errors import ConfigError, PeerError
from mcpguard.system.authfile import Plugin
from mcpguard.system.servefile import Listen
from tests.daemon.loops import run
from tests.daemon.test_authenticators import alone

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FOUND = Authenticated(frozenset(["cert:agent.example"]), {}, instance="cert:1")


def asked(answer: Any, **settings: Any) -> Authenticated:
    """What a plug-in adds that gives this answer."""

    async def ask(question: dict[str, Any]) -> Any:
        return answer(question) if callable(answer) else answer

    each = Authenticator(Plugin("badge", entry_point="badge", **settings), EntryPoint("badge", ask))
    return run(lambda: each.add(FOUND, Presented(uid=7, authorization="Bearer secret", certificate=b"\x01")))


def test_its_principals_bear_its_name_whatever_it_says() -> None:
    added = asked(
        {"ok": True, "principals": ["key:root", "uid:0", "role:admin"], "expires": 5.0, "tools": ["a"]}
    )
    assert added.principals == {"plugin:badge=key:root", "plugin:badge=uid:0", "plugin:badge=role:admin"}
    assert (added.expires, added.tools, added.instance) == (5.0, ("a",), "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"ok": False, "reason": "not\nat work"}, "badge refuses: not\\\\u000aat work"),
        ({"ok": False}, "does not say why"),
        ({"ok": "yes"}, "no answer that can be understood"),
        ({"ok": 1}, "no answer that can be understood"),
        ({}, "no answer that can be understood"),
        (None, "no answer that can be understood"),
        ([True], "no answer that can be understood"),
        ({"ok": True, "instance": "key:1"}, "no answer that can be understood"),
        ({"ok": True, "principals": "abc"}, "no answer that can be understood"),
        ({"ok": True, "principals": [""]}, "principals that none can be"),
        ({"ok": True, "principals": ["a\nb"]}, "principals that none can be"),
        ({"ok": True, "principals": ["a"] * 33}, "principals that none can be"),
        ({"ok": True, "servers": [""]}, "scopes or a time"),
        ({"ok": True, "expires": -1.0}, "scopes or a time"),
        (lambda _: 1 / 0, "badge failed: ZeroDivisionError"),
    ],
)
def test_whatever_else_it_answers_is_a_refusal(answer: Any, words: str) -> None:
    with pytest.raises(PeerError, match=words):
        asked(answer)


def test_one_that_does_not_answer_has_refused() -> None:
    async def never(_question: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    each = Authenticator(Plugin("badge", timeout=0.05), EntryPoint("badge", never))
    with pytest.raises(PeerError, match="does not answer"):
        run(lambda: each.add(FOUND, Presented()))


def test_it_is_told_what_configuration_says_and_no_credential() -> None:
    questions: list[dict[str, Any]] = []

    def note(question: dict[str, Any]) -> Any:
        questions.append(question)
        return {"ok": True}

    asked(note)
    asked(note, sees=("authorization", "certificate"))
    assert questions[0] == {
        "op": "authenticate", "principals": ["cert:agent.example"], "instance": "cert:1", "network": "", "uid": 7,
    }  # fmt: skip
    assert (questions[1]["authorization"], questions[1]["certificate"]) == ("Bearer secret", "01")


class Offered:
    """Entry points that packages offer."""

    def __init__(self, *values: str) -> None:
        self._points = [Metadata("badge", value, plugins.GROUP) for value in values]

    def __call__(self) -> list[Metadata]:
        return self._points


def make(settings: dict[str, Any]) -> Any:
    async def ask(question: dict[str, Any]) -> Any:
        return {"ok": bool(settings["yes"])}

    return ask


def test_an_entry_point_is_loaded_by_name_and_given_its_settings() -> None:
    here = f"{__name__}:make"
    each = load(Plugin("mine", entry_point="badge", settings={"yes": True}), Offered(here))
    run(lambda: each.add(FOUND, Presented()))
    for points, settings, words in [
        (Offered(), {"yes": True}, "no installed package offers"),
        (Offered(here, here), {"yes": True}, "more than one package offers"),
        (Offered(f"{__name__}:nothing"), {}, "cannot be loaded"),
    ]:
        with pytest.raises(ConfigError, match=words):
            load(Plugin("mine", entry_point="badge", settings=settings), points)
    with pytest.raises(PeerError, match="mine failed: KeyError"):
        run(lambda: load(Plugin("mine", entry_point="badge"), Offered(here)).add(FOUND, Presented()))


# --- in the chain, and the examples of the documentation --------------------------------------------------


def user(uid: int) -> Authenticated:
    """What the connection of a user shows."""
    return Authenticated(frozenset([f"uid:{uid}"]), {}, instance=f"uid:{uid}")


def settings(*words: str, more: str = "") -> str:
    return f"version = 1\n[plugin.badge]\ncommand = {json.dumps(list(words))}\n{more}\n"


def test_the_example_adds_refuses_and_changes_its_mind(tmp_path: Path) -> None:
    badges = tmp_path / "badges.json"
    badges.write_text('{"1000": "house-7"}')

    async def story(chain: Any) -> None:
        found = await chain.chain.vet(user(1000), Presented(uid=1000))
        assert found.principals == {"plugin:badge=in-house-7"}
        assert (found.instance, found.evidence["plugins"]) == ("", ["badge"])
        await chain.chain.recheck(found, user(1000))
        with pytest.raises(PeerError, match="badge refuses: nobody of that name is in the house"):
            await chain.chain.authenticate(Presented(uid=1001), ("plugin:badge",), user(1001))
        badges.write_text("{}")
        with pytest.raises(PeerError, match="nobody of that name"):
            await chain.chain.recheck(found, user(1000))
        badges.unlink()
        with pytest.raises(PeerError, match="list of badges cannot be read"):
            await chain.chain.recheck(found, user(1000))

    chain = alone(tmp_path, story, settings(str(EXAMPLES / "badge_authenticator.py"), str(badges)))
    assert '"shown":"plugin:badge"' in chain.log()


def test_a_listener_that_requires_the_user_and_a_badge_has_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {os.getuid(): ["wheel", "users"]}
    monkeypatch.setattr(connectionauth, "groups_of", groups.__getitem__)
    badges = tmp_path / "badges.json"
    badges.write_text(json.dumps({str(os.getuid()): "house-7"}))
    listen = Listen("sock", path="/run/x", auth=("uid", "plugin:badge"), uids=(os.getuid(),))

    async def story(chain: Any) -> None:
        auth = ConnectionAuth(listen, None, chain.chain)
        shown = Presented(uid=os.getuid())
        found = await auth.authenticate(shown)
        assert {f"uid:{os.getuid()}", "plugin:badge=in-house-7"} <= found.whole.principals
        assert found.whole.instance == f"uid:{os.getuid()}"
        assert (await auth.renewed(found, shown)).whole.principals == found.whole.principals
        groups[os.getuid()].remove("wheel")
        left = (await auth.renewed(found, shown)).whole.principals
        assert found.whole.principals - left == {"group:wheel"}, "what the connection shows is asked again"
        badges.write_text("{}")
        for again in (auth.renewed(found, shown), auth.authenticate(shown)):
            with pytest.raises(PeerError, match="nobody of that name"):
                await again

    text = settings(str(EXAMPLES / "badge_authenticator.py"), str(badges), more="always = false")
    alone(tmp_path, story, text)


def test_it_does_not_let_in_whom_others_refuse(tmp_path: Path) -> None:
    yes = tmp_path / "yes.py"
    yes.write_text(
        "#!/usr/bin/env python3\nimport json, sys\nfor line in sys.stdin:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'ok': True, 'principals': ['x'],"
        " 'servers': ['*']}), flush=True)\n"
    )
    yes.chmod(0o755)

    async def story(chain: Any) -> None:
        key = chain.key("ci", '{"servers":["files"],"seconds":60}')
        found = await chain.bearer(key, "apikey")
        assert (found.servers, found.expires) == (("files",), chain.clock.now + 60), "it does not widen"
        for authorization, kinds in (("Bearer no", ("apikey",)), (f"Bearer {key}", ("plugin:badge",))):
            with pytest.raises(PeerError):
                await chain.chain.authenticate(Presented(authorization=authorization), kinds)
        with pytest.raises(PeerError, match="there is no authenticator 'other'"):
            await chain.bearer(key, "apikey", "plugin:other")
        await chain.bearer(key, "apikey", "plugin:badge")

    alone(tmp_path, story, settings(str(yes)))


def test_one_that_is_named_by_listeners_alone_is_asked_for_them_alone(tmp_path: Path) -> None:
    async def story(chain: Any) -> None:
        assert not chain.chain.asked_always()
        with pytest.raises(PeerError, match="badge"):
            await chain.chain.authenticate(Presented(uid=1), ("plugin:badge",), user(1))

    alone(tmp_path, story, settings("/bin/false", more="always = false"))


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_office_hours() -> None:
    module = example("hours_authenticator")

    def judged(first: int, last: int) -> Authenticated:
        ask = module.make({"from": first, "to": last})
        return run(lambda: Authenticator(Plugin("hours"), EntryPoint("hours", ask)).add(FOUND, Presented()))

    all_day = judged(0, 24)
    assert all_day.principals == {"plugin:hours=working"}
    assert all_day.expires > 0
    with pytest.raises(PeerError, match="hours refuses: nobody works before 0 or after 0"):
        judged(0, 0)
