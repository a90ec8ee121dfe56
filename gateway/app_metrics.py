"""Which parts of a gateway a scrape reads. `docs/metrics.md` lists them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dataplane.authenticate import Keys
from gateway.dataplane.bodies import Bodies
from gateway.dataplane.observe import Observer
from gateway.dataplane.open_calls import OpenCalls
from gateway.dataplane.waiting import WaitingRoom
from gateway.ops import batches
from gateway.ops.loop_lag import LoopLag
from gateway.ops.metrics import Metrics
from gateway.ops.process import Process
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.state import NodeState
from gateway.storage.shared import Shared
from gateway.storage.sql import pool_state
from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.policy import Policy
from gateway.storage.sql.refusals import SqlRefusals
from gateway.storage.sql.retention import Retention
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts that every gateway has."""

    open_calls: OpenCalls
    bodies: Bodies
    waiting: WaitingRoom
    keys: Keys
    ledger: SqlLedger | StreamLedger
    refusals: SqlRefusals
    retention: Retention
    observer: Observer
    policy: Policy
    engine: AsyncEngine
    client: HttpClient
    directory: Directory
    loop_lag: LoopLag
    shared: Shared | None


def watch(metrics: Metrics, parts: Watched) -> None:
    """Have `metrics` read the parts."""
    metrics.source(parts.observer.families)
    metrics.source(lambda: (parts.policy.held.family(), parts.loop_lag.seconds.family()))
    metrics.source(Process().families)
    _watch_calls(metrics, parts)
    _watch_records(metrics, parts)
    _watch_surroundings(metrics, parts)
    if parts.shared is not None:
        _watch_shared(metrics, parts.shared)


def _watch_calls(metrics: Metrics, parts: Watched) -> None:
    keys = parts.keys
    metrics.gauge("gateway_open_calls", "Admitted calls under way.", lambda: len(parts.open_calls))
    metrics.gauge("gateway_open_streams", "Streams under way.", lambda: parts.open_calls.streams)
    metrics.gauge("gateway_request_bodies_bytes", "Request bodies held.", lambda: parts.bodies.held)
    metrics.gauge("gateway_waiting_calls", "Calls that wait instead of a 429.", lambda: parts.waiting.waiting)
    metrics.counter("gateway_key_cache_hits", "Keys found in the cache.", lambda: keys.hits)
    metrics.counter("gateway_key_cache_reads", "Reads of the key store.", lambda: keys.reads)
    metrics.gauge("gateway_key_cache_keys", "Keys in the cache.", lambda: keys.size)
    metrics.counter("gateway_key_cache_evictions", "Keys that left the cache for others.", lambda: keys.evictions)


def _watch_records(metrics: Metrics, parts: Watched) -> None:
    ledger, refusals, shared = parts.ledger, parts.refusals, parts.shared
    age: Callable[[], float] = lambda: _age_of(ledger.oldest)  # noqa: E731
    if shared is not None:
        age = lambda: max(_age_of(ledger.oldest), shared.stream_age.seconds)  # noqa: E731
    metrics.gauge("gateway_ledger_oldest_entry_age_seconds", "Age of the oldest entry not in the database.", age, together="max")
    metrics.gauge("gateway_ledger_waiting_entries", "Ledger entries not stored yet.", lambda: ledger.waiting)
    metrics.counter("gateway_ledger_written_entries", "Ledger entries stored.", lambda: ledger.written)
    metrics.counter("gateway_ledger_lost_entries", "Ledger entries given up.", lambda: ledger.lost)
    metrics.counter("gateway_ledger_failures", "Failed writes of ledger batches.", lambda: ledger.failures)
    metrics.counter("gateway_ledger_deleted_rows", "Ledger rows deleted by age.", lambda: parts.retention.deleted)
    metrics.gauge("gateway_refusals_waiting_sums", "Sums of refused calls not stored yet.", lambda: refusals.waiting)
    metrics.counter("gateway_refusals_written", "Refused calls that the sums hold.", lambda: refusals.written)
    metrics.counter("gateway_refusals_lost", "Refused calls that no sum holds.", lambda: refusals.lost)
    metrics.counter("gateway_refusals_failures", "Failed writes of refused calls.", lambda: refusals.failures)


def _age_of(at: int | None) -> float:
    """Seconds since a time in Unix milliseconds."""
    return 0.0 if at is None else max(0.0, time.time() - at / 1000)


