"""`gateway check`: what would keep the gateway from starting or from serving, found before it is started."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar

import click

from gateway.commands import ask_upstreams, database, folder, listen, output, secret_files
from gateway.commands.help import examples
from gateway.commands.output import Failure
from gateway.config import ConfigError, Problem, Settings, current_unknown_names, from_environment, upstreams_of
from gateway.domain.credentials import pepper_fingerprint
from gateway.domain.faults import LimitsUnavailable
from gateway.domain.upstreams import Upstream
from gateway.storage.redis.address import Address
from gateway.storage.redis.demands import Finding, examine
from gateway.storage.sql import upstreams as stored_upstreams
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading
from gateway.storage.sql.meta import compare_peppers, pepper_in_use
from gateway.storage.sql.migrate import SchemaOutdated

_UP_TO_DATE = "its schema is up to date"

Found = TypeVar("Found")


class _Findings:
    """What was found: faults, warnings, and what is as it should be."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.fine: list[str] = []

    def part(self, name: str, look: Callable[[], str]) -> str | None:
        """Keep, and return, what `look` says is fine; or keep its Failure as a problem."""
        try:
            words = look()
        except Failure as failure:
            self.problems.append(Problem(name, failure.problem, failure.remedy))
            return None
        self.fine.append(f"{name}: {words}")
        return words


@click.command(epilog=examples("GATEWAY_CONFIG=/etc/gateway/gateway.toml gateway check"))
@click.option("--json", "json", is_flag=True, help="Print what was found as JSON.")
def check(json: bool) -> None:
    """Check the configuration, the data folder, the database, Redis and the upstreams. Exits with 1 when something is wrong."""
    findings = _Findings()
    findings.warnings += current_unknown_names()
    try:
        settings = from_environment()
    except ConfigError as error:
        findings.problems += error.problems
    else:
        findings.fine.append("configuration: it can be read")
        _look_around(settings, findings)
    _report(findings, json=json)


def _look_around(settings: Settings, findings: _Findings) -> None:
    findings.part("data folder", lambda: _folder(settings, findings))
    findings.part("address", lambda: _address(settings))
    upstreams = upstreams_of(settings)
    if findings.part("database", lambda: _database(settings)) == _UP_TO_DATE:
        findings.part("key pepper", lambda: _pepper(settings))
        findings.part("stored upstreams", lambda: _add_stored(settings, upstreams))
    if settings.storage.redis_url is not None:
        _redis(settings.storage.redis_url.get_secret_value(), settings.limits.failover_hold_seconds, findings)
    if not upstreams:
        findings.fine.append("upstreams: none in the settings and none stored, so the demo upstream is started")
    for upstream, problem in zip(upstreams, asyncio.run(ask_upstreams.every(upstreams)), strict=True):
        if problem is None:
            findings.fine.append(f"upstream {upstream.name}: it answers")
        else:
            findings.problems.append(problem)


def _folder(settings: Settings, findings: _Findings) -> str:
    data = settings.storage.data_dir
    is_there = data.is_dir()
    if is_there:
        warnings = folder.prepare(data)
    else:
        folder.can_be_made(data)
        warnings = []
    warnings += secret_files.examine(settings)
    findings.warnings += [Problem(str(data), *warning.split("; ", 1)) for warning in warnings]
    return str(data) if is_there else f"{data} will be made"


def _address(settings: Settings) -> str:
    data = settings.storage.data_dir
    if data.is_dir():
        try:
            folder.take(data).release()
        except folder.Taken as taken:
            return f"a gateway runs on the data folder, at {taken.url}" if taken.url else "a command uses the data folder"
    host, port = settings.server.host, settings.server.port
    for each in listen.bind(host, port):
        each.close()
    return f"{host} port {port} is free"


def _database(settings: Settings) -> str:
    file = settings.database_file
    if file is not None and not file.exists():
        if file.parent != settings.storage.data_dir and not file.parent.is_dir():
            raise Failure(f"there is no folder {file.parent} for its file", "Make the folder, or correct GATEWAY_DATABASE_URL.")
        return f"{file} will be made"
    try:
        asyncio.run(database.check(settings))
    except SchemaOutdated as error:
        if settings.embedded and "older" in str(error):
            return "its schema is older, and is brought up to date at the start"
        raise Failure("its schema does not fit", str(error)) from None
    return _UP_TO_DATE


def _redis(url: str, hold_seconds: float, findings: _Findings) -> None:
    """Whether Redis is as the gateway needs it. Each of its masters is looked at."""
    address = Address.of(url)

    async def look() -> list[Finding]:
        client = address.client()
        try:
            return await examine(client, hold_seconds=hold_seconds)
        finally:
            await client.aclose()

    try:
        found = asyncio.run(look())
    except LimitsUnavailable as error:
        remedy = "Check GATEWAY_REDIS_URL and that Redis runs; until then, limits.when_unavailable says what happens to calls."
        findings.problems.append(Problem("redis", f"{address} cannot be used: {error}", remedy))
        return
    findings.problems += [Problem("redis", each.problem, each.remedy) for each in found if each.grave]
    findings.warnings += [Problem("redis", each.problem, each.remedy) for each in found if not each.grave]
    if not any(each.grave for each in found):
        findings.fine.append(f"redis: {address} is as the gateway needs it")


def _reading(settings: Settings, read: Callable[[AsyncEngine], Awaitable[Found]]) -> Found:
    """What `read` finds in the database. Raises Failure."""

    async def open_and_read() -> Found:
        engine = create_engine(settings.database_url, **settings.database_options)
        try:
            return await read(engine)
        finally:
            await engine.dispose()

    with database.explained():
        return asyncio.run(open_and_read())


def _pepper(settings: Settings) -> str:
    stored = _reading(settings, pepper_in_use)
    if stored is None:
        return "the database has seen none yet"
    pepper = secret_files.key_pepper(settings)
    if pepper is None:
        raise Failure(
            f"the database was first started with one, and there is no file {secret_files.pepper_path(settings)}",
            "Put it back, there or as GATEWAY_KEY_PEPPER; with a new one no API key would work.",
        )
    with database.explained():
        compare_peppers(stored, pepper_fingerprint(pepper.encode()))
    return "it is the one that the stored keys were made with"


def _add_stored(settings: Settings, upstreams: list[Upstream]) -> str:
    stored = [each for each in _reading(settings, _stored) if each.enabled]
    upstreams += stored
    return f"{len(stored)} to be asked"


async def _stored(engine: AsyncEngine) -> list[Upstream]:
    async with reading(engine) as connection:
        return [row.upstream for row in await stored_upstreams.every(connection)]


def _report(findings: _Findings, *, json: bool) -> None:
    if json:
        output.as_json(
            {
                "ok": not findings.problems,
                "problems": [asdict(each) for each in findings.problems],
                "warnings": [asdict(each) for each in findings.warnings],
                "fine": findings.fine,
            }
        )
    else:
        for line in findings.fine:
            click.echo(f"ok       {line}")
        for kind, found in (("warning", findings.warnings), ("problem", findings.problems)):
            for each in found:
                click.echo(f"{kind}  {output.shown(each)}")
        count = len(findings.problems)
        click.echo("Everything is in order." if not count else f"{count} problem{'s' if count > 1 else ''}.")
    if findings.problems:
        raise click.exceptions.Exit(1)
