"""All micro-benchmarks, in the order in which a call goes through what they measure."""

from loadtests.micro import calls, forwarding, limiting, reading, replying
from loadtests.micro.step import Step, Together

STEPS: list[Step | Together] = [*reading.STEPS, *limiting.STEPS, *forwarding.STEPS, *replying.STEPS, *calls.STEPS]
