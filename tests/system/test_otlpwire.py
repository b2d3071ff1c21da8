"""Our values as those of the SDK: what an exporter says of a request is what we hear."""

from mcpguard.audit.telemetry import Summary
from mcpguard.system.otlpwire import Wire
from mcpguard.system.sinkfile import Sink
from tests.system.receivers import Web


def test_success_and_failure_are_told() -> None:
    web = Web()
    wire = Wire(Sink("o", "otlp", f"http://127.0.0.1:{web.port}/"), {"service.name": "x"})
    one = Summary()
    one.add(0.5)
    assert wire.metrics([("a", {"k": "v"}, one)], [({"k": "v"}, 3)], 1, 2) == ""
    assert web.requests[0][0] == "/v1/metrics"
    web.answer = lambda _: (404, {})
    assert wire.metrics([], [({}, 1)], 1, 2).startswith("it answers 404")
    web.answer = lambda _: (301, {"Location": "/v1/metrics"})
    assert "301" in wire.metrics([], [({}, 1)], 1, 2)
    web.close()
    assert "refused" in wire.metrics([], [({}, 1)], 1, 2)
    wire.close()


def test_the_environment_decides_nothing(monkeypatch) -> None:
    web = Web()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    wire = Wire(Sink("o", "otlp", f"http://127.0.0.1:{web.port}"), {})
    wire.use({"Authorization": "Bearer t"})
    assert wire.logs([]) == ""
    assert web.requests[0][1]["authorization"] == "Bearer t"
    web.close()
    wire.close()
