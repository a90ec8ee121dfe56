"""Log lines to standard error: one shape for all that is logged in this process, ours and the libraries'.

Everything goes through the standard library's `logging`, and from its root through structlog's processors: as JSON, a line each,
or as text for people. The last step before the writing hides what is secret (`redact`); so no line has a way around it, and what
Python itself prints of an exception that nobody caught goes the same way.
"""

import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from gateway.ops.redact import HIDDEN, REDACTOR

Format = Literal["auto", "json", "pretty"]

# Libraries that tell of each step at levels of their own; sqlalchemy would write out statements with what is in their rows.
_CHATTY = (
    "httpx2", "httpcore2", "aiosqlite", "alembic", "asyncio", "sqlalchemy", "urllib3", "requests", "charset_normalizer",
    "python_multipart", "opentelemetry",
)  # fmt: skip
_MUTE = ("opentelemetry.exporter", "opentelemetry.sdk")  # `ops.spans` tells once what these would tell each time

FIELDS: Final = (
    "request_id", "account_id", "workspace_id", "key_id", "endpoint", "model", "stream", "status", "outcome", "code", "upstream",
    "input_tokens", "output_tokens", "ttft_ms", "duration_ms", "overhead_ms", "trace_id",
)  # fmt: skip
"""What a line may carry besides its text (`extra=`), in this order; anything else that a record carries is left out."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request of the control plane that is being served. The data plane says itself which call a line belongs to: setting this
for each call would cost, and what a call starts for all others would go on under its name.
"""

_FIRST = ("timestamp", "level", "logger", "process", "pid", "event")
_LAST = ("exception", "stack")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def configure(level: str, kind: Format, who: str) -> None:
    """Write what is logged from `level` on. `who` tells the processes apart that write to one place."""
    terminal = sys.stderr.isatty()
    pretty = kind == "pretty" or (kind == "auto" and terminal)
    handler = Lines(sys.stderr)
    handler.setFormatter(formatter(who, pretty=pretty, colours=pretty and terminal))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for mute in _MUTE:
        logging.getLogger(mute).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda caught: _uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)
    sys.unraisablehook = lambda caught: _uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)


def formatter(who: str, *, pretty: bool, colours: bool = False) -> logging.Formatter:
    """Turns records into lines."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=colours,
            exception_formatter=structlog.dev.plain_traceback,
            sort_keys=False,
            pad_event_to=0,
            timestamp_key="timestamp",
        )
        if pretty
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(allow=FIELDS),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _Origin(who),
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _ordered,
            _legible if pretty else _encodable,
            _redacted,
            renderer,
        ],
    )


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines. Of one that cannot be made or written it says so, and nothing of what was in it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 — logging's own name
        error = sys.exc_info()[0]
        try:
            self.stream.write(f"a log line of {record.name} could not be written: {error.__name__ if error else 'unknown'}\n")
        except (OSError, ValueError):
            return  # nobody is left to tell


class _Origin:
    """Adds when, and by which process, and for which request of the control plane a line was logged."""

    def __init__(self, who: str) -> None:
        self._who = who

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        record = event["_record"]
        event["timestamp"] = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event["process"] = self._who
        event["pid"] = record.process
        if "request_id" not in event and (current := request_id.get()):
            event["request_id"] = current
        return event


def _ordered(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The same fields in every line's order."""
    return {name: event[name] for name in (*_FIRST, *FIELDS, *_LAST) if name in event}


def _encodable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Texts that UTF-8 can hold: what came from outside may have halves of characters."""
    return {name: _whole(value) if isinstance(value, str) else value for name, value in event.items()}


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _legible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Texts that a terminal shows as they are: no control characters, and no line that looks like a line of its own."""
    shown = {
        name: _whole(value).translate(_CONTROLS).replace("\n", "\n    ") if isinstance(value, str) else value
        for name, value in event.items()
    }
    pid = shown.pop("pid", 0)
    shown["process"] = f"{shown['process']} {pid}"
    return shown


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last step: what is in no line."""
    texts = "\n".join([value for name, value in event.items() if isinstance(value, str) and name not in _FIRST[:4]])
    plain = all(isinstance(value, str | int | float | None) for value in event.values())
    if plain and REDACTOR.text(texts) == texts:  # nothing in all of them together: so in none of them
        return event
    return {
        name: value if name in _FIRST[:5] and name != "logger" else REDACTOR.field(name, value) for name, value in event.items()
    }


def _json(value: object, **_options: object) -> str:
    return msgspec.json.encode(value, enc_hook=lambda _: HIDDEN).decode()


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """What nobody caught, as a line like any other."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
        return
    logging.getLogger("gateway").critical("nobody caught a %s", kind.__name__, exc_info=(kind, error or kind(), trace))
