"""A Redis Cluster: each account on its node, wherever its slot goes."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.cluster import slot_of
from tests.storage.redis.redis_scripts import eventually, opened
from tests.support.redis_cluster import RedisCluster

pytestmark = pytest.mark.xdist_group("redis-cluster")  # one cluster for all of them

ACCOUNTS = [f"account-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def running() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
async def cluster(running: RedisCluster) -> RedisCluster:
    """Six nodes in agreement, whatever the test before did to them."""
    for node in running.nodes:
        if not node.serves:
            await asyncio.to_thread(running.restart, node)
    await asyncio.to_thread(running.wait_healthy)
    return running


@pytest.mark.parametrize("account_id", ["a", "account-1", "x}y", "{x}y", "ä"])
def test_an_account_lies_in_the_slot_of_its_keys(account_id: str) -> None:
    """The slot that an account is asked at is the one that Redis computes of its key."""
    assert slot_of(account_id) == key_slot(f"gw:{{{account_id}}}:epoch".encode())


async def test_each_account_is_asked_at_its_node(cluster: RedisCluster) -> None:
    """One turn becomes one call an account; each reaches the master that holds the account, with that master's run ID."""
    async with opened(cluster.url) as store:
        items = [(account, i) for i in range(2) for account in ACCOUNTS]
        answers = await asyncio.gather(*(store.ask(account, [account, i]) for account, i in items))
        assert [tuple(answer[0]) for answer in answers] == items
        assert {answer[2] for answer in answers} == {2}
        run_ids = {node.port: node.ask("INFO", "server")["run_id"] for node in cluster.masters()}
        assert [answer[1] for answer in answers] == [run_ids[cluster.master_of(account).port] for account, _ in items]
        states = store.nodes()
        assert {(state.name, state.run_id) for state in states} == {(f"127.0.0.1:{port}", it) for port, it in run_ids.items()}
        assert store.replicated
        assert [(state.batches, state.items <= 64) for state in states] == [(1, True)] * 3
        assert sum(state.items for state in states) == len(items)


async def test_forgotten_scripts_are_loaded_again(cluster: RedisCluster) -> None:
    """Each of the calls of a batch that meets a node without the script is answered."""
    async with opened(cluster.url) as store:
        for node in cluster.masters():
            node.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(store.ask(account, account) for account in ACCOUNTS))
        assert [answer[0] for answer in answers] == ACCOUNTS


async def test_a_slot_that_moves_is_followed(cluster: RedisCluster) -> None:
    """While a slot moves, ASK is followed for what is not at its old node; once it has moved, MOVED is. Nothing fails."""
    account = ACCOUNTS[0]
    source = cluster.master_of(account)
    target = next(node for node in cluster.masters() if node is not source)
    async with opened(cluster.url) as store:
        assert (await store.ask(account, 1))[1] == source.ask("INFO", "server")["run_id"]
        source.ask("DEL", f"gw:{{{account}}}:epoch:n")
        there = target.ask("INFO", "server")["run_id"]
        with cluster.moving(slot_of(account), target):
            # The script's key is not at the source: the source points to the target, for this call only.
            assert (await store.ask(account, 2))[1] == there
            assert (await store.ride(account, 3))[1] == there
        assert (await store.ask(account, 4))[:2] == [4, there]
        assert sum(state.failures for state in store.nodes()) == 0
        # From now on the target is asked at once.
        items = {state.name: state.items for state in store.nodes()}
        await store.ask(account, 5)
        after = {state.name: state.items for state in store.nodes()}
        name = f"127.0.0.1:{target.port}"
        assert after == items | {name: items[name] + 1}
        await asyncio.to_thread(cluster.move_slot, slot_of(account), source)
        assert (await store.ask(account, 6))[0] == 6


async def test_one_redirection_is_reason_to_read_the_map_again(cluster: RedisCluster) -> None:
    """When one account turns out to have moved, where the others have moved to is found without asking for each in vain."""
    source = cluster.master_of(ACCOUNTS[0])
    target = next(node for node in cluster.masters() if node is not source)
    asked, silent = [account for account in ACCOUNTS if cluster.master_of(account) is source][:2]
    async with opened(cluster.url) as store:
        for account in (asked, silent):
            await asyncio.to_thread(cluster.move_slot, slot_of(account), target)
        assert store._nodes is not None
        assert store._nodes.node(silent).name == f"127.0.0.1:{source.port}"
        assert (await store.ask(asked, 1))[0] == 1
        nodes = store._nodes
        await eventually(lambda: nodes.node(silent).name == f"127.0.0.1:{target.port}", "the map to be read again")
    for account in (asked, silent):
        await asyncio.to_thread(cluster.move_slot, slot_of(account), source)


async def test_a_sick_node_touches_only_its_accounts(cluster: RedisCluster) -> None:
    """While one master hangs, its accounts' calls fail, then at once; all other accounts' calls are answered."""
    sick = cluster.master_of(ACCOUNTS[0])
    theirs = [account for account in ACCOUNTS if cluster.master_of(account) is sick]
    others = [account for account in ACCOUNTS if account not in theirs]
    async with opened(cluster.url, deadline_seconds=0.5) as store:
        sick.hang()
        for _ in range(3):
            results = await asyncio.gather(*(store.ask(account, account) for account in ACCOUNTS), return_exceptions=True)
            by_account = dict(zip(ACCOUNTS, results, strict=True))
            assert all(isinstance(by_account[account], LimitsUnavailable) for account in theirs)
            assert [by_account[account][0] for account in others] == others  # type: ignore[index]
        assert {account for account in ACCOUNTS if not store.available(account)} == set(theirs)
        sick.resume()
        await eventually(lambda: all(map(store.available, ACCOUNTS)), "every account to be available")
        assert (await store.ask(ACCOUNTS[0], 1))[0] == 1


async def test_a_failover_is_followed(cluster: RedisCluster) -> None:
    """When a master dies, its accounts are asked at the replica that took over; listeners hear of it, and the rest goes on."""
    lost = cluster.master_of(ACCOUNTS[0])
    heir = cluster.replica_of(lost)
    run_id = heir.ask("INFO", "server")["run_id"]
    other = next(account for account in ACCOUNTS if cluster.master_of(account) is not lost)
    async with opened(cluster.url) as store:
        met: list[tuple[str, str]] = []
        store.on_new_server(lambda name, run_id: met.append((name, run_id)))
        await asyncio.to_thread(cluster.kill, lost)
        await eventually(lambda: not store.available(ACCOUNTS[0]), "the breaker to open")
        waiting = store.ride(ACCOUNTS[0], "kept")
        assert (await store.ask(other, 1))[0] == 1
        await eventually(lambda: store.available(ACCOUNTS[0]), "the heir to be found")
        assert (await waiting)[:2] == ["kept", run_id]
        assert (await store.ask(ACCOUNTS[0], 2))[:2] == [2, run_id]
        assert met == [(f"127.0.0.1:{heir.port}", run_id)]
        assert f"127.0.0.1:{lost.port}" not in {state.name for state in store.nodes()}


async def test_the_client_of_a_cluster_finds_each_key(cluster: RedisCluster) -> None:
    """The general-purpose client reaches every master."""
    client = Address.of(cluster.url).client()
    try:
        for account in ACCOUNTS[:12]:
            await client.set(f"gw:{{{account}}}:x", account)
            assert await client.get(f"gw:{{{account}}}:x") == account.encode()
    finally:
        await client.aclose()
