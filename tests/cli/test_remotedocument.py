"""The client-id document."""

import json

import pytest
from click.testing import CliRunner

from mcpguard.cli.remotedocument import document


def test_it_names_its_own_url() -> None:
    done = CliRunner().invoke(document, ["https://guard.example/client.json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["client_id"] == "https://guard.example/client.json"
    assert found["redirect_uris"] == ["http://127.0.0.1/callback"]


@pytest.mark.parametrize(
    "url", ["http://guard.example/x", "https://guard.example/", "x", "https://u@guard.example/x"]
)
def test_what_can_be_no_client_id(url: str) -> None:
    done = CliRunner().invoke(document, [url])
    assert done.exit_code == 1
    assert done.stdout == ""
