"""How many tokens a call will use, guessed from what was learned of calls before it.

Learned per model: input tokens a body byte, and output tokens a byte of stream; per workspace and model: the mean output. All
are running means in which a new call weighs at least 2 %, so that they follow a change. They live in this process only: a wrong
guess costs nothing that settlement does not mend.
"""

import math
from collections import OrderedDict
from typing import Literal, TypeVar

from gateway.domain.usage import Usage

ReserveOutput = Literal["none", "expected", "max"]
_Key = TypeVar("_Key")

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
        self._input: OrderedDict[str, _Mean] = OrderedDict()
        self._streamed: OrderedDict[str, _Mean] = OrderedDict()
        self._output: OrderedDict[tuple[str, str], _Mean] = OrderedDict()

    def input_tokens(self, model: str, body_bytes: int) -> int:
        mean = self._input.get(model)
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
        return max(1, self.input_tokens(model, body_bytes) + math.ceil(output))

    def passed_by(self, model: str, events: int, stream_bytes: int) -> int:
        """Output tokens of a stream that ended without naming its usage: one an event at the least."""
        mean = self._streamed.get(model)
        return max(events, math.ceil(stream_bytes * mean.value) if mean else 0)

    def learn(
        self, workspace_id: str, model: str, body_bytes: int, usage: Usage, *, choices: int = 1, stream_bytes: int = 0
    ) -> None:
        if body_bytes and usage.input:
            _mean(self._input, model).learn(usage.input / body_bytes)
        if stream_bytes and usage.output:
            _mean(self._streamed, model).learn(usage.output / stream_bytes)
        _mean(self._output, (workspace_id, model)).learn(usage.output / choices)


def _mean(means: OrderedDict[_Key, _Mean], key: _Key) -> _Mean:
    """The mean kept for `key`, made if need be; the one not used for longest goes when there are too many."""
    mean = means.get(key)
    if mean is None:
        mean = means[key] = _Mean(0.0)
        if len(means) > _MOST_PAIRS:
            means.popitem(last=False)
    else:
        means.move_to_end(key)
    return mean
