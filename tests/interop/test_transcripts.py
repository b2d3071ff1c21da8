"""Real clients and real servers: what they say to each other is the same with the guard in between."""

import difflib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import run
from scenarios import SCENARIOS, matrix
from transcript import compare_text

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(("client", "mode", "server", "scenario"), matrix())
def test_same_through_the_guard(client, mode, server, scenario, wrapper, env, tmp_path: Path):
    # The names of the directories have the same length: sizes of what the server returns do not differ.
    with ThreadPoolExecutor(2) as pool:
        direct, wrapped = pool.map(
            lambda how: run(
                client, mode, server, scenario, wrapper=how[0], directory=tmp_path / how[1], env=env
            ),
            [([], "run-1"), (wrapper, "run-2")],
        )
    exits = SCENARIOS[server][scenario].exits
    expected, found = compare_text(direct, exits=exits), compare_text(wrapped, exits=exits)
    difference = list(difflib.unified_diff(expected, found, "direct", "wrapped", lineterm="", n=4))
    assert not difference, "\n".join(line[:400] for line in difference[:200])
