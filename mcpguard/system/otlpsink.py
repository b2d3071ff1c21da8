"""OpenTelemetry: logs, metrics and traces over OTLP/HTTP, with the semantic conventions for MCP.

A log record for each event. A span, of kind CLIENT, for each request: from its forwarding to its answer, or of no
length where it was refused. Histograms `mcp.client.operation.duration` and `mcp.client.session.duration`, in seconds,
and a counter of decisions, cumulative since this process began.

Trace and span ids are made of connection, side and request, so that a batch that is sent twice makes no second span.

Source: OpenTelemetry semantic conventions, gen-ai/mcp (status: Development); OTLP 1.x. Needs the extra `otel`.

Decided:
    *Trace context of the host is not continued*: `traceparent` in `_meta` is the host's word, and is in no record.
    *HTTP, not gRPC*: every collector takes it, and grpcio alone is 15 MB.
    *A redirect is a failure here*, as the exporters of the SDK (1.45) take any answer below 400 for success.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from mcpguard import __version__
from mcpguard.audit.event import Event, Severity
from mcpguard.audit.telemetry import Totals, identified, measured
from mcpguard.system.delivery import SinkError, bearer
from mcpguard.system.sinkfile import Sink

_LEVELS: Final = {
    Severity.INFORMATIONAL: 9,
    Severity.LOW: 10,
    Severity.MEDIUM: 13,
    Severity.HIGH: 17,
    Severity.CRITICAL: 21,
}


class OtlpSink:
    """One collector; `hostname` is this machine's.

    Raises:
        SinkError: The extra is not installed.
    """

    def __init__(self, sink: Sink, hostname: str) -> None:
        try:
            from mcpguard.system import otlpwire  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise SinkError("OpenTelemetry is not installed", hint="pip install 'mcpguard[otel]'") from error
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # what goes wrong is told once, as the sink's error
        self._sink = sink
        self._wire: Any = otlpwire.Wire(
            sink, {"service.name": "mcpguard", "service.version": __version__, "host.name": hostname}
        )
        self._totals = Totals({}, {}, {})
        self._since = time.time_ns()

    def send(self, events: Sequence[Event]) -> None:
        """Hand over events: logs, spans, then the totals with them counted in.

        Raises:
            SinkError: The collector cannot be reached, or has not taken them.
        """
        headers = {}
        if self._sink.token_file:
            headers["Authorization"] = f"Bearer {bearer(self._sink.token_file)}"
        self._wire.use(headers)
        totals = self._totals.copied()
        for event in events:
            totals.add(event)
        if "logs" in self._sink.signals:
            self._taken("logs", self._wire.logs([self._log(event) for event in events]))
        if "traces" in self._sink.signals and (
            spans := [span for event in events if (span := self._span(event))]
        ):
            self._taken("traces", self._wire.spans(spans))
        if "metrics" in self._sink.signals and (totals.durations or totals.decisions):
            series = [(name, dict(key), one) for (name, key), one in totals.durations.items()]
            counts = [(dict(key), count) for key, count in totals.decisions.items()]
            self._taken("metrics", self._wire.metrics(series, counts, self._since, time.time_ns()))
        self._totals = totals

    def look(self) -> None:
        """Nothing to see: each request is answered."""

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _taken(self, signal: str, fault: str) -> None:
        if fault:
            raise SinkError(f"{self._sink.to}: {signal} were not taken: {fault}")

    def _log(self, event: Event) -> dict[str, Any]:
        trace, span = identified(event)
        attributes: dict[str, Any] = {
            "mcpguard.event.id": event.id,
            "mcpguard.event.type": event.record.type,
            "mcpguard.event.word": event.word,
            "mcpguard.event.seq": event.record.seq,
            "mcpguard.server": event.text("server"),
            "mcpguard.host": str(event.host.get("host") or ""),
            "mcpguard.grade": str(event.host.get("grade") or ""),
            "mcpguard.rule": event.text("rule"),
            "mcp.session.id": event.text("conn"),
            "mcpguard.record": event.line,
        }
        if "method" in event.body:
            attributes |= measured(event)
        return {
            "time": event.milliseconds * 1_000_000,
            "level": _LEVELS[event.severity],
            "severity": event.severity.name,
            "body": event.sentence,
            "name": f"mcpguard.{event.record.type}",
            "attributes": {key: value for key, value in attributes.items() if value != ""},
            "trace": trace,
            "span": span,
        }

    def _span(self, event: Event) -> dict[str, Any] | None:
        """A request that ended: by its answer, or because it was refused."""
        kind = event.record.type
        refused = kind == "call" and event.word == "deny" and event.body.get("binding") is not False
        if kind != "outcome" and not refused:
            return None
        trace, span = identified(event)
        end = event.milliseconds * 1_000_000
        latency = event.body.get("latency_us")
        method, target = event.text("method"), event.target
        attributes = measured(event) | {
            "mcp.session.id": event.text("conn"),
            "jsonrpc.request.id": event.text("id"),
            "mcpguard.server": event.text("server"),
            "mcpguard.event.id": event.id,
        }
        if method.startswith("resources/") and target:
            attributes["mcp.resource.uri"] = target
        named = method in ("tools/call", "prompts/get") and target
        return {
            "name": f"{method} {target}" if named else method,
            "trace": trace,
            "span": span,
            "start": end - (latency * 1000 if type(latency) is int else 0),
            "end": end,
            "error": attributes.get("error.type", ""),
            "attributes": attributes,
        }
