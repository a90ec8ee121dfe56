"""The alert rules: what promtool says of them, and that each is about a metric that exists and has a page for whom it wakes."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.debian import require
from tests.support.processes import ROOT

_FOLDER = ROOT / "deploy" / "prometheus"
_PAGE = ROOT / "docs" / "deploy" / "alerts.md"
_METRICS = ROOT / "docs" / "metrics.md"
_OF_PROMETHEUS = {"up"}


@cache
def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((_FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _promtool(*arguments: str | Path) -> str:
    require("prometheus")
    command = [require("prometheus", "promtool"), *map(str, arguments)]
    ran = subprocess.run(command, cwd=_FOLDER, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_promtool_takes_the_rules() -> None:
    """The rules are such that Prometheus loads them."""
    assert f"{len(_rules())} rules found" in _promtool("check", "rules", "alerts.yml")


def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    """Promtool evaluates each alert on series of its own, one set that is bad and one that is not."""
    assert "SUCCESS" in _promtool("test", "rules", "alerts_test.yml")


def test_each_alert_has_both_tests() -> None:
    """No rule is without a test that it fires and one that it stays quiet."""
    names = [test["name"] for test in yaml.safe_load((_FOLDER / "alerts_test.yml").read_text())["tests"]]
    assert sorted(names) == sorted(f"{rule['alert']} {what}" for rule in _rules() for what in ("fires", "stays quiet"))


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """A severity that exists, words for people, and a section of the page under its name."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.search(rf"^## {rule['alert']}$", _PAGE.read_text(), re.MULTILINE)


def test_the_page_is_about_alerts_that_exist() -> None:
    """No section of an alert that is gone."""
    assert re.findall(r"^## (\w+)$", _PAGE.read_text(), re.MULTILINE) == [rule["alert"] for rule in _rules()]


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_that_exist(rule: dict[str, Any]) -> None:
    """What it asks for is documented, and so, by another test, exists."""
    documented = set(re.findall(r"`((?:gateway|gen_ai|process)_\w+)`", _METRICS.read_text())) | _OF_PROMETHEUS
    asked = set(re.findall(r"\b((?:gateway|gen_ai|process)_\w+|up)\b(?=\s*[{\[)])", rule["expr"]))
    assert asked
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= documented
