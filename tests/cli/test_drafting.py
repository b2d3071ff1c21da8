"""Drafts: what a command runs, with digests, and what the server said of itself."""

import datetime as dt
import hashlib
import sys

import msgspec
import pytest

from mcpguard.cli.drafting import (
    Asked,
    described,
    doubts,
    draft,
    executables,
    lasting,
    resolved,
    risk_of,
    variables,
)
from mcpguard.daemon.probed import Answers, merged
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import definition_digest, text_digest
from mcpguard.identity.described import Definitions
from mcpguard.identity.manifest import encode_manifest, parse_manifest
from mcpguard.model import Era

NOW = dt.datetime(2026, 6, 1, 12, 30, tzinfo=dt.UTC)
READ = {"name": "read_file", "annotations": {"readOnlyHint": True}}
WRITE = {"name": "write_file", "annotations": {"destructiveHint": True}}
PROBED = merged(
    [
        Answers(
            Era.LEGACY, "2025-11-25", "acme", "1", "Be kind.", ("tools",),
            {"tools": [READ, WRITE], "resources": [{"uri": "a:1"}]}, ("roots/list",),
        )
    ],
    {},
)  # fmt: skip


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "server.py"
    path.write_text("print(1)\n")
    return path


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def drafted(asked, **options):
    return draft(asked, PROBED, **{"version": 3, "now": NOW, "lasting": dt.timedelta(days=90), **options})


def test_draft_says_what_runs_and_what_was_probed(script):
    asked = Asked("files", (sys.executable, str(script)), passed=("EDITOR",), fixed={"MODE": "1"})
    manifest = drafted(asked)
    assert parse_manifest(encode_manifest(manifest)) == manifest
    assert (manifest.name, manifest.version) == ("files", 3)
    assert (manifest.not_before, manifest.expires) == ("2026-06-01T12:30:00Z", "2026-08-30T12:30:00Z")
    assert manifest.launch.argv == manifest.launch.host_argv == (sys.executable, str(script))
    assert (manifest.launch.cwd, manifest.launch.env_pass) == ("{host_cwd}", ("EDITOR",))
    assert manifest.launch.env_set == {"MODE": "1"}
    assert {pin.path: pin.sha256 for pin in manifest.executables} == {
        sys.executable: sha256(sys.executable),
        str(script): sha256(script),
    }
    assert manifest.executables[1].size == script.stat().st_size
    assert manifest.server_name == "acme"
    assert manifest.instructions_sha256 == text_digest("Be kind.")
    assert manifest.tools == {"read_file": definition_digest(READ), "write_file": definition_digest(WRITE)}
    assert manifest.risks == {"read_file": "read", "write_file": "destructive"}
    assert (manifest.resources, manifest.server_requests, manifest.capabilities) == (
        ("a:1",),
        ("roots/list",),
        ("tools",),
    )


def test_host_may_say_something_else(script):
    asked = Asked("files", (sys.executable, str(script)), ("npx", "files"))
    assert drafted(asked).launch.host_argv == ("npx", "files")
    assert drafted(asked).pin == "P0"


@pytest.mark.parametrize("word", ["{store}/x", "a{session_tmp}"])
def test_word_that_stands_for_something_else_is_refused(script, word):
    with pytest.raises(TrustError, match="stand for something else"):
        drafted(Asked("files", (sys.executable, word)))
    with pytest.raises(TrustError, match="stand for something else"):
        drafted(Asked("files", (sys.executable,), fixed={"X": word}))


def test_program_is_found_as_a_shell_would_and_links_are_kept(tmp_path):
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "tool"
    link.symlink_to(sys.executable)
    assert resolved("tool", "", str(tmp_path / "bin")) == str(link)
    assert resolved("bin/tool", str(tmp_path)) == str(link)
    assert resolved(str(link), "") == str(link)


