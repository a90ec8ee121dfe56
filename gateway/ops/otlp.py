"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Imported only where tracing is switched on.

The spans are made of facts after their calls have ended, by the SDK's own tracer, whose IDs are those that went upstream already.
"""

import logging
from collections.abc import Mapping

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from gateway.ops.redact import REDACTOR
from gateway.ops.spans import Span

_EXPORT_SECONDS = 3.0
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class _Given(IdGenerator):
    """The IDs that a span's facts name."""

    trace_id = span_id = 1

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


class _Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _LastWords(logging.Handler):
    """Keeps what the exporter logged last, which nobody else hears: `ops.spans` tells it once an outage."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class OtlpExporter:
    """Implements `ops.spans.Exporter`. `endpoint` is the whole address; `process` tells the processes of a gateway apart."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], *, service: str, version: str, process: str) -> None:
        session = requests.Session()
        session.trust_env = False  # no proxy and no credential of the environment may come in between
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint, headers=dict(headers), timeout=_EXPORT_SECONDS, compression=Compression.Gzip, session=session
        )
        self._ids, self._ended, self._words = _Given(), _Ended(), _LastWords()
        resource = Resource.create({"service.name": service, "service.version": version, "service.instance.id": process})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("gateway", version)
        logger = logging.getLogger("opentelemetry.exporter.otlp")
        logger.propagate = False
        logger.addHandler(self._words)

    def export(self, spans: list[Span]) -> str:
        """See `ops.spans.Exporter`."""
        self._ended.spans.clear()
        for span in spans:
            self._make(span)
        self._words.text = ""
        if self._exporter.export(self._ended.spans) is SpanExportResult.SUCCESS:
            return ""
        return self._words.text or "the exporter gave no reason"

    def interrupt(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library leaves it so

    def _make(self, span: Span) -> None:
        self._ids.trace_id, self._ids.span_id = span.trace_id, span.span_id
        context = Context()
        if span.parent_id:
            state = TraceState.from_header([span.state]) if span.state else None
            parent = SpanContext(span.trace_id, span.parent_id, span.is_remote, _SAMPLED, state)
            context = set_span_in_context(NonRecordingSpan(parent), context)
        attributes = {name: REDACTOR.text(value) if isinstance(value, str) else value for name, value in span.attributes.items()}
        made = self._tracer.start_span(span.name, context, _KINDS[span.kind], attributes, start_time=span.start_ns)
        if span.error:
            made.set_status(Status(StatusCode.ERROR))
        made.end(span.end_ns)
