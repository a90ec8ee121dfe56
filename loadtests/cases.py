"""What is measured, and who is measured at it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from loadtests import other_gateways, ours, peers, proxies
from loadtests.load import Shot
from loadtests.ours import Kind
from loadtests.peers import Peer

Maker = Callable[[], AbstractContextManager[Peer]]


@dataclass(frozen=True)
class Case:
    """What wrk sends to every server, in turn."""

    name: str
    title: str
    shot: Shot


CASES = [
    Case("small", "Small JSON", Shot()),
    Case("prompt", "100 KB prompt", Shot(prompt=100_000)),
    Case("large", "200 KB reply", Shot("large")),
    Case("events", "200 events, streamed", Shot("events", stream=True)),
    Case("refused", "Refused: bad key (401)", Shot(caller="unknown")),
    Case("limited", "Refused: over its limit (429)", Shot(caller="over its limit")),
]
REFUSALS = ("refused", "limited")
KEYS = (1, 1_000, 10_000, 100_000)
COLD = 1_000  # keys in rotation, of which one is remembered
OTHER_CASES = {
    "keys": f"{', '.join(f'{count:,}' for count in KEYS)} keys in rotation, all remembered; and {COLD:,} never remembered",
    "latency": "what a call takes longer than without a gateway, at half of the peak of “shared”",
    "streams": "thousands of open streams with an event now and then: memory, and how late events come",
    "workers": "“shared” with one and with two workers, which may use both cores",
}
NAMES = [*(case.name for case in CASES), *OTHER_CASES]
SERVERS = {
    "direct": "the upstream itself, with nothing in between",
    "embedded": "this gateway on SQLite, limits in the process, ledger on",
    "shared": "this gateway on PostgreSQL and Redis, limits of account and workspace, epochs, ledger on",
    "shared-1000": "the same, with keys of 1,000 accounts in rotation",
    "nginx": "nginx with a map of keys and limit_req",
    "envoy": "Envoy with a local rate limit",
    "portkey": "Portkey's gateway (only where it is named: make bench-peers)",
    "litellm": "LiteLLM's proxy (only where it is named: make bench-peers)",
}
ONLY_IF_NAMED = ("portkey", "litellm")


@dataclass(frozen=True)
class Lineup:
    """The servers of one run: which are wanted, and the first of the ports that they take."""

    wanted: list[str]
    port: int

    @property
    def names(self) -> list[str]:
        return [name for name in SERVERS if name in (self.wanted or SERVERS.keys() - ONLY_IF_NAMED)]

    def usual(self) -> dict[str, Maker]:
        """Those that stand side by side."""
        up = self.port
        every: dict[str, Maker] = {
            "direct": lambda: peers.direct(up),
            "embedded": lambda: ours.embedded(up + 1, up),
            "shared": lambda: ours.shared(up + 2, up),
            "shared-1000": lambda: ours.shared(up + 3, up, Kind(keys=1_000)),
            "nginx": lambda: proxies.nginx(up + 4, up),
            "envoy": lambda: proxies.envoy(up + 5, up),
            "portkey": lambda: other_gateways.portkey(up + 6, up),
            "litellm": lambda: other_gateways.litellm(up + 7, up),
        }
        return {name: every[name] for name in self.names}

    def with_keys(self, *, cold: bool) -> dict[str, Maker]:
        """This gateway with as many keys as are ever in rotation, all remembered or, where `cold`, none but the last one.

        One that remembers remembers twice as many: with as many places as keys, one key more would push out each before its turn.
        """
        up, first = self.port, self.port + (10 if cold else 8)
        kind = Kind(keys=COLD, remembered=1) if cold else Kind(keys=KEYS[-1], remembered=2 * KEYS[-1])
        every: dict[str, Maker] = {
            "embedded": lambda: ours.embedded(first, up, kind),
            "shared": lambda: ours.shared(first + 1, up, kind),
        }
        return {name: make for name, make in every.items() if name in self.names}

    def with_workers(self, upstream_port: int) -> dict[str, Maker]:
        """This gateway with one and with two workers, none of them kept to a core."""
        if "shared" not in self.names:
            return {}
        return {
            "shared, 1 worker": lambda: ours.shared(self.port + 13, upstream_port, Kind(spread=True)),
            "shared, 2 workers": lambda: ours.shared(self.port + 14, upstream_port, Kind(spread=True, workers=2)),
        }
