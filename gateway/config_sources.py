"""Where settings stand: gateway.toml, with the line of each key, and the problems that are told of it."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_ERROR_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_REMEDY_SYNTAX = "Mend the line; gateway.toml is written in TOML (https://toml.io): texts stand in quotes, tables as [name]."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: `source` is an environment name, an option or `file:line`."""

    source: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}\n    {self.remedy}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds everything that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed gateway.toml. `lines` maps keys such as `server.port` or `upstreams.0.base_url` to line numbers from 1."""

    file: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def source(self, key: str) -> str:
        """Where a key stands: `file:line`, of the nearest table around it if the key itself has no line."""
        while key:
            if key in self.lines:
                return f"{self.file}:{self.lines[key]}"
            key = key.rpartition(".")[0]
        return f"{self.file}:1"


def read(path: Path) -> Document:
    """Parse a file. Raises ConfigError with the line where it cannot be read."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        remedy = "Set GATEWAY_CONFIG to an existing file, or unset it: then gateway.toml in the working folder is read."
        raise _unreadable("GATEWAY_CONFIG", f"there is no file {path}", remedy) from None
    except OSError as error:
        remedy = "Set GATEWAY_CONFIG to a file that the gateway's user may read."
        raise _unreadable("GATEWAY_CONFIG", f"{path} cannot be read: {error.strerror}", remedy) from None
    try:
        content = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(f"{path}:{line}", "the line is not UTF-8", "Save the file as UTF-8.") from None
    try:
        data = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        found = _ERROR_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else max(1, len(content.splitlines()))
        complaint = _ERROR_LINE.sub("", str(error)).strip()
        raise _unreadable(f"{path}:{line}", f"the file is not valid TOML: {complaint}", _REMEDY_SYNTAX) from None
    except RecursionError:
        raise _unreadable(f"{path}:1", "the file is nested too deeply", _REMEDY_SYNTAX) from None
    return Document(str(path), data, lines_of(content))


def _unreadable(source: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(source, problem, remedy)])


def lines_of(content: str) -> dict[str, int]:
    """The line of each table and key in a TOML text that is known to be valid."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    quote = ""
    for number, line in enumerate(content.splitlines(), 1):
        if quote:
            quote = "" if line.count(quote) % 2 else quote
            continue
        if line.lstrip().startswith("#"):
            continue
        if header := _HEADER.fullmatch(line):
            table = _dotted(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                lines.setdefault(table, number)
                table = f"{table}.{counts[table]}"
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{_dotted(key[1])}".lstrip("."), number)
        quote = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
    return lines


def _dotted(name: str) -> str:
    return ".".join(part.strip("\"'") for part in _PART.findall(name))
