"""Steps of a request: who calls, and what the body says."""

from gateway.dataplane import wire
from gateway.dataplane.call import begin
from gateway.dataplane.estimate import Estimator
from gateway.domain.usage import Usage
from loadtests.micro.messages import LARGE, SMALL, STREAMED, headers
from loadtests.micro.step import Run, Step, at_once
from loadtests.micro.world import WORKSPACE, Limited
from tests.dataplane.fakes import RecordingExchange
from tests.dataplane.world import CHAT, MODEL

_GROUP = "1 the request"


async def _authenticate() -> Run:
    world = Limited()
    given = RecordingExchange("POST", CHAT, headers(world.key.text, SMALL), SMALL)
    gate, call = world.plane.gate, begin(0.0)
    await gate.authenticate(call, given)  # from now on the key is cached
    assert call.caller.key_id == "ak-2"

    def run() -> None:
        at_once(gate.authenticate(call, given))

    run()
    assert (world.keys.hits, world.keys.reads) == (1, 1)
    return run


async def _begin() -> Run:
    assert begin(0.0).id != begin(0.0).id
    return lambda: begin(0.0)


def _read(body: bytes) -> Step:
    async def prepare() -> Run:
        def run() -> wire.Body:
            return wire.read(body)

        assert run().model == MODEL
        return run

    return Step(_GROUP, f"body of {len(body):,} bytes read", prepare)


def _edited(body: bytes, size: str) -> Step:
    async def prepare() -> Run:
        read = wire.read(body)

        def run() -> bytes:
            return wire.edited(read, include_usage=True)

        assert wire.read(run()).include_usage
        return run

    return Step(_GROUP, f"usage asked for in a body of {size}", prepare)


async def _renamed() -> Run:
    read = wire.read(SMALL)

    def run() -> bytes:
        return wire.edited(read, model="qwen-plus-2026")

    assert wire.read(run()).model == "qwen-plus-2026"
    return run


async def _estimate() -> Run:
    estimator = Estimator("expected")
    estimator.learn(WORKSPACE, MODEL, len(SMALL), Usage(input=10, output=5))

    def run() -> int:
        return estimator.reserve(WORKSPACE, MODEL, len(SMALL), None, 1)

    assert run() == 15
    return run


STEPS = [
    Step(_GROUP, "call begun, with its ID", _begin),
    Step(_GROUP, "key found in the cache", _authenticate),
    _read(SMALL),
    _read(LARGE),
    _edited(STREAMED, "100 bytes"),
    _edited(LARGE, "100 KB"),
    Step(_GROUP, "model renamed in a body of 100 bytes", _renamed),
    Step(_GROUP, "tokens estimated", _estimate),
]