def _watch_surroundings(metrics: Metrics, parts: Watched) -> None:
    """Have `metrics` read how the database and the upstreams are."""
    engine, directory, shared = parts.engine, parts.directory, parts.shared
    metrics.gauge("gateway_database_up", "Whether the database answered last.", lambda: parts.policy.reached, together="min")
    state = "Connections to the database by what they do."
    metrics.gauges("gateway_database_connections", state, ("state",), lambda: pool_state.connections(engine))
    metrics.gauge("gateway_database_connections_most", "Connections to the database at most.", lambda: pool_state.most(engine))
    state = "Connections to upstreams by what they do."
    metrics.gauges("gateway_upstream_connections", state, ("state",), parts.client.connections)
    healthy = "Whether an upstream is given calls."
    metrics.gauges("gateway_upstream_healthy", healthy, ("upstream", "name"), lambda: _healthy(directory), together="min")
    kinds = [parts.keys.batches]
    if shared is not None:
        kinds += [shared.store.batches, shared.stored]
    elif isinstance(parts.ledger, SqlLedger):
        kinds += [parts.ledger.batches]
    metrics.source(lambda: batches.families(kinds))


def _healthy(directory: Directory) -> dict[tuple[str, ...], float]:
    """Of enabled upstreams, by ID and name."""
    return {(one.upstream.id, one.upstream.name): one.state == "healthy" for one in directory.states() if one.upstream.enabled}


def _watch_shared(metrics: Metrics, shared: Shared) -> None:
    """Have `metrics` read what only the shared profile has."""
    limits, redis, streams, consumer = shared.admissions, shared.redis, shared.streams, shared.consumer
    metrics.gauge("gateway_limits_nodes_away", "Redis nodes that calls do without.", lambda: limits.nodes_away, together="max")
    metrics.counter("gateway_limits_fallbacks", "Times that a Redis node was given up.", lambda: limits.fallen_back)
    metrics.counter("gateway_limits_local_decisions", "Decisions without Redis.", lambda: limits.local_decisions)
    metrics.gauge(
        "gateway_limits_processes", "Processes that share the limits.", lambda: shared.presence.processes, together="max"
    )
    metrics.gauge("gateway_settlements_waiting", "Settlements that wait for Redis.", lambda: redis.settlements_waiting)
    metrics.counter("gateway_settlements_lost", "Settlements given up.", lambda: redis.settlements_lost)
    metrics.gauge("gateway_redis_tokens_imbalance", "Tokens unaccounted for in Redis.", lambda: redis.imbalance, together="max")
    metrics.counter("gateway_epoch_reads", "Reads of epochs in the database.", lambda: shared.epochs.reads)

    def total(read: Callable[[NodeState], float]) -> Callable[[], float]:
        return lambda: sum(map(read, shared.store.nodes()))

    metrics.counter("gateway_redis_batches", "Batches that Redis answered.", total(lambda node: node.batches))
    metrics.counter("gateway_redis_items", "Items in them.", total(lambda node: node.items))
    metrics.counter("gateway_redis_failures", "Batches, and attempts to connect, that failed.", total(lambda node: node.failures))
    metrics.counter("gateway_redis_round_trip_seconds", "Time that batches took.", total(lambda node: node.seconds))
    metrics.gauge("gateway_redis_in_flight_batches", "Batches sent and not answered.", total(lambda node: node.in_flight))
    metrics.gauges("gateway_redis_nodes", "Redis nodes by state.", ("state",), lambda: _nodes(shared), together="max")
    metrics.gauge("gateway_redis_queued_items", "Items that wait to be sent.", total(lambda node: node.queued))
    metrics.counter("gateway_ledger_direct_entries", "Entries stored past Redis.", lambda: shared.ledger.direct)
    metrics.counter("gateway_ledger_moved_entries", "Entries moved to the database.", lambda: consumer.stored)
    metrics.counter("gateway_ledger_claimed_messages", "Messages taken over from dead processes.", lambda: consumer.claimed)
    metrics.counter("gateway_ledger_dead_entries", "Entries put aside as unusable.", lambda: consumer.dead)
    metrics.counter("gateway_ledger_move_failures", "Turns of moving that failed.", lambda: consumer.failures)
    metrics.gauge("gateway_ledger_stream_messages", "Messages in the streams.", lambda: consumer.lag, together="max")
    metrics.gauge("gateway_ledger_streams_crowded", "Streams beyond their bound.", lambda: streams.overfull, together="max")


def _nodes(shared: Shared) -> dict[tuple[str, ...], float]:
    states = [node.up for node in shared.store.nodes()]
    return {("up",): sum(states), ("down",): len(states) - sum(states)}
