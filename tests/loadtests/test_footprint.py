"""The figures that sizing rests on can be measured anew, and mean what they say."""

import re
import sys

import pytest

from loadtests import footprint, many_keys

pytestmark = pytest.mark.xdist_group("footprint")


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1].replace(",", ""))


def test_what_the_ledger_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every entry is a row of some hundred bytes, on either database; sums have at most a row for each of them."""
    monkeypatch.setattr(sys, "argv", ["footprint", "--only", "ledger", "--entries", "4000"])
    assert footprint.main() == 0
    said = capsys.readouterr().out
    assert number(r"ledger: ([\d,]+) rows", said) == 4000
    assert 150 < number(r"ledger: 4,000 rows of ([\d.]+) bytes", said) < 600
    assert 0 < number(r"usage_hours: ([\d,]+) rows", said) <= 4000
    assert 300 < number(r"SQLite, the same: ([\d.]+) bytes", said) < 3000


def test_what_calls_take(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One at a time each call is a decision of its own; together many are decided by one command."""
    for name, value in {"_SETTLED_SECONDS": 0.5, "_TOLD_SECONDS": 0.5, "_WARM_UP": 50, "_AT_ONCE": (1, 16)}.items():
        monkeypatch.setattr(footprint, name, value)
    monkeypatch.setattr(many_keys, "ACCOUNTS", 20)
    monkeypatch.setattr(sys, "argv", ["footprint", "--only", "calls", "--calls", "300"])
    assert footprint.main() == 0
    said = capsys.readouterr().out
    alone, together = (float(share) for share in re.findall(r"([\d.]+) evalsha", said))
    assert 1 <= alone < 3
    assert together < alone / 2
    assert number(r"a waiting entry ([\d.]+)", said) > 100
