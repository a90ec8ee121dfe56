"""`docs/metrics.md` names every metric there is."""

import re
from pathlib import Path

from gateway import config
from gateway.app import Gateway
from gateway.config import Secrets
from gateway.domain.grants import Limits
from gateway.ops.metrics import Metrics
from tests.dataplane.world import MODEL, completion, world

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
_DOCUMENTED = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*)\|", _DOCUMENT, re.MULTILINE)
}
_WORKERS = {"gateway_workers", "gateway_workers_died_total"}  # which the parent of workers adds


def _registered() -> set[str]:
    """The names that the composition root registers from the parts that hold what they count; nothing is opened for it."""
    settings = config.load({"GATEWAY_REDIS_URL": "redis://127.0.0.1:1"}, None)
    gateway = Gateway(settings, Secrets(admin_token="token", key_pepper=b"pepper"), [])
    shown = re.findall(r"^(\w+)(?:\{[^}]*\})? ", gateway.metrics.render().decode(), re.MULTILINE)
    return {name for name in shown if not name.endswith("_created")}


async def test_every_metric_is_documented_with_its_labels() -> None:
    """A metric or label that the document does not name is one that nobody can rely on."""
    async with world(limits=Limits(rpm=1, tpm=1000)) as w:
        w.metrics.watch_conservation(w.admissions.conservation)
        w.upstreams.serve(MODEL, completion())
        assert [(await w.call()).status for _ in range(2)] == [200, 429]
        shown: dict[str, set[str]] = {}
        for name, labels in re.findall(r"^(\w+)(\{[^}]*\})? ", w.metrics.render().decode(), re.MULTILINE):
            if not name.endswith("_created"):
                shown.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
        for name, found in shown.items():
            assert _DOCUMENTED.get(name) == found, name
        assert set(_DOCUMENTED) == set(shown) | _registered() | _WORKERS


async def test_the_counts_are_right() -> None:
    """One call admitted and one refused show as such, by model, level, kind and answer, and no token is unaccounted for."""
    async with world(limits=Limits(rpm=1, tpm=1000)) as w:
        w.metrics.watch_conservation(w.admissions.conservation)
        w.upstreams.serve(MODEL, completion())
        for _ in range(2):
            await w.call()
        lines = w.metrics.render().decode().splitlines()
        decisions = 'gateway_admission_decisions_total{answer="%s",kind="%s",level="account",model="m"} 1.0'
        assert decisions % ("admitted", "requests") in lines
        assert decisions % ("admitted", "tokens") in lines
        assert decisions % ("refused", "requests") in lines
        assert 'gateway_calls_total{endpoint="chat.completions",status="200"} 1.0' in lines
        assert 'gateway_calls_total{endpoint="chat.completions",status="429"} 1.0' in lines
        assert 'gateway_call_outcomes_total{outcome="ok"} 1.0' in lines
        assert 'gateway_call_outcomes_total{outcome="refused"} 1.0' in lines
        assert 'gateway_limit_tokens_total{event="settled"} 12.0' in lines
        assert "gateway_limit_tokens_imbalance 0.0" in lines


def test_gauges_and_counters_are_read_when_they_are_scraped() -> None:
    """A registered reading shows its owner's present value."""
    metrics = Metrics()
    value = 3
    metrics.gauge("gateway_open_calls", "Calls under way.", lambda: value)
    metrics.counter("gateway_key_cache_reads", "Queries.", lambda: value)
    assert b"gateway_open_calls 3.0" in metrics.render()
    value = 4
    assert b"gateway_open_calls 4.0" in metrics.render()
    assert b"gateway_key_cache_reads_total 4.0" in metrics.render()
