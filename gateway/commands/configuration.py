"""What worker processes are given: settings, secrets and upstreams, read together.

For a rolling restart they are read anew by a process of its own (`python -m gateway.commands.configuration`), so that a program
that was updated reads them as its new code wants them. The parent passes them on to its workers without looking into them; what
it needs itself stands beside them, as `Terms`.
"""

import importlib
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gateway.commands import output, secret_files
from gateway.commands.output import Failure
from gateway.config import Secrets, Settings, current_unknown_names, upstreams_of
from gateway.domain.upstreams import Upstream

_READ_SECONDS = 60.0
_FIXED = ("server.host", "server.port", "storage.data_dir")
"""What cannot be changed without ending the parent, which holds the sockets and the data folder's lock."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One reading of everything."""

    settings: Settings
    secrets: Secrets
    upstreams: tuple[Upstream, ...]

    def beside(self, demo: Upstream) -> "Configuration":
        """The same with the demo upstream, where no other is named."""
        return self if self.upstreams else replace(self, upstreams=(demo,))


@dataclass(frozen=True, slots=True)
class Terms:
    """What the parent needs to know; seconds."""

    workers: int
    drain: float
    graceful: float
    log_level: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A configuration that is ready to be passed on."""

    terms: Terms
    pickled: bytes

    @classmethod
    def of(cls, configuration: Configuration) -> "Bundle":
        server = configuration.settings.server
        terms = Terms(
            workers=server.workers,
            drain=server.drain_seconds,
            graceful=float(server.graceful_timeout_seconds),
            log_level=configuration.settings.log.level,
        )
        return cls(terms, pickle.dumps(configuration))


def fixed(settings: Settings) -> dict[str, str]:
    """The settings that hold until the parent ends, by key, as they were asked for."""
    return {key: str(_value(settings, key)) for key in _FIXED}


def read_anew(options: Mapping[str, object], wanted: Mapping[str, str], port: int) -> Bundle:
    """The configuration as it is now, read in a process of its own; what it warns of is logged.

    `wanted` is what `fixed` gave at the start, `port` the one that was really taken. Raises Failure with what is wrong.
    """
    command = [sys.executable, "-m", "gateway.commands.configuration"]
    asked = json.dumps({"options": dict(options), "wanted": dict(wanted), "port": port}).encode()
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=_READ_SECONDS, check=False)  # noqa: S603 — the command is ours
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"the settings could not be read anew: {error}") from None
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise Failure(said.removeprefix("Error: ") or f"the settings could not be read anew (exit code {done.returncode})")
    if said:
        logging.getLogger(__name__).warning("%s", said)
    terms, _, pickled = done.stdout.partition(b"\n")
    known: dict[str, Any] = json.loads(terms)
    return Bundle(Terms(**{name: known[name] for name in Terms.__slots__}), pickled)


def _value(settings: Settings, key: str) -> Any:
    table, _, name = key.partition(".")
    return getattr(getattr(settings, table), name)


def with_value(settings: Settings, key: str, value: object) -> Settings:
    """The settings, but for one."""
    table, _, name = key.partition(".")
    return settings.model_copy(update={table: getattr(settings, table).model_copy(update={name: value})})


def _read(options: Mapping[str, object], wanted: Mapping[str, str], port: int) -> Configuration:
    """Raises Failure. Warnings go to standard error."""
    settings = output.settings(options)
    for problem in current_unknown_names():
        output.warn(f"{problem.source}: {problem.problem}. {problem.remedy}")
    for key in _FIXED:
        old, new = wanted[key], _value(settings, key)
        if str(new) != old:
            output.warn(f"{key} is now {str(new)!r}; this needs a full stop and start, until which it stays {old!r}")
            settings = with_value(settings, key, type(new)(old))
    settings = with_value(settings, "server.port", port)
    secrets, warnings = secret_files.obtain(settings)
    for warning in warnings:
        output.warn(warning)
    return Configuration(settings, secrets, tuple(upstreams_of(settings)))


def _main() -> None:
    asked = json.load(sys.stdin)
    try:
        bundle = Bundle.of(_read(asked["options"], asked["wanted"], asked["port"]))
    except Failure as failure:
        failure.show()
        sys.exit(failure.exit_code)
    sys.stdout.buffer.write(json.dumps(asdict(bundle.terms)).encode() + b"\n" + bundle.pickled)


if __name__ == "__main__":
    # By its full name, so that what is pickled says where it comes from.
    importlib.import_module("gateway.commands.configuration")._main()  # noqa: SLF001 — this module
