"""`mcpguard metrics --listen`: loopback only, and only by its own name."""

import http.client
import threading

import click
import pytest

from mcpguard.cli.metrics import _place, _Scraped, _Server


@pytest.mark.parametrize(
    "text", ["0.0.0.0:9464", "192.168.1.1:1", "example.com:1", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1"]
)
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="loopback"):
        _place(text)


def test_places() -> None:
    assert _place(":9464") == _place("localhost:9464") == ("127.0.0.1", 9464)
    assert _place("[::1]:1") == ("::1", 1)


@pytest.mark.parametrize(
    ("host", "path", "code"),
    [("evil.example", "/metrics", 421), ("127.0.0.1", "/", 404), ("localhost", "/metrics", 503)],
)
def test_names_paths_and_no_daemon(
    host: str, path: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(tmp_path))
    with _Server(("127.0.0.1", 0), _Scraped) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = server.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        assert connection.getresponse().status == code
        connection.close()
        server.shutdown()
