"""The status of a daemon whose tokens are of several kinds is in test_remotewords.py; here, that of an empty one."""

import json

from tests.lifecycle.stage import House


def test_nothing_is_an_empty_list() -> None:
    with House() as place:
        place.serve()
        done = place.mcpguard("remote", "status", "--json")
        assert json.loads(done.stdout) == {"v": 1, "servers": []}
