"""Our values as those of the OpenTelemetry SDK, and its exporters for OTLP/HTTP. Imported only where the extra is.

Rule: what an exporter does not report as a success is a failure, and a redirect is no success. No proxy, credential
or certificate comes from the environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from mcpguard import __version__, limits
from mcpguard.audit.telemetry import BOUNDS, Summary
from mcpguard.system.sinkfile import Sink

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class _NotTaken(Exception):
    """A request failed. No error that the exporters know, so that they leave trying again to `system.shipping`."""


class _Session(requests.Session):
    """Follows nothing, takes nothing from the environment, and remembers how the last request ended."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.fault = ""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        self.fault = ""
        kwargs["allow_redirects"] = False
        try:
            answer = self._answer(*args, **kwargs)
        except requests.RequestException as error:
            self.fault = _reason(error)
            raise _NotTaken from error
        if not 200 <= answer.status_code < 300:
            self.fault = f"it answers {answer.status_code} {answer.reason}"
            raise _NotTaken
        return answer

    def _answer(self, *args: Any, **kwargs: Any) -> requests.Response:
        """The answer; a connection that the collector has closed while it was idle is made anew."""
        try:
            return super().request(*args, **kwargs)
        except requests.ConnectionError:
            return super().request(*args, **kwargs)


class Wire:
    """Three exporters to one collector."""

    def __init__(self, sink: Sink, resource: dict[str, str]) -> None:
        self._resource = Resource(resource)
        self._scope = InstrumentationScope("mcpguard", __version__)
        base = sink.to.rstrip("/")
        self._session = _Session()
        common: dict[str, Any] = {
            "session": self._session,
            "certificate_file": sink.ca or None,
            "timeout": limits.SINK_SECONDS,
            "headers": {},
            "compression": Compression.Gzip,
        }
        self._logs = OTLPLogExporter(f"{base}/v1/logs", **common)
        self._spans = OTLPSpanExporter(f"{base}/v1/traces", **common)
        self._metrics = OTLPMetricExporter(f"{base}/v1/metrics", **common)

    def use(self, headers: dict[str, str]) -> None:
        """Headers of the requests from now on."""
        self._session.headers.update(headers)

    def logs(self, records: Sequence[dict[str, Any]]) -> str:
        """Send log records; why they were not taken, empty if they were."""
        made = [ReadableLogRecord(self._log(one), self._resource, self._scope) for one in records]
        return self._fault(self._logs.export(made).name)

    def spans(self, spans: Sequence[dict[str, Any]]) -> str:
        """Send spans; likewise."""
        return self._fault(self._spans.export([self._span(one) for one in spans]).name)

    def metrics(
        self,
        durations: Sequence[tuple[str, dict[str, str], Summary]],
        decisions: Sequence[tuple[dict[str, str], int]],
        since: int,
        now: int,
    ) -> str:
        """Send totals; likewise. Times are Unix time in nanoseconds."""
        cumulative = AggregationTemporality.CUMULATIVE
        metrics = [
            Metric(
                name,
                "",
                "s",
                Histogram(
                    [_histogram(key, one, since, now) for each, key, one in durations if each == name],
                    cumulative,
                ),
            )
            for name in dict.fromkeys(name for name, _, _ in durations)
        ]
        if decisions:
            points = [NumberDataPoint(key, since, now, count) for key, count in decisions]
            counted = Sum(points, cumulative, is_monotonic=True)
            metrics.append(Metric("mcpguard.decisions", "Requests by decision.", "{request}", counted))
        scope = ScopeMetrics(self._scope, metrics, "")
        return self._fault(
            self._metrics.export(MetricsData([ResourceMetrics(self._resource, [scope], "")])).name
        )

    def close(self) -> None:
        """Close the connections."""
        for each in (self._logs, self._spans, self._metrics):
            each.shutdown()

    def _fault(self, result: str) -> str:
        return (
            ""
            if result == "SUCCESS" and not self._session.fault
            else self._session.fault or "the exporter failed"
        )

    def _log(self, one: dict[str, Any]) -> LogRecord:
        context = Context()
        if one["trace"]:
            context = set_span_in_context(NonRecordingSpan(_context(one)), context)
        return LogRecord(
            timestamp=one["time"],
            observed_timestamp=time.time_ns(),
            context=context,
            severity_text=one["severity"],
            severity_number=SeverityNumber(one["level"]),
            body=one["body"],
            attributes=one["attributes"],
            event_name=one["name"],
        )

    def _span(self, one: dict[str, Any]) -> ReadableSpan:
        return ReadableSpan(
            one["name"],
            context=_context(one),
            resource=self._resource,
            attributes=one["attributes"],
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR) if one["error"] else Status(StatusCode.UNSET),
            start_time=one["start"],
            end_time=one["end"],
            instrumentation_scope=self._scope,
        )


def _context(one: dict[str, Any]) -> SpanContext:
    return SpanContext(one["trace"], one["span"], is_remote=False, trace_flags=_SAMPLED)


def _histogram(key: dict[str, str], one: Summary, since: int, now: int) -> HistogramDataPoint:
    return HistogramDataPoint(key, since, now, one.count, one.total, one.buckets, BOUNDS, one.least, one.most)


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, in a few words: the outer ones say it with addresses and retries."""
    inner: BaseException = error
    while (following := inner.__cause__ or inner.__context__) is not None:
        inner = following
    return (getattr(inner, "strerror", None) or str(inner) or type(inner).__name__).lower()
