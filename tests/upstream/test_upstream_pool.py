"""Directory and client together, as the data plane uses them."""

import pytest

from gateway.dataplane import ports
from gateway.domain.faults import UpstreamFault
from gateway.domain.grants import Model
from gateway.domain.upstreams import Upstream
from gateway.upstream.catalogue import Catalogue
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory
from gateway.upstream.listing import Listings
from gateway.upstream.pool import UpstreamPool
from tests.upstream.raw_upstream import Call, raw_upstream, unused_port


class Database:
    def __init__(self, *upstreams: Upstream) -> None:
        self.upstreams = list(upstreams)

    async def read(self) -> list[Upstream]:
        return list(self.upstreams)


async def nothing_stored() -> tuple[int, dict[str, Model]]:
    return 0, {}


async def answer(call: Call) -> None:
    await call.reply(b"fine")


async def test_ports_are_kept() -> None:
    """The parts satisfy the data plane's ports: the type checker is the judge, and this is where it looks."""
    async with raw_upstream(answer) as server:
        http = HttpClient()
        directory = Directory([server.upstream(models={"m": "m"})], Database().read)
        upstreams: ports.Upstreams = UpstreamPool(directory, http)
        catalogue: ports.Catalogue = Catalogue(nothing_stored, directory, Listings(directory, http))
        deployment = upstreams.choose(catalogue.models()[0][0].name, [])
        assert deployment is not None
        reply: ports.Reply = await upstreams.send(deployment, "/x", [], b"")
        await reply.close()
        await http.close()


async def test_call_goes_to_the_chosen_upstream_with_its_credential() -> None:
    """Choosing, sending and reporting work on one deployment, and only its own credential leaves."""
    async with raw_upstream(answer) as server:
        directory = Directory([server.upstream(api_key="secret", models={"m": "own"})], Database().read)
        http = HttpClient()
        pool = UpstreamPool(directory, http)
        deployment = pool.choose("m", [])
        assert deployment is not None
        reply = await pool.send(deployment, "/chat/completions", [(b"x-a", b"1")], b"{}")
        assert [await reply.chunk(), await reply.chunk()] == [b"fine", b""]
        await reply.close()
        pool.report(deployment, healthy=True)
        assert b"authorization: Bearer secret" in server.requests[0]
        await http.close()


async def test_credential_stays_with_its_address() -> None:
    """A call that was chosen before its upstream moved goes to the new address with the new credential, never to a mixture."""
    async with raw_upstream(answer) as old, raw_upstream(answer) as new:
        database = Database(old.upstream(api_key="old", models={"m": "m"}))
        directory = Directory([], database.read)
        await directory.reload()
        http = HttpClient()
        pool = UpstreamPool(directory, http)
        deployment = pool.choose("m", [])
        assert deployment is not None
        database.upstreams = [new.upstream(api_key="new", models={"m": "m"})]
        await directory.reload()
        await (await pool.send(deployment, "/x", [], b"")).close()
        assert old.requests == []
        assert b"authorization: Bearer new" in new.requests[0]
        await http.close()


@pytest.mark.parametrize("disabled", [False, True])
async def test_removed_or_disabled_upstream_gets_nothing(disabled: bool) -> None:
    """A call that was chosen just before its upstream went away is a fault that reached nobody."""
    async with raw_upstream(answer) as server:
        database = Database(server.upstream(models={"m": "m"}))
        directory = Directory([], database.read)
        await directory.reload()
        http = HttpClient()
        pool = UpstreamPool(directory, http)
        deployment = pool.choose("m", [])
        assert deployment is not None
        database.upstreams = [server.upstream(models={"m": "m"}, enabled=False)] if disabled else []
        await directory.reload()
        with pytest.raises(UpstreamFault) as caught:
            await pool.send(deployment, "/x", [], b"")
        assert not caught.value.reached
        assert server.requests == []
        await http.close()


async def test_fault_is_shown_to_the_operator() -> None:
    """What a call met at an upstream is kept for the admin API."""
    gone = Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{unused_port()}", models={"m": "m"})
    directory = Directory([gone], Database().read)
    http = HttpClient()
    pool = UpstreamPool(directory, http)
    deployment = pool.choose("m", [])
    assert deployment is not None
    with pytest.raises(UpstreamFault):
        await pool.send(deployment, "/x", [], b"")
    assert "Connect call failed" in (directory.states()[0].last_error or "")
    await http.close()
