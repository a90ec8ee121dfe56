"""`docs/metrics.md` names every metric there is."""

import re
from pathlib import Path

from gateway import config
from gateway.app import Gateway
from gateway.config import Secrets
from gateway.domain.grants import Limits
from gateway.ops.metrics import Metrics
from tests.dataplane.world import MODEL, completion, world
from tests.support.scraped import Scraped

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
_DOCUMENTED = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", _DOCUMENT, re.MULTILINE)
}
_WORKERS = {"gateway_workers", "gateway_workers_died_total"}  # which the parent of workers adds
_UNITS = {"seconds", "bytes", "ratio", "info"}
_THINGS = {
    *("calls", "streams", "decisions", "epochs", "tokens", "reads", "hits", "keys", "evictions", "entries", "rows", "sums"),
    *("refusals", "failures", "connections", "items", "nodes", "fallbacks", "processes", "settlements", "batches", "messages"),
    *("workers", "outcomes", "fds"),
}
# Flags, which are 0 or 1; and a name of OpenTelemetry's, whose unit is the token.
_WITHOUT = {"gateway_database_up", "gateway_upstream_healthy", "gen_ai_client_token_usage"}


def _gateway(redis: str) -> Gateway:
    """The composition root, which registers metrics from the parts that hold what they count; nothing is opened."""
    settings = config.load({"GATEWAY_REDIS_URL": redis}, None)
    return Gateway(settings, Secrets(admin_token="token", key_pepper=b"pepper"), [])


def _registered() -> set[str]:
    return {name for redis in ("redis://127.0.0.1:1", "") for name in Scraped(_gateway(redis).metrics.render()).families}


async def test_every_metric_is_documented_with_its_labels() -> None:
    """A metric, its kind or a label that the document does not name is one that nobody can rely on; and it names no other."""
    async with world(limits=Limits(rpm=1, tpm=1000)) as w:
        w.metrics.watch_conservation(w.admissions.conservation)
        w.upstreams.serve(MODEL, completion())
        assert [(await w.call()).status for _ in range(2)] == [200, 429]
        shown = Scraped(w.metrics.render())
        for name, family in shown.families.items():
            assert name in _DOCUMENTED, name
            kind, labels = _DOCUMENTED[name]
            assert family.type == kind, name
            assert not family.samples or shown.labels(name) == labels, name
        assert set(_DOCUMENTED) == set(shown.families) | _registered() | _WORKERS


def test_every_registered_metric_has_its_documented_labels() -> None:
    """What parts register besides calls has the kind and the labels that the document gives."""
    shown = Scraped(_gateway("redis://127.0.0.1:1").metrics.render())
    for name, family in shown.families.items():
        kind, labels = _DOCUMENTED[name]
        assert family.type == kind, name
        assert not family.samples or shown.labels(name) == labels, name


def test_every_name_says_its_unit() -> None:
    """A name has a known prefix, its base unit or what it counts, and `_total` at its end if it is a counter and only then."""
    for name, (kind, _) in _DOCUMENTED.items():
        words = name.removesuffix("_total").split("_")
        assert name.startswith(("gateway_", "gen_ai_", "process_")), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not {"ms", "milliseconds", "us", "minutes", "hours", "kb", "mb", "percent"} & set(words), name
        if name not in _WITHOUT:
            assert words[-1] in _UNITS or _THINGS & set(words), name
        if kind == "histogram" and name not in _WITHOUT:
            assert words[-1] in _UNITS | _THINGS, name


async def test_the_counts_are_right() -> None:
    """One call admitted and one refused show as such, by model, level, kind and answer, and no token is unaccounted for."""
    async with world(limits=Limits(rpm=1, tpm=1000)) as w:
        w.metrics.watch_conservation(w.admissions.conservation)
        w.upstreams.serve(MODEL, completion())
        for _ in range(2):
            await w.call()
        lines = w.metrics.render().decode().splitlines()
        decisions = 'gateway_admission_decisions_total{answer="%s",kind="%s",level="account",mode="memory",model="m"} 1.0'
        assert decisions % ("admitted", "requests") in lines
        assert decisions % ("admitted", "tokens") in lines
        assert decisions % ("refused", "requests") in lines
        calls = 'gateway_calls_total{endpoint="chat.completions",level="%s",model="m",reason="%s",status="%s"} 1.0'
        assert calls % ("", "", 200) in lines
        assert calls % ("account", "limit_requests", 429) in lines
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
