"""The settings, read from the command line's options, the environment and gateway.toml.

Read by floor 4 and the migrations only; everything below is handed plain values. Of two places that set the same thing, an option
counts before the environment, and the environment before the file. An environment variable that is set to nothing counts as
unset. All problems are found at once and raised together as ConfigError, each with its place and its remedy.
"""

import copy
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config_schema import (
    FIRST_UPSTREAM,
    PREFIX,
    Known,
    Secrets,
    Settings,
    known_settings,
    upstreams_of,
)
from gateway.config_sources import ConfigError, Document, Problem, read

__all__ = [
    "OTHER_NAMES",
    "ConfigError",
    "Known",
    "Problem",
    "Secrets",
    "Settings",
    "current_unknown_names",
    "find",
    "from_environment",
    "known_settings",
    "load",
    "unknown_names",
    "upstreams_of",
]

FILE = "gateway.toml"
OTHER_NAMES = {
    "GATEWAY_CONFIG": "The path of gateway.toml; unset, that of the working folder is read if there is one.",
    "GATEWAY_URL": "The address of the gateway that the management commands speak to; unset, it is found by the data folder.",
}
"""Environment names that have no key in the file."""
_LISTED = "docs/settings.md lists every setting"


def find(env: Mapping[str, str]) -> Path | None:
    """The file of settings: GATEWAY_CONFIG, else gateway.toml in the working folder if there is one."""
    if named := env.get("GATEWAY_CONFIG"):
        return Path(named)
    usual = Path(FILE)
    return usual if usual.exists() else None


