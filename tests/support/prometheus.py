"""A real Prometheus server (Debian's) as a child process of a test: it scrapes what it is told to, and is asked in PromQL."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import yaml

from tests.support.debian import require
from tests.support.processes import ChildProcess, free_port

Series = tuple[dict[str, str], list[tuple[float, float]]]
"""Labels, and points in time with values."""


class PrometheusServer:
    """Scrapes each of `targets` (host:port, by job) every `interval` seconds; `rules` are files of rules that it
    evaluates as often.

    The test is skipped where there is none and none can be installed.
    """

    def __init__(self, targets: Mapping[str, Sequence[str]], *, interval: float = 1.0, rules: Sequence[Path] = ()) -> None:
        program = require("prometheus")
        self._folder = tempfile.TemporaryDirectory(prefix="gw-prometheus-")
        folder = Path(self._folder.name)
        every = f"{int(interval * 1000)}ms"
        settings = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(rule.resolve()) for rule in rules],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(at)}]} for job, at in targets.items()],
        }
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(settings))
        self.port = free_port()
        data, address = folder / "data", f"127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
        self._process = ChildProcess([*command, "--log.level=warn"], env=kept, cwd=folder)
        self._client = httpx2.Client(base_url=f"http://{address}/api/v1", timeout=30)
        self._process.wait_until(self._is_ready, "Prometheus is ready")

    def _is_ready(self) -> bool:
        try:
            return self._client.get(f"http://127.0.0.1:{self.port}/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()
        self._process.close()
        self._folder.cleanup()

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What the expression is now: labels and value of each series. Raises AssertionError for one that Prometheus refuses."""
        found = self._get("/query", {"query": expression})
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(row["metric"], float(row["value"][1])) for row in found["result"]]

    def over(self, expression: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        """What the expression was between two times (Unix seconds), each `step` seconds."""
        found = self._get("/query_range", {"query": expression, "start": str(start), "end": str(end), "step": str(step)})
        return [(row["metric"], [(float(at), float(value)) for at, value in row["values"]]) for row in found["result"]]

    def targets(self) -> list[dict[str, Any]]:
        """Whom it scrapes, as its own API tells."""
        return list(self._get("/targets", {})["activeTargets"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing."""
        return list(self._get("/alerts", {})["alerts"])

    def wait_for_scrapes(self, count: int, seconds: float = 60.0) -> None:
        """Return once each target was scraped `count` times without a fault since now."""
        begun, deadline = time.time(), time.monotonic() + seconds
        while any(value < count for _, value in self._scrapes(begun)) or not self._scrapes(begun):
            assert time.monotonic() < deadline, f"targets were not scraped in time: {self.targets()}"
            time.sleep(0.2)

    def _scrapes(self, since: float) -> list[tuple[dict[str, str], float]]:
        return self.ask(f"sum_over_time(up[{max(1, int(time.time() - since))}s])")

    def _get(self, path: str, given: Mapping[str, str]) -> Any:
        answer = self._client.get(path, params=dict(given)).json()
        assert answer["status"] == "success", f"{given}: {answer}"
        return answer["data"]