@pytest.mark.parametrize(
    ("program", "words"), [("nonesuch", "no program"), ("bin/x", "depends on the directory")]
)
def test_program_that_is_not_there_or_anywhere_is_refused(program, words):
    with pytest.raises(TrustError, match=words) as caught:
        resolved(program, "", "/nonesuch")
    assert caught.value.hint


def paths(argv, cwd=""):
    return [pin.path for pin in executables([str(word) for word in argv], str(cwd))]


def test_script_is_pinned_with_the_interpreter_of_its_first_line(tmp_path):
    direct, through_env, plain = (tmp_path / name for name in ("a", "b", "c"))
    direct.write_text("#!/bin/sh -e\n")
    through_env.write_text("#!/usr/bin/env -S sh -e\n")
    plain.write_bytes(b"\x7fELF")
    assert paths([direct]) == [str(direct), "/bin/sh"]
    assert paths([through_env])[0] == str(through_env)
    assert paths([through_env])[1].endswith("/sh")
    assert paths([plain]) == [str(plain)]


def test_file_that_an_interpreter_is_told_to_run_is_pinned(script, tmp_path):
    python = sys.executable
    assert paths([python, "-I", script, "/etc/passwd"]) == [python, str(script)]
    assert paths([python, "server.py"], tmp_path) == [python, str(script)]
    assert paths([python, "server.py"]) == [python]
    assert paths([python, "-m", script]) == [python]
    assert paths([python, "-c", "pass", script]) == [python]
    assert paths(["/bin/true", script]) == ["/bin/true"]


def test_executable_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(TrustError, match="cannot be opened"):
        executables([str(tmp_path / "gone")], "")


def test_other_definitions_replace_those_that_were_pinned(script):
    manifest = drafted(Asked("files", (sys.executable, str(script))))
    after = described(manifest, Definitions(tools={"read_file": WRITE}), server_name="other")
    assert after.tools == {"read_file": definition_digest(WRITE)}
    assert (after.server_name, after.instructions_sha256, after.resources) == ("other", "", ())
    assert after.executables == manifest.executables


def test_many_resources_are_cut(script):
    many = Definitions(resources=tuple(f"a:{n}" for n in range(5000)))
    manifest = described(drafted(Asked("f", (sys.executable, str(script)))), many, server_name="x")
    assert parse_manifest(encode_manifest(manifest)).resources[-1] == "a:255"


@pytest.mark.parametrize(
    ("hints", "risk"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        ({"readOnlyHint": True, "destructiveHint": True}, "read"),
        ({"readOnlyHint": False}, "write"),
        ({"destructiveHint": False}, "write"),
        ({"destructiveHint": True}, "destructive"),
        ({"readOnlyHint": "yes"}, ""),
    ],
)
def test_risk_is_what_the_annotations_say(hints, risk):
    assert risk_of({"annotations": hints}) == risk


@pytest.mark.parametrize(("text", "days"), [("24h", 1), ("90d", 90), ("2w", 14), ("1y", 365)])
def test_times_are_read(text, days):
    assert lasting(text) == dt.timedelta(days=days)


@pytest.mark.parametrize("text", ["", "1", "0d", "-1d", "1m", "1 d", "99y", "1y\n", "١d"])
def test_other_times_are_refused(text):
    with pytest.raises(TrustError, match="no time"):
        lasting(text)


def test_variables_are_read_once_each():
    assert variables(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    for texts in (["A"], ["=1"], ["A=1", "A=2"]):
        with pytest.raises(TrustError, match="--set"):
            variables(texts)


def test_variables_that_will_not_arrive_are_doubted():
    asked = Asked("f", ("x",), passed=("EDITOR", "NOTIFY_SOCKET", "GONE"))
    environ = {b"EDITOR": b"vi", b"NOTIFY_SOCKET": b"x"}
    assert doubts(asked, environ) == [
        "NOTIFY_SOCKET is never given to a server",
        "GONE is passed on, and is not set here now",
    ]
    assert doubts(msgspec.structs.replace(asked, passed=()), environ) == []