def from_environment(options: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process. Raises ConfigError."""
    return load(os.environ, find(os.environ), options=options)


def load(env: Mapping[str, str], path: Path | None, *, options: Mapping[str, object] | None = None) -> Settings:
    """The settings from `env`, the file at `path` (None: there is none) and `options`, the command line's values by key.

    Raises ConfigError with every problem that was found.
    """
    problems: list[Problem] = []
    document = Document()
    if path is not None:
        try:
            document = read(path)
        except ConfigError as error:
            problems += error.problems
    merged = _Merged(env, document, options or {})
    problems += merged.take_credentials()
    settings, found = merged.validated()
    problems += found
    problems += _conflicts(settings, merged)
    if problems:
        raise ConfigError(sorted(problems, key=_place))
    return settings


def _place(problem: Problem) -> tuple[bool, int]:
    """Sorts the file's problems by line before all others, which stay in their order."""
    _, _, line = problem.source.rpartition(":")
    return (False, int(line)) if line.isdecimal() else (True, 0)


def unknown_names(env: Mapping[str, str]) -> list[Problem]:
    """Environment names that look like settings and are none: worth a warning, since nothing reads them."""
    known = [*OTHER_NAMES, *(setting.env for setting in known_settings() if setting.env)]
    found = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    return [Problem(name, "there is no such setting, so it has no effect", _nearest(name, known)) for name in found]


def current_unknown_names() -> list[Problem]:
    """The unknown names in the environment of this process."""
    return unknown_names(os.environ)


def _nearest(name: str, known: Iterable[str]) -> str:
    # Environment names are in upper case, keys of the file in lower.
    case = str.upper if name.startswith(PREFIX) else str
    near = difflib.get_close_matches(case(name), list(known), n=1, cutoff=0.7)
    return f"Did you mean {near[0]}?" if near else f"Remove it; {_LISTED}."


class _Merged:
    """The values of all sources in one tree, and where each came from."""

    def __init__(self, env: Mapping[str, str], document: Document, options: Mapping[str, object]) -> None:
        self.env = env
        self.document = document
        self.known = {setting.key: setting for setting in known_settings()}
        self.origins: dict[str, str] = {}
        self.data: dict[str, Any] = copy.deepcopy(dict(document.data))
        for setting in self.known.values():
            if setting.env and (value := env.get(setting.env)):
                self._put(setting.key, value, setting.env)
        for key, option in options.items():
            self._put(key, option, "--" + key.rpartition(".")[2].replace("_", "-"))

    def _put(self, key: str, value: object, source: str) -> None:
        table, _, name = key.partition(".")
        place = self.data.setdefault(table, {})
        if isinstance(place, dict):  # what is no table is told by the validation
            place[name] = value
            self.origins[key] = source

    def source(self, key: str) -> str:
        """Where the value of a key came from: a variable, an option or `file:line`."""
        return self.origins.get(key) or self.document.source(key)

    def take_credentials(self) -> list[Problem]:
        """Put the value of the named variable in the place of each `api_key_env`."""
        problems = []
        tables = self.data.get("upstreams")
        for number, table in enumerate(tables if isinstance(tables, list) else []):
            name = table.get("api_key_env") if isinstance(table, dict) else None
            if not isinstance(name, str):
                continue
            source = self.source(f"upstreams.{number}.api_key_env")
            if "api_key" in table:
                problems.append(Problem(source, "the upstream has api_key and api_key_env", "Leave out one of them."))
            elif not self.env.get(name):
                problems.append(Problem(source, f"the variable {name} is not set", f"Set {name} to the upstream's credential."))
            else:
                table["api_key"] = self.env[name]
        return problems

    def validated(self) -> tuple[Settings, list[Problem]]:
        """The settings, with defaults in the place of what is wrong, and the problems of the latter."""
        try:
            return Settings.model_validate(self.data), []
        except ValidationError as error:
            found = error.errors(include_url=False)
        problems = [self._problem(each["type"], each["loc"], each["msg"]) for each in found]
        for each in found:
            self._drop(each["loc"])
        return Settings.model_validate(self.data), problems

    def _drop(self, location: tuple[int | str, ...]) -> None:
        table = self.data.get(str(location[0]))
        if len(location) > 1 and location[0] != "upstreams" and isinstance(table, dict):
            table.pop(str(location[1]), None)
        else:
            self.data.pop(str(location[0]), None)

    def _problem(self, kind: str, location: tuple[int | str, ...], message: str) -> Problem:
        key = ".".join(str(part) for part in location)
        setting = self.known.get(".".join(str(part) for part in location if isinstance(part, str)))
        source = self.source(key)
        if kind == "extra_forbidden":
            return Problem(source, f"there is no setting {key}", self._near(location))
        if kind == "missing":
            return Problem(source, f"{key} is missing", f"Add {location[-1]}: {setting.expects if setting else ''}.")
        if setting is None:
            header, what = ("[[upstreams]]", "list of tables") if location[0] == "upstreams" else (f"[{key}]", "table")
            return Problem(source, f"{key} is no {what}", f"Write {header} on a line of its own and the settings below it.")
        why = message.removeprefix("Value error, ") if kind == "value_error" else ""
        value = self._value(location)
        if value == "":
            problem = f"{key} is empty"
        elif setting.quotable and isinstance(value, str | int | float):
            problem = f"{key} is {value!r}: {why}" if why else f"{key} is {value!r}, which is not {setting.expects}"
        else:
            problem = f"{key} cannot be used: {why or f'it is not {setting.expects}'}"
        default = f"; the default is {setting.default}" if setting.default and setting.default != "required" else ""
        return Problem(source, problem, f"Set {self.origins.get(key, key)} to {setting.expects}{default}.")

    def _value(self, location: tuple[int | str, ...]) -> object:
        value: Any = self.data
        for part in location:
            value = value[part]
        return value

    def _near(self, location: tuple[int | str, ...]) -> str:
        """The remedy for an unknown key: a setting of that name in another table, else the nearest name."""
        words = [str(part) for part in location if isinstance(part, str)]
        if len(words) == 1 and isinstance(self.data[words[0]], dict):
            tables = sorted({key.partition(".")[0] for key in self.known})
            return _nearest(words[0], tables)
        elsewhere = [key for key in self.known if key.rpartition(".")[2] == words[-1] and not key.startswith("upstreams.")]
        if len(elsewhere) == 1:
            return f"Did you mean {elsewhere[0]}?"
        siblings = {key.rpartition(".")[2]: key for key in self.known if key.startswith(f"{words[0]}.")}
        near = difflib.get_close_matches(words[-1], list(siblings), n=1, cutoff=0.7)
        return f"Did you mean {siblings[near[0]]}?" if near else _nearest(".".join(words), self.known)


def _conflicts(settings: Settings, merged: _Merged) -> list[Problem]:
    """What is wrong between settings that are each right by themselves."""
    problems = []

    def tell(key: str, problem: str, remedy: str) -> None:
        problems.append(Problem(merged.source(key), problem, remedy))

    if settings.embedded and settings.storage.migrate_database_url is not None:
        tell(
            "storage.migrate_database_url",
            "storage.migrate_database_url is set, but the database is a file",
            "Set GATEWAY_DATABASE_URL (storage.database_url) to the same PostgreSQL database, or unset it.",
        )
    if settings.server.workers > 1 and (missing := _lacking_for_workers(settings)):
        tell(
            "server.workers",
            f"{settings.server.workers} workers need {' and '.join(missing.values())}",
            f"Set {' and '.join(missing)} as well, or set GATEWAY_WORKERS (server.workers) to 1.",
        )
    if settings.server.max_body_bytes_total < settings.server.max_body_bytes:
        key = "server.max_body_bytes_total"
        tell(
            key if key in merged.origins or key in merged.document.lines else "server.max_body_bytes",
            "server.max_body_bytes_total is below server.max_body_bytes, so that the largest bodies could never be taken",
            "Raise server.max_body_bytes_total, or lower server.max_body_bytes.",
        )
    if settings.metrics.token is not None and settings.metrics.token_file is not None:
        tell("metrics.token_file", "metrics.token and metrics.token_file are both set", "Leave out one of them.")
    problems += _upstream_conflicts(settings, merged)
    return problems


def _lacking_for_workers(settings: Settings) -> dict[str, str]:
    """The settings that more than one worker needs and that are not there, each with what it is for."""
    lacking = {}
    if settings.storage.redis_url is None:
        lacking["GATEWAY_REDIS_URL (storage.redis_url)"] = "Redis to share limits and revocations"
    if settings.embedded:
        lacking["GATEWAY_DATABASE_URL (storage.database_url)"] = "PostgreSQL, since a database file belongs to one process"
    return lacking


def _upstream_conflicts(settings: Settings, merged: _Merged) -> list[Problem]:
    problems = []
    given = merged.data.get("upstream")
    if settings.upstream.base_url is None and isinstance(given, dict) and "base_url" not in given:
        for key in ("api_key", "models"):
            if key in given and given[key] != "*":
                remedy = "Set GATEWAY_UPSTREAM_BASE_URL (upstream.base_url) as well, or unset it."
                problems.append(
                    Problem(merged.source(f"upstream.{key}"), f"upstream.{key} is set, but no upstream.base_url", remedy)
                )
    names = [FIRST_UPSTREAM] if settings.upstream.base_url is not None else []
    for number, table in enumerate(settings.upstreams):
        if table.name in names:
            source = merged.source(f"upstreams.{number}.name")
            problems.append(Problem(source, f"two upstreams are called {table.name}", "Give each upstream a name of its own."))
        names.append(table.name)
    return problems
