"""`gateway check`: what would keep the gateway from starting or from serving, found before it is started."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict

import click
import httpx2

from gateway.commands import database, folder, listen, output, secret_files
from gateway.commands.help import examples
from gateway.commands.output import Failure
from gateway.config import ConfigError, Problem, Settings, current_unknown_names, from_environment, upstreams_of
from gateway.domain.faults import LimitsUnavailable
from gateway.domain.upstreams import Upstream
from gateway.storage.redis.address import Address
from gateway.storage.redis.demands import Finding, examine
from gateway.storage.sql.migrate import SchemaOutdated

_ASK_SECONDS = 5.0
_REFUSED = (401, 403)
_OK = 200


class _Findings:
    """What was found: faults, warnings, and what is as it should be."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.fine: list[str] = []

    def part(self, name: str, look: Callable[[], str]) -> None:
        """Keep what `look` says is fine, or its Failure as a problem."""
        try:
            self.fine.append(f"{name}: {look()}")
        except Failure as failure:
            self.problems.append(Problem(name, failure.problem, failure.remedy))


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
    data = settings.storage.data_dir
    if data.is_dir():
        findings.part("data folder", lambda: _folder(settings, findings))
    else:
        findings.fine.append(f"data folder: {data} will be made")
    findings.part("address", lambda: _address(settings))
    findings.part("database", lambda: _database(settings))
    if settings.storage.redis_url is not None:
        _redis(settings.storage.redis_url.get_secret_value(), settings.limits.failover_hold_seconds, findings)
    upstreams = upstreams_of(settings)
    if not upstreams:
        findings.fine.append("upstreams: none in the settings; without any in the database, the demo upstream is started")
    for upstream, problem in zip(upstreams, asyncio.run(_ask_all(upstreams)), strict=True):
        if problem is None:
            findings.fine.append(f"upstream {upstream.name}: it answers")
        else:
            findings.problems.append(problem)


def _folder(settings: Settings, findings: _Findings) -> str:
    data = settings.storage.data_dir
    warnings = folder.prepare(data)
    for name in (secret_files.TOKEN_FILE, secret_files.PEPPER_FILE):
        if (data / name).exists():
            warnings += secret_files.examine(data / name)
    findings.warnings += [Problem(str(data), *warning.split("; ", 1)) for warning in warnings]
    return str(data)


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
        return f"{file} will be made"
    try:
        asyncio.run(database.check(settings))
    except SchemaOutdated as error:
        if settings.embedded and "older" in str(error):
            return "its schema is older, and is brought up to date at the start"
        raise Failure("its schema does not fit", str(error)) from None
    return "its schema is up to date"


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


async def _ask_all(upstreams: list[Upstream]) -> list[Problem | None]:
    async with httpx2.AsyncClient(timeout=_ASK_SECONDS, trust_env=False) as client:
        return await asyncio.gather(*(_ask(client, upstream) for upstream in upstreams))


async def _ask(client: httpx2.AsyncClient, upstream: Upstream) -> Problem | None:
    """What is wrong with an upstream, seen by its list of models, which costs nothing."""
    headers = {"authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}
    source = f"upstream {upstream.name}"
    try:
        reply = await client.get(f"{upstream.base_url}/models", headers=headers)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        words = str(error) or type(error).__name__
        return Problem(source, f"{upstream.base_url} cannot be reached: {words}", "Check its base_url and that the server runs.")
    if reply.status_code in _REFUSED:
        return Problem(source, f"{upstream.base_url} refuses the credential ({reply.status_code})", "Check its api_key.")
    if reply.status_code != _OK and upstream.lists_models:
        return Problem(
            source,
            f"{upstream.base_url}/models answers {reply.status_code}, so its models cannot be listed",
            "Check its base_url (most end in /v1), or name its models instead of *.",
        )
    return None


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
