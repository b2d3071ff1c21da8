"""The careless file server of the demo."""

import json
import subprocess
import sys
from pathlib import Path

from mcpguard.cli import demo_server


def answers(root: Path, *lines: str) -> list[dict[str, object]]:
    told = subprocess.run(
        [sys.executable, "-I", demo_server.__file__, str(root)], input="".join(f"{line}\n" for line in lines),
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    return [json.loads(line) for line in told.stdout.splitlines()]


def call(ident: int, name: str, **arguments: str) -> str:
    return json.dumps({"id": ident, "method": "tools/call", "params": {"name": name, "arguments": arguments}})


def test_three_tools_over_one_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    hello = json.dumps({"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}})
    note = json.dumps({"method": "notifications/initialized"})
    said = answers(
        tmp_path, hello, note, json.dumps({"id": 2, "method": "tools/list"}), call(3, "list_directory"),
        call(4, "read_file", path="a"), call(5, "delete_file", path="b"), call(6, "read_file", path="b"),
        call(7, "frob"), json.dumps({"id": 8, "method": "ping"}),
    )  # fmt: skip
    results = {answer["id"]: answer["result"] for answer in said}
    assert results[1]["protocolVersion"] == "2025-06-18"
    assert [tool["name"] for tool in results[2]["tools"]] == ["list_directory", "read_file", "delete_file"]
    texts = {ident: results[ident]["content"][0]["text"] for ident in range(3, 8)}
    assert texts[3] == "a\nb"
    assert (texts[4], texts[5], texts[7]) == ("one", "deleted", "no tool frob")
    assert results[6]["isError"] is True
    assert results[8] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_last_of_two_equal_keys_counts_which_is_what_the_demo_shows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    line = '{"id":1,"method":"tools/call","params":{"name":"read_file","name":"delete_file","arguments":{"path":"a"}}}'
    answers(tmp_path, line)
    assert list(tmp_path.iterdir()) == []
