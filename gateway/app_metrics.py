"""Which parts of a gateway a scrape reads. `docs/metrics.md` lists them."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.dataplane.authenticate import Keys
from gateway.dataplane.bodies import Bodies
from gateway.dataplane.open_calls import OpenCalls
from gateway.dataplane.waiting import WaitingRoom
from gateway.ops.metrics import Metrics
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.state import NodeState
from gateway.storage.shared import Shared
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.refusals import SqlRefusals
from gateway.storage.sql.retention import Retention


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


def watch(metrics: Metrics, parts: Watched) -> None:
    """Have `metrics` read the parts."""
    keys, ledger, refusals = parts.keys, parts.ledger, parts.refusals
    metrics.gauge("gateway_open_calls", "Admitted calls under way.", lambda: len(parts.open_calls))
    metrics.gauge("gateway_open_streams", "Streams under way.", lambda: parts.open_calls.streams)
    metrics.gauge("gateway_request_bodies_bytes", "Request bodies held.", lambda: parts.bodies.held)
    metrics.gauge("gateway_waiting_calls", "Calls that wait instead of a 429.", lambda: parts.waiting.waiting)
    metrics.counter("gateway_key_cache_hits", "Keys found in the cache.", lambda: keys.hits)
    metrics.counter("gateway_key_cache_reads", "Reads of the key store.", lambda: keys.reads)
    metrics.gauge("gateway_ledger_waiting", "Ledger entries not stored yet.", lambda: ledger.waiting)
    metrics.counter("gateway_ledger_written", "Ledger entries stored.", lambda: ledger.written)
    metrics.counter("gateway_ledger_lost", "Ledger entries given up.", lambda: ledger.lost)
    metrics.counter("gateway_ledger_failures", "Failed writes of ledger batches.", lambda: ledger.failures)
    metrics.counter("gateway_ledger_deleted", "Ledger rows deleted by age.", lambda: parts.retention.deleted)
    metrics.gauge("gateway_refusals_waiting", "Sums of refused calls not stored yet.", lambda: refusals.waiting)
    metrics.counter("gateway_refusals_written", "Refused calls that the sums hold.", lambda: refusals.written)
    metrics.counter("gateway_refusals_lost", "Refused calls that no sum holds.", lambda: refusals.lost)
    metrics.counter("gateway_refusals_failures", "Failed writes of refused calls.", lambda: refusals.failures)


def watch_shared(metrics: Metrics, shared: Shared) -> None:
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
    metrics.gauge("gateway_redis_queued_items", "Items that wait to be sent.", total(lambda node: node.queued))
    metrics.counter("gateway_ledger_direct", "Entries stored past Redis.", lambda: shared.ledger.direct)
    metrics.counter("gateway_ledger_moved", "Entries moved to the database.", lambda: consumer.stored)
    metrics.counter("gateway_ledger_claimed", "Messages taken over from dead processes.", lambda: consumer.claimed)
    metrics.counter("gateway_ledger_dead", "Entries put aside as unusable.", lambda: consumer.dead)
    metrics.counter("gateway_ledger_move_failures", "Turns of moving that failed.", lambda: consumer.failures)
    metrics.gauge("gateway_ledger_stream_messages", "Messages in the streams.", lambda: consumer.lag, together="max")
    metrics.gauge("gateway_ledger_streams_crowded", "Streams beyond their bound.", lambda: streams.overfull, together="max")
