"""Log lines: one shape for all, a line each, whatever is logged and by whom."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from gateway.ops import logs
from gateway.ops.logs import Lines, formatter
from tests.support.processes import ROOT

_SCRIPT = """
import asyncio, logging, sys, threading, warnings
from gateway.ops import logs
from gateway.ops.redact import REDACTOR

REDACTOR.know("the-admin-token-of-this-test")
logs.configure(sys.argv[1], sys.argv[2], "worker 7")
{body}
"""


def run(body: str, level: str = "debug", kind: str = "json") -> list[str]:
    """The lines that a process writes to standard error, which is no terminal."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(body=body), level, kind],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stderr.splitlines()


def as_json(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def made(message: object, *args: object, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("gateway.test", logging.INFO, __file__, 1, message, args, None)
    record.__dict__.update(fields)
    return record


def test_a_line_says_when_who_and_what() -> None:
    """A JSON line has the time in UTC, level, logger, process and text, and its extra fields behind these, in one order."""
    line = formatter("worker 2", pretty=False).format(made("call %d", 5, request_id="r", status=200, unknown="x"))
    found = json.loads(line)
    assert list(found) == ["timestamp", "level", "logger", "process", "pid", "event", "request_id", "status"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("timestamp"))
    assert found == {
        "level": "info",
        "logger": "gateway.test",
        "process": "worker 2",
        "pid": os.getpid(),
        "event": "call 5",
        "request_id": "r",
        "status": 200,
    }


def test_libraries_write_the_same_lines() -> None:
    """What libraries log, Python warns of, and nobody catches, in a thread as well, is a JSON line like any other."""
    lines = as_json(
        run(
            "logging.getLogger('uvicorn.error').info('from %s', 'uvicorn')\n"
            "logging.getLogger('alembic').error('from alembic')\n"
            "warnings.warn('from Python')\n"
            "thread = threading.Thread(target=lambda: 1 / 0)\n"
            "thread.start(); thread.join()\n"
            "raise ValueError('sk-' + 'a1' * 19)\n"
        )
    )
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("info", "uvicorn.error"),
        ("error", "alembic"),
        ("warning", "py.warnings"),
        ("critical", "gateway"),
        ("critical", "gateway"),
    ]
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert lines[4]["exception"].endswith("ValueError: ***")
    assert {line["process"] for line in lines} == {"worker 7"}


def test_statements_of_the_database_are_not_logged() -> None:
    """At no level do libraries that would tell of each step, or write out rows, log more than warnings."""
    lines = run("for name in ('sqlalchemy.engine', 'asyncio', 'httpx2', 'urllib3'):\n    logging.getLogger(name).info('a row')\n")
    assert lines == []


def test_an_exception_is_one_line_of_json() -> None:
    """An exception with its traceback and its cause is one field of one line."""
    (line,) = as_json(
        run(
            "try:\n    try:\n        {}['a']\n    except KeyError as cause:\n        raise ValueError('b') from cause\n"
            "except ValueError:\n    logging.getLogger('gateway.x').exception('failed')\n"
        )
    )
    assert line["event"] == "failed"
    assert line["exception"].count("Traceback") == 2
    assert line["exception"].endswith("ValueError: b")


@pytest.mark.parametrize("kind", ["json", "pretty"])
def test_a_line_that_cannot_be_made_shows_nothing_of_it(kind: str) -> None:
    """A log call with wrong arguments, which Python would print with them, is told by its logger's name alone."""
    lines = run("logging.getLogger('gateway.x').info('%d', 'something private')\n", kind=kind)
    assert lines == ["a log line of gateway.x could not be written: TypeError"]


@pytest.mark.parametrize("kind", ["json", "pretty"])
def test_texts_from_outside_cannot_break_a_line(kind: str) -> None:
    """Halves of characters, control characters and ends of lines make no line of their own, and nothing a terminal obeys."""
    lines = run("logging.getLogger('gateway.x').info('a\\ud800 \\x1b[2J b\\n2026-01-01 forged')\n", kind=kind)
    assert "\x1b" not in "".join(lines)
    if kind == "json":
        assert json.loads(lines[0])["event"].startswith("a\\ud800 \x1b[2J b\n")
    else:
        assert lines[1].startswith("    2026-01-01 forged")
        assert "\\x1b[2J" in lines[0]


def test_the_level_is_kept() -> None:
    """Below the level that is set, nothing is written."""
    lines = run("logging.getLogger('gateway').info('less')\nlogging.getLogger('gateway').error('more')\n", level="warning")
    assert [line["event"] for line in as_json(lines)] == ["more"]


def test_a_pretty_line_is_text_without_colours() -> None:
    """As text, and not to a terminal, a line has no colours, and says what a JSON line says."""
    (line,) = run("logging.getLogger('gateway.x').warning('hello', extra={'request_id': 'r-1'})\n", kind="pretty")
    assert re.search(r"^\d{4}-\S+Z \[warning *\] hello .*\[gateway\.x\].*request_id=r-1", line)


def test_a_terminal_gets_text_with_colours() -> None:
    """`auto` is coloured text on a terminal, and JSON elsewhere."""
    ours, theirs = pty.openpty()
    body = "logging.getLogger('gateway.x').warning('hello')\n"
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(body=body), "info", "auto"], cwd=ROOT, env=environment, stderr=theirs, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "\x1b[" in shown
    assert "hello" in shown
    assert as_json(run(body, kind="auto"))[0]["event"] == "hello"


def test_lines_of_a_request_carry_its_id() -> None:
    """While a request of the control plane is served, every line has its ID, unless the line names another."""
    token = logs.request_id.set("r-9")
    try:
        lines = [json.loads(formatter("x", pretty=False).format(record)) for record in (made("a"), made("b", request_id="own"))]
    finally:
        logs.request_id.reset(token)
    assert [line["request_id"] for line in lines] == ["r-9", "own"]


def test_a_stream_that_is_gone_ends_nothing() -> None:
    """A standard error that nobody reads any more stops no call: the line is lost, and nothing is raised."""
    handler = Lines(open(os.devnull))  # noqa: PTH123, SIM115 — a stream that refuses to be written
    handler.setFormatter(formatter("x", pretty=False))
    handler.emit(made("a"))
    handler.stream.close()
    handler.emit(made("b"))
