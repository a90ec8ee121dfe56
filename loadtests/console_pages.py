"""How long the console's pages take for a company with 500 keys, 200 workspaces, 500 models, 200 members, and a million calls.

It fills a database with such a month, starts the gateway on it, signs an operator in, and asks for each page: twice to warm up,
then fifteen times, one after the other, over one connection. A page's time is that from the request to the last byte of its HTML;
beside it stands what the gateway's process used of the processor, which says more where the machine has other work.
Exits with 1 if the median of a page is over the bound.

    .venv/bin/python -m loadtests.console_pages
    .venv/bin/python -m loadtests.console_pages --postgresql
    .venv/bin/python -m loadtests.console_pages --data /tmp/company     keeps the SQLite file, and takes it the next time
"""

import argparse
import asyncio
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2

from gateway.storage.sql.migrate import upgrade
from loadtests.console_rows import Counts, Say, fill
from tests.support.gateway_process import GatewayProcess
from tests.support.postgres_server import PostgresServer

_WARM_UPS = 2
_NAME = "gateway.db"
_LIMITS = {"GATEWAY_LIMITS_KEYS_PER_WORKSPACE": "1000", "GATEWAY_LIMITS_WORKSPACES_PER_ACCOUNT": "1000"}
_MORE = (
    *("keys?q=ak-", "edit", "limits?show=live", "audit?scope=workspace", "audit?scope=all", "audit?action=key&from=2020-01-01"),
    *(f"usage?range={each}" for each in ("3h", "7d", "30d")),
    *(f"usage?range={each}&by=key&scope=account" for each in ("3h", "24h", "7d", "30d")),
    *(f"usage?range={each}&by=model&scope=all" for each in ("3h", "24h", "7d", "30d")),
    *(f"usage?range={each}&by=workspace&scope=account" for each in ("7d", "30d")),
)
"""Addresses below a workspace's besides those that the navigation leads to."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One page: its times in milliseconds, the size of its HTML, and the gateway's mean processor time, NaN if unknown."""

    page: str
    status: int
    took: Sequence[float]
    size: int
    cpu: float

    @property
    def median(self) -> float:
        return statistics.median(self.took)

    @property
    def ninetieth(self) -> float:
        return sorted(self.took)[int(len(self.took) * 0.9)]


def sign_in(gateway: GatewayProcess, number: int) -> httpx2.Client:
    """A client with the session of a new operator."""
    invitation = gateway.admin("POST", "/invitations", {"email": f"operator-{number}@example.com", "role": "operator"})
    client = httpx2.Client(base_url=gateway.address, timeout=60)
    form = {"name": "Operator", "password": "correct horse battery staple"}
    reply = client.post(invitation["path"], data=form, headers={"origin": gateway.address})
    if reply.status_code != 303:
        raise RuntimeError(f"signing in answered {reply.status_code}: {reply.text[:300]}")
    return client


def addresses(client: httpx2.Client, workspace: str) -> Iterator[str]:
    """Every page that the navigation leads to, and more."""
    own = f"/console/w/{workspace}/"
    nav = client.get(f"{own}usage").text.partition('<nav class="nav"')[2].partition("</nav>")[0]
    pages = re.findall(rf'href="{own}([^"]+)"', nav)
    if len(pages) < 5:
        raise RuntimeError(f"the navigation leads to {pages} alone")
    yield from (own + page for page in (*pages, *_MORE))
    yield "/console/profile"


def processor_ms(pid: int) -> float:
    """What a process has used of the processor so far; NaN where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def measure(client: httpx2.Client, path: str, rounds: int, pid: int) -> Measured:
    took, used = [], 0.0
    for turn in range(_WARM_UPS + rounds):
        if turn == _WARM_UPS:
            used = processor_ms(pid)
        before = time.perf_counter()
        reply = client.get(path)
        if turn >= _WARM_UPS:
            took.append((time.perf_counter() - before) * 1000)
    return Measured(path.rpartition("/")[2], reply.status_code, took, len(reply.content), (processor_ms(pid) - used) / rounds)


def show(found: Sequence[Measured], most_ms: float) -> bool:
    """Print the table; answers whether every page was there and fast enough."""
    wide = max(len(each.page) for each in found)
    print(f"{'page':{wide}}  {'median ms':>9}  {'p90 ms':>8}  {'CPU ms':>7}  {'bytes':>9}")
    good = True
    for each in found:
        wrong = f"  status {each.status}" if each.status != 200 else "  too slow" if each.median > most_ms else ""
        good = good and not wrong
        print(f"{each.page:{wide}}  {each.median:9.1f}  {each.ninetieth:8.1f}  {each.cpu:7.0f}  {each.size:9,}{wrong}")
    slowest = max(found, key=lambda each: each.median)
    print(f"\n{len(found)} pages; the slowest is {slowest.page} with a median of {slowest.median:.1f} ms (bound: {most_ms:g} ms)")
    return good


def busy_workspace(gateway: GatewayProcess) -> str:
    """The workspace that has most of the keys."""
    return str(gateway.admin("GET", "/workspaces?q=busy")["data"][0]["id"])


def fill_new(url: str, counts: Counts, say: Say, seed: int) -> None:
    upgrade(url)
    asyncio.run(fill(url, counts, say, seed))


def run(options: argparse.Namespace, say: Say) -> bool:
    counts = Counts(calls=options.calls)
    with ExitStack() as stack:
        folder = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-pages-")))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        env = dict(_LIMITS)
        if options.postgresql:
            server = stack.enter_context(PostgresServer())
            env["GATEWAY_DATABASE_URL"] = server.url
            fill_new(server.url, counts, say, options.seed)
        elif not (folder / _NAME).exists():
            under_way = folder / f"{_NAME}.filling"
            under_way.unlink(missing_ok=True)
            fill_new(f"sqlite+aiosqlite:///{under_way}", counts, say, options.seed)
            under_way.rename(folder / _NAME)
        say("starting the gateway")
        gateway = stack.enter_context(GatewayProcess(folder, env=env))
        client = sign_in(gateway, time.time_ns())
        stack.callback(client.close)
        found = []
        for path in addresses(client, busy_workspace(gateway)):
            found.append(measure(client, path, options.rounds, gateway.pid))
            say(f"{found[-1].page}: {found[-1].median:.1f} ms")
        return show(found, options.most_ms)


def main() -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own instead of SQLite")
    parser.add_argument(
        "--data", type=Path, help="a folder for the SQLite file that is kept, and taken where it is there already"
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="rows of the ledger (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="requests for each page that count (default: %(default)s)")
    parser.add_argument("--most-ms", type=float, default=300, help="the bound on the medians (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up rows (default: %(default)s)")
    options = parser.parse_args()
    if options.postgresql and options.data:
        parser.error("--data keeps an SQLite file; leave it out with --postgresql")
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr)

    sys.exit(0 if run(options, say) else 1)


if __name__ == "__main__":
    main()
