"""The demo upstream by itself, for tests that watch it from behind the gateway."""

import json
import sys
import urllib.request

from tests.support.processes import ChildProcess

_PROGRAM = "from gateway.demo.server import run; run('127.0.0.1', 0, announce=True, exit_with_parent=True)"


def demo_stats(base_url: str) -> dict[str, int]:
    """`in_progress` and `served`, as the demo upstream at `base_url` counts its model calls."""
    with urllib.request.urlopen(f"{base_url}/demo/stats", timeout=10) as reply:
        stats: dict[str, int] = json.load(reply)
        return stats


class DemoProcess(ChildProcess):
    """A running demo upstream. `base_url` ends in `/v1`."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-c", _PROGRAM])
        try:
            self.wait_until(lambda: self.stdout().endswith("\n"), "the demo upstream listens")
        except AssertionError:
            self.close()
            raise
        self.base_url: str = json.loads(self.stdout())["base_url"]

    def in_progress(self) -> int:
        return demo_stats(self.base_url)["in_progress"]
