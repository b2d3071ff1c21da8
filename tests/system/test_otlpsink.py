"""OTLP to a receiver that decodes it with OpenTelemetry's own protocol definitions."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mcpguard.audit.event import event_of
from mcpguard.system.delivery import SinkError
from mcpguard.system.otlpsink import OtlpSink
from mcpguard.system.sinkfile import Sink
from tests.audit.exported import HOSTILE, lines
from tests.system.receivers import Certificates, Web

EVENTS = [event_of(line) for line in lines()]


class Collector:
    """What a collector would have."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def _decoded(self, path: str, kind: Any) -> list[Any]:
        found = []
        for at, headers, body in self.web.requests:
            if at == path:
                assert headers["content-type"] == "application/x-protobuf"
                data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                found.append(kind.FromString(data))
        return found

    def logs(self) -> list[Any]:
        requests = self._decoded("/v1/logs", ExportLogsServiceRequest)
        return [
            r
            for q in requests
            for one in q.resource_logs
            for scope in one.scope_logs
            for r in scope.log_records
        ]

    def spans(self) -> list[Any]:
        requests = self._decoded("/v1/traces", ExportTraceServiceRequest)
        return [
            s for q in requests for one in q.resource_spans for scope in one.scope_spans for s in scope.spans
        ]

    def metrics(self) -> dict[str, Any]:
        """Those of the newest request."""
        newest = self._decoded("/v1/metrics", ExportMetricsServiceRequest)[-1]
        return {
            m.name: m for one in newest.resource_metrics for scope in one.scope_metrics for m in scope.metrics
        }


def attributes(one: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in one.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    web = Web()
    yield Collector(web)
    web.close()


@pytest.fixture
def sink(collector: Collector) -> Iterator[OtlpSink]:
    made = OtlpSink(Sink("o", "otlp", f"http://127.0.0.1:{collector.web.port}"), "box")
    yield made
    made.close()


def test_every_event_is_a_log_record(collector: Collector, sink: OtlpSink) -> None:
    sink.send(EVENTS)
    found = collector.logs()
    assert [attributes(each)["mcpguard.event.id"] for each in found] == [event.id for event in EVENTS]
    first = attributes(found[0])
    assert first["mcp.method.name"] == "tools/call"
    assert first["gen_ai.tool.name"] == HOSTILE
    assert first["network.transport"] == "pipe"
    assert first["mcp.session.id"] == "1-abc"
    assert json.loads(first["mcpguard.record"])["tool"] == HOSTILE
    assert (found[0].severity_number, found[0].severity_text) == (13, "MEDIUM")
    assert found[0].time_unix_nano == 1795370400123 * 10**6
    assert found[0].event_name == "mcpguard.call"


def test_requests_are_spans_by_the_conventions(collector: Collector, sink: OtlpSink) -> None:
    sink.send(EVENTS)
    spans = collector.spans()
    by_error = {attributes(each).get("error.type", ""): each for each in spans}
    assert by_error.keys() == {"denied", "", "tool_error", "_OTHER", "refused", "lost"}
    good = by_error[""]
    assert good.name == f"tools/call {HOSTILE}"
    assert good.kind == 3  # CLIENT
    assert good.end_time_unix_nano - good.start_time_unix_nano == 1_500_000
    assert good.status.code == 0
    assert attributes(good)["gen_ai.operation.name"] == "execute_tool"
    assert attributes(good)["jsonrpc.request.id"] == "7"
    assert by_error["denied"].status.code == 2
    logged = next(each for each in collector.logs() if attributes(each)["mcpguard.event.type"] == "call")
    assert (logged.trace_id, logged.span_id) == (good.trace_id, good.span_id)


def test_the_same_batch_again_makes_the_same_spans(collector: Collector, sink: OtlpSink) -> None:
    sink.send(EVENTS)
    sink.send(EVENTS)
    spans = [(each.trace_id, each.span_id) for each in collector.spans()]
    half = len(spans) // 2
    assert spans[:half] == spans[half:]


def test_durations_are_histograms_in_seconds(collector: Collector, sink: OtlpSink) -> None:
    sink.send(EVENTS)
    sink.send(EVENTS)
    found = collector.metrics()
    points = found["mcp.client.operation.duration"].histogram.data_points
    assert found["mcp.client.operation.duration"].unit == "s"
    assert sum(each.count for each in points) == 10
    assert sum(each.sum for each in points) == pytest.approx(10 * 0.0015)
    assert all(
        list(each.explicit_bounds)[:2] == [0.01, 0.02] and each.bucket_counts[0] == each.count
        for each in points
    )
    assert {attributes(each).get("error.type") for each in points} == {
        None,
        "tool_error",
        "_OTHER",
        "refused",
        "lost",
    }
    assert found["mcp.client.session.duration"].histogram.data_points[0].count == 2
    decided = [
        (attributes(each)["mcpguard.decision"], each.as_int)
        for each in found["mcpguard.decisions"].sum.data_points
    ]
    assert sorted(decided) == [("allow", 2), ("ask", 2), ("deny", 2), ("deny", 2)]
    assert found["mcpguard.decisions"].sum.is_monotonic


def test_what_was_not_taken_is_not_counted(collector: Collector, sink: OtlpSink) -> None:
    collector.web.answer = lambda _: (400, {})
    with pytest.raises(SinkError, match="logs were not taken: it answers 400"):
        sink.send(EVENTS)
    collector.web.answer = lambda _: (200, {})
    sink.send(EVENTS)
    assert (
        sum(each.count for each in collector.metrics()["mcp.client.operation.duration"].histogram.data_points)
        == 5
    )


def test_a_redirect_is_no_success_and_leads_nowhere(collector: Collector, sink: OtlpSink) -> None:
    thief = Web()
    collector.web.answer = lambda _: (302, {"Location": f"http://127.0.0.1:{thief.port}/"})
    with pytest.raises(SinkError, match="302"):
        sink.send(EVENTS)
    assert thief.requests == []
    thief.close()


def test_only_the_signals_that_are_asked_for(collector: Collector) -> None:
    sink = OtlpSink(Sink("o", "otlp", f"http://127.0.0.1:{collector.web.port}", signals=("traces",)), "box")
    sink.send(EVENTS)
    sink.close()
    assert {path for path, _, _ in collector.web.requests} == {"/v1/traces"}


def test_over_tls_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Certificates(tmp_path)
    token = tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o600)
    web = Web(made.server())
    to = f"https://localhost:{web.port}"
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    sink = OtlpSink(Sink("o", "otlp", to, ca=str(made.ca), token_file=str(token)), "box")
    sink.send(EVENTS[:1])
    sink.close()
    assert web.requests[0][1]["authorization"] == "Bearer s3cret"
    stranger = OtlpSink(Sink("o", "otlp", to, ca=str(Certificates(tmp_path / "other").ca)), "box")
    count = len(web.requests)
    with pytest.raises(SinkError, match="certificate verify failed"):
        stranger.send(EVENTS)
    stranger.close()
    assert len(web.requests) == count
    web.close()


def test_nobody_there_is_told_soon(sink: OtlpSink, collector: Collector) -> None:
    collector.web.close()
    with pytest.raises(SinkError, match="refused"):
        sink.send(EVENTS)
    collector.web = Web()
