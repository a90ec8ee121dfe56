"""The benchmark's own instruments tell the truth; `make bench` is where they are used."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.domain.credentials import digest
from gateway.storage.sql.engine import create_engine
from gateway.storage.sql.migrate import upgrade
from gateway.storage.sql.principals import SqlKeyStore
from loadtests import latency, many_keys, peers, streams
from loadtests.check import check
from loadtests.findings import Findings
from loadtests.load import Sample
from loadtests.peers import OTHER_CORE, Missing, Peer, process, wait_for
from loadtests.report import markdown
from loadtests.streams import Streams
from tests.support.processes import free_port

FACTS = {"cores": 2, "machine": "m", "python": "3", "rounds": 2, "seconds": 4, "load": (0.5, 1.0, 2.0)}


@pytest.fixture
def direct() -> Iterator[Peer]:
    """The upstream, measured as a server of its own."""
    port = free_port()
    with peers.upstream(port), peers.direct(port) as peer:
        yield peer


def sample(calls: float, *, refused: int = 0, other_cpu: float = 0.5) -> Sample:
    return Sample(calls, 1.0, 1.0, 2.0, 1.0, other_cpu, round(calls), refused, 0)


def test_a_server_that_does_not_start_is_missed_with_what_it_printed() -> None:
    """Who reads the results sees why a server is not in them."""
    port = free_port()
    with (
        pytest.raises(Missing, match=r"(?s)ended while it started; it printed:\s+line 3\s.*no such library") as caught,
        process([sys.executable, "-c", "for n in range(1, 7): print('line', n)\nexit('no such library')"], OTHER_CORE) as pid,
    ):
        wait_for(pid, port)
    assert "line 2" not in str(caught.value)


def test_a_port_that_somebody_else_listens_on_is_not_taken_for_a_server_of_ones_own(direct: Peer) -> None:
    """No figure is that of another run's server."""
    with pytest.raises(Missing, match=f"port {direct.port} is taken"), peers.upstream(direct.port):
        pass


def test_a_server_that_lets_a_bad_key_in_is_not_measured(direct: Peer) -> None:
    """A server is asked once for each kind of answer before it is measured, and left out where one is wrong."""
    check(direct)
    direct.cannot = {"limited": "of no matter here"}
    with pytest.raises(Missing, match="answers a bad key with 200"):
        check(direct)
    direct.cannot, direct.limited = {"refused": "of no matter here"}, ("key", direct.path)
    with pytest.raises(Missing, match="over their limit with 200"):
        check(direct)


def test_latencies_are_those_of_a_steady_rate(direct: Peer) -> None:
    """The client sends as many calls a second as it was told to, and their times are in order."""
    found = latency.measure(direct, rate=200, seconds=1)
    assert 100 < found.calls <= 210
    assert 0 < found.p50 <= found.p90 <= found.p99 <= found.most


def test_a_call_counts_from_when_it_was_to_be_sent(direct: Peer) -> None:
    """With more calls than a server answers, the later ones are charged with the time that they had to wait for their turn."""
    found = latency.measure(direct, rate=1_000_000, seconds=0.005, warm_seconds=0)
    assert found.p50 > 10, "half of 5,000 calls that were due at once were answered in no time"
    assert found.most > found.p50


def test_streams_bring_events_in_time(direct: Peer) -> None:
    """So many streams are opened, each brings an event a second, and how late they came is measured."""
    found = streams.hold(direct, 30, before=0, seconds=2.0)
    assert found.opened == 30
    assert 20 <= found.events <= 40
    assert 0 < found.p50 <= found.p99 <= found.most < 1000


def test_a_server_that_answers_something_else_has_no_figures() -> None:
    """Latencies and streams are of answers that are 200."""
    port = free_port()
    with process([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)], OTHER_CORE) as pid:
        wait_for(pid, port)
        files = Peer("files", port, ["none"])
        with pytest.raises(latency.NotKept, match=r"it answers .*501"):
            latency.measure(files, rate=100, seconds=0.5)
        with pytest.raises(streams.NotHeld, match=r"it answers .*501"):
            streams.hold(files, 2, before=0, seconds=0.5)


def test_keys_that_were_put_in_are_known_with_their_limits(tmp_path: Path) -> None:
    """What is put straight into the database is what the gateway reads for its keys; the first ones are of different accounts."""
    url = f"sqlite+aiosqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    keys = many_keys.fill(url, "pepper", 1_100, ["small", "large"], limit=7)

    async def look() -> None:
        engine = create_engine(url)
        digests = [digest(key, b"pepper") for key in keys]
        found = await SqlKeyStore(engine).principals(digests)
        assert len(found) == 1_100
        assert len({found[each].account_id for each in digests[:1_000]}) == 1_000
        assert found[digests[0]].account_id == found[digests[1_000]].account_id
        first = found[digests[0]]
        assert {name: (grant.rpm, grant.tpm) for name, grant in first.grants.items()} == {"small": (7, 7), "large": (7, 7)}
        await engine.dispose()

    asyncio.run(look())


def test_the_tables_say_what_was_found() -> None:
    """Medians with least and most, ratios to the others and to passed calls, what is wrong, what is missing, and the noise."""
    found = Findings()
    found.samples["small"] = {
        "direct": [sample(50_000), sample(60_000)],
        "shared": [sample(9_000), sample(11_000, refused=3)],
        "nginx": [sample(40_000, other_cpu=0.99), sample(40_000, other_cpu=0.99)],
    }
    found.samples["refused"] = {"shared": [sample(20_000, refused=20_000), sample(20_000, refused=19_998)]}
    found.samples["events"] = {"shared": [sample(100)]}
    found.streams["shared"] = {1_000: Streams(1_000, 20_480, 200 << 20, 1_000, 0.5, 1.5, 2.5, 0.1, 0.2), 10_000: "it fell over"}
    found.note("Left out: envoy, since it is missing")
    text = markdown(found, FACTS)
    assert "load averages at the beginning 0.50, 1.00, 2.00" in text
    assert "55,000 calls/s, 1.4 times what the fastest server before it does (nginx, 40,000); its core was 99% busy" in text
    assert "| shared | 10,000 | 9,000 to 11,000 | 0.25 | 0.18 | 1.00 | 2.00 | 100% | 50% | 3 |" in text
    assert "| shared | 20,000 | 20,000 to 20,000 | 2.00 | 1.00 | 2.00 | 100% | 50% | 2 |" in text
    assert "| shared | 100 | 100 to 100 | 20,000 |" in text
    assert "| shared | 1,000 | 20.0 KiB | 200 MiB | 1,000 | 0.50 | 1.50 | 2.5 | 10% | 20% |" in text
    assert "not held: it fell over" in text
    assert "- Left out: envoy, since it is missing" in text
    assert "apart by these parts of its median: Small JSON 18%" in text
