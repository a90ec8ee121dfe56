"""A gateway with several workers, on PostgreSQL and Redis where a test names them, else on one SQLite file.

On SQLite limits are each worker's own, which is no matter to what those tests ask, and saves them two servers. The settings'
refusal of that is lifted in the processes under test alone, by a `sitecustomize` module on their path.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx2

from gateway.ops.scoreboard import Scoreboard
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import ROOT

_LIFTED = """
import os
import sys

if os.environ.get("TESTS_WORKER_FAILS") and "gateway.commands.worker" in " ".join(sys.orig_argv):
    os._exit(7)

from gateway import config

_conflicts = config._conflicts
config._conflicts = lambda *given: [each for each in _conflicts(*given) if "workers need" not in each.problem]
"""


def lifted(folder: Path) -> dict[str, str]:
    """The environment in which several workers may use SQLite; `folder` holds the module."""
    place = folder / "lifted"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(_LIFTED)
    return {"PYTHONPATH": f"{place}:{ROOT}"}


class WorkerGateway(GatewayProcess):
    """`gateway serve` with `workers` workers, all of them taking calls once constructed."""

    def __init__(
        self, folder: Path, *, workers: int = 2, upstream: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        shared = "GATEWAY_REDIS_URL" in (env or {})
        more = ({} if shared else lifted(folder)) | {"GATEWAY_WORKERS": str(workers)} | dict(env or {})
        super().__init__(folder / "data", upstream=upstream, env=more)
        try:
            self.wait_until(lambda: len(self.worker_pids()) >= workers, "all workers take calls")
        except AssertionError:
            self.close()
            raise

    def worker_pids(self) -> list[int]:
        """The processes that were ever said to take calls, in their order."""
        return [int(found) for found in re.findall(r"takes calls \(process (\d+)\)", self.output())]

    def calls_of(self, worker: int) -> float:
        """How many calls one worker has counted, by its number: the first is 1."""
        snapshot = Scoreboard(self.data_dir / "workers")._read(worker) or []
        return sum(sample[2] for family in snapshot if family.name == "gateway_calls" for sample in family.samples)

    def metric(self, name: str) -> float:
        """The value of a metric without labels, or the sum over all labels."""
        # Each time on a connection of its own: a kept one would always ask the same worker, who may be dead.
        text = httpx2.get(f"{self.address}/metrics", timeout=30, trust_env=False).text
        lines = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert lines, name
        return sum(float(line) for line in lines)
