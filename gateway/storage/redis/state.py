"""What a node is told, and what it tells."""

from dataclasses import dataclass, field
from typing import Literal

from gateway.ops.batches import Batches


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `ride`: how long a ride waits for an admission to ride behind; `patience`: how long for a node. `done` is
    told of each batch that was answered.
    """

    deadline: float = 0.1
    ride: float = 0.005
    patience: float = 5.0
    queued_rides: int = 100_000
    batch_items: int = 64
    in_flight: int = 4
    done: Batches = field(default_factory=lambda: Batches("redis"), compare=False)


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as metrics show it. Counts since the start; `seconds` is the sum of round trips of `batches`."""

    name: str
    up: bool
    breaker: Literal["closed", "open"]
    run_id: str | None
    queued: int
    in_flight: int
    batches: int
    items: int
    failures: int
    turned_away: int
    connections: int
    seconds: float
    error: str | None
