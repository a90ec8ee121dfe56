"""How full the busiest buckets are."""

from gateway.domain.admission import Ask, Decision
from gateway.domain.buckets import Claim, Kind, Level
from gateway.ops.fills import Fills
from gateway.storage.memory.admission import MemoryAdmissions


class Time:
    """One clock for both, which moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def _decided(admissions: MemoryAdmissions, number: int, owner: str, amount: int) -> Decision:
    claims = (Claim(Level.WORKSPACE, Kind.TOKENS, owner, "m", 600, 600, amount),)
    return await admissions.admit(Ask(f"call-{number}", "acc-1", 1, claims))


async def test_what_is_taken_goes_down_as_the_bucket_refills() -> None:
    """A bucket's share is what the decision left taken, less what has come back since; a full one is not told."""
    time = Time()
    admissions = MemoryAdmissions(clock=lambda: round(time() * 1e6), lease_us=60_000_000)
    fills = Fills(10, clock=time)
    decision = await _decided(admissions, 1, "w1", 300)
    fills.look(time(), decision.gauges)
    ((_, labels, share),) = fills.family().samples
    assert dict(labels) == {"level": "workspace", "kind": "tokens", "model": "m", "owner": "w1"}
    assert abs(share - 0.5) < 1e-6
    time.seconds += 15
    assert abs(fills.family().samples[0][2] - 0.25) < 1e-6
    time.seconds += 16
    assert fills.family().samples == []


async def test_a_bucket_in_debt_shows_more_than_one() -> None:
    """What was used beyond a bucket is told as well."""
    time = Time()
    admissions = MemoryAdmissions(clock=lambda: round(time() * 1e6), lease_us=60_000_000)
    fills = Fills(10, clock=time)
    await _decided(admissions, 1, "w1", 1)
    admissions.settle("acc-1", "call-1", 900)
    fills.look(time(), (await _decided(admissions, 2, "w1", 1)).gauges)
    assert abs(fills.family().samples[0][2] - 1.5) < 1e-6


async def test_only_the_busiest_are_told() -> None:
    """Of five thousand buckets the three with the highest shares are shown, and not more than some thousands are kept."""
    time = Time()
    admissions = MemoryAdmissions(clock=lambda: round(time() * 1e6), lease_us=60_000_000)
    fills = Fills(3, clock=time)
    for number in range(5000):
        fills.look(time(), (await _decided(admissions, number, f"w{number}", 1 + number % 500)).gauges)
    assert [round(sample[2] * 600) for sample in fills.family().samples] == [500] * 3
    assert len(fills._seen) <= 4096
