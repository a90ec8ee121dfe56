"""What there is to set for those who watch the gateway: its log and its traces."""

from typing import Annotated, Literal

from gateway.config_values import (
    CollectorUrl,
    Flag,
    HeaderFields,
    Lower,
    Share,
    Table,
    choice,
    collector,
    flag,
    read_header_fields,
    secret,
    share,
    text,
)


class Log(Table):
    """What is written to standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = choice(
        "info", "From which severity on log lines are written.", "debug", "info", "warning", "error"
    )
    format: Annotated[Literal["auto", "json", "pretty"], Lower] = choice(
        "auto", "JSON, a line each, or text for people; `auto` is text on a terminal, else JSON.", "auto", "json", "pretty"
    )
    calls: Flag = flag(False, "A line for each call, at its end (docs/logging.md).")
    calls_sample: Share = share(1, "Which share of the calls that went well gets a line; those that did not all get one.")


class Tracing(Table):
    """Traces of calls, sent to an OpenTelemetry collector."""

    endpoint: CollectorUrl | None = collector(
        "Where spans are sent, by OTLP over HTTP; without a path, `/v1/traces` is appended. Unset, there are no traces."
    )
    sample: Share = share(1, "Which share of the calls that bring no trace of their own is traced; those that bring one say so.")
    headers: HeaderFields | None = secret(
        "Header fields that are sent along, such as the collector's credential.", expects="name=value, separated by commas"
    )
    service_name: str = text("workspace-gateway", "What the gateway is called in traces (`service.name`).")

    @property
    def header_fields(self) -> dict[str, str]:
        """The header fields by name; secret."""
        return {} if self.headers is None else read_header_fields(self.headers.get_secret_value())
