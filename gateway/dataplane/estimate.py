"""How many tokens a call will use, guessed from what was learned of calls before it.

Learned per workspace and model: input tokens a body byte, output tokens a byte of stream, and the mean output. All are running
means in which a new call weighs at least 2 %, so that they follow a change. Nothing is learned across workspaces: with a few odd
bodies (an image by its address, a megabyte of white space) one tenant would set what others reserve, and what they are charged
when they leave. They live in this process only.
"""

import math
from collections import OrderedDict
from typing import Literal

from gateway.domain.usage import Usage

ReserveOutput = Literal["none", "expected", "max"]
_Pair = tuple[str, str]

_BYTES_A_TOKEN = 4.0
_FIRST_OUTPUT = 256.0
_MEMORY = 50
_MOST_PAIRS = 10_000
_MOST_OUTPUT = 1_000_000_000.0  # no limit is higher, so no reservation has to be


class _Mean:
    __slots__ = ("count", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self.count = 0

    def learn(self, value: float) -> None:
        self.count = min(self.count + 1, _MEMORY)
        self.value += (value - self.value) / self.count


class Estimator:
    """Estimates before a call and reckons after a broken one; `learn` is told of each call whose usage is known."""

    def __init__(self, reserve_output: ReserveOutput) -> None:
        self._reserve_output = reserve_output
        self._input: OrderedDict[_Pair, _Mean] = OrderedDict()
        self._streamed: OrderedDict[_Pair, _Mean] = OrderedDict()
        self._output: OrderedDict[_Pair, _Mean] = OrderedDict()

    def input_tokens(self, workspace_id: str, model: str, body_bytes: int) -> int:
        mean = self._input.get((workspace_id, model))
        return math.ceil(body_bytes * (mean.value if mean else 1 / _BYTES_A_TOKEN))

    def reserve(self, workspace_id: str, model: str, body_bytes: int, max_output: int | None, choices: int) -> int:
        """Tokens to reserve for a call, at least 1."""
        output = 0.0
        if self._reserve_output != "none":
            mean = self._output.get((workspace_id, model))
            output = mean.value if mean else _FIRST_OUTPUT
            if max_output is not None:
                most = max(0, max_output)
                output = most if self._reserve_output == "max" else min(output, most)
        output = min(output, _MOST_OUTPUT) * min(choices, _MOST_OUTPUT)
        return max(1, self.input_tokens(workspace_id, model, body_bytes) + math.ceil(output))

    def passed_by(self, workspace_id: str, model: str, events: int, stream_bytes: int) -> int:
        """Output tokens of a stream that ended without naming its usage: one an event at the least."""
        mean = self._streamed.get((workspace_id, model))
        return max(events, math.ceil(stream_bytes * mean.value) if mean else 0)

    def learn(
        self, workspace_id: str, model: str, body_bytes: int, usage: Usage, *, choices: int = 1, stream_bytes: int = 0
    ) -> None:
        pair = (workspace_id, model)
        if body_bytes and usage.input:
            _mean(self._input, pair).learn(usage.input / body_bytes)
        if stream_bytes and usage.output:
            _mean(self._streamed, pair).learn(usage.output / stream_bytes)
        _mean(self._output, pair).learn(usage.output / choices)


def _mean(means: OrderedDict[_Pair, _Mean], key: _Pair) -> _Mean:
    """The mean kept for `key`, made if need be; the one not used for longest goes when there are too many."""
    mean = means.get(key)
    if mean is None:
        mean = means[key] = _Mean(0.0)
        if len(means) > _MOST_PAIRS:
            means.popitem(last=False)
    else:
        means.move_to_end(key)
    return mean
