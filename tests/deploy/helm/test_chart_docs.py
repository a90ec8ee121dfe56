"""The pages on Kubernetes and on sizing: every value is there, and what they tell one to type works."""

import re
import shlex
from typing import Any

import click
import pytest
import yaml

from gateway.cli import main
from tests.deploy.helm.conftest import Render
from tests.deploy.helm.value_sets import MINIMAL
from tests.deploy.helm.values_docs import DOCS, VALUES, comments, rows
from tests.support.helm import Chart
from tests.support.processes import ROOT

TEXT = DOCS.read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs" / "deploy").glob("*.md"))
EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
SHELL = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def test_every_value_is_documented() -> None:
    """Each value stands in the table with its default and its comment, in the order of the file, and no other does."""
    table = TEXT.partition("| Value | Default | What it is |\n|---|---|---|\n")[2]
    assert table.splitlines() == rows(), "run: python -m tests.deploy.helm.values_docs"


def test_comments_are_found_where_they_are() -> None:
    """A value without a comment is noticed, and a comment is not taken for another value's."""
    found = comments("# a\n\n# first\na:\n  # second\n  # line\n  b: 1\n  c: 2\n# third\nd: {}\n")
    assert found == {("a",): "first", ("a", "b"): "second line", ("d",): "third"}
    every = [path.strip("`") for path in re.findall(r"^\| (`[\w.]+`) \|", TEXT.partition("## Values")[2], re.MULTILINE)]

    def deepest(values: Any, path: str) -> list[str]:
        if isinstance(values, dict) and values:
            return [leaf for key, value in values.items() for leaf in deepest(value, f"{path}.{key}".lstrip("."))]
        return [path]

    unknown = [
        leaf
        for leaf in deepest(yaml.safe_load(VALUES.read_text(encoding="utf-8")), "")
        if not any(leaf == path or leaf.startswith(f"{path}.") for path in every)
    ]
    assert unknown == []


@pytest.mark.parametrize("values", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_values_can_be_used(render: Render, values: dict[str, Any]) -> None:
    """Each example of values is taken by the chart as it is, together with what alone is required."""
    manifests = render({**MINIMAL, **values}).every
    assert any(each["kind"] == "Deployment" for each in manifests)


def test_the_secret_of_the_example_holds_all_keys(render: Render) -> None:
    """Whoever makes the Secret as told, and takes the values as told, has every key that the pods ask for."""
    (command,) = [line for line in SHELL if "secret" in line and "create" in line]
    name = command[command.index("generic") + 1]
    made = {(name, option.removeprefix("--from-literal=").partition("=")[0]) for option in command if "literal" in option}
    manifests = render(EXAMPLES[0])
    assert made == set(manifests.secrets().values()) | set(manifests.secrets("migration").values())


def test_commands_name_what_there_is(chart: Chart, render: Render) -> None:
    """Commands of the gateway exist, with their options; objects are those of the release; the chart is where it is told."""
    names = {each["metadata"]["name"] for each in render(MINIMAL).every}
    ours = [line[line.index("--") + 1 :] for line in SHELL if "--" in line]
    assert len(ours) == 3
    for command, *arguments in ours:
        assert command == "gateway"
        _resolve(main, arguments)
    assert set(re.findall(rf"(?:deploy|job)/({chart.name}[\w-]*)", TEXT)) == {"prod-gateway", "prod-gateway-migrate"}
    assert {"prod-gateway", "prod-gateway-migrate"} <= names
    releases = {(line[1], line[2]) for line in SHELL if line and line[0] == "helm"}
    assert releases == {(verb, chart.name) for verb in ("install", "test", "upgrade", "rollback")}
    assert all((ROOT / line[3]).samefile(ROOT / "deploy/helm/gateway") for line in SHELL if line[:2] == ["helm", "install"])


def _resolve(group: click.Command, arguments: list[str]) -> None:
    """Parse a command line as the program does, without running it. Raises click.UsageError."""
    context = click.Context(group)
    while isinstance(group, click.Group):
        found = group.get_command(context, arguments[0])
        assert found is not None, arguments
        group, arguments = found, arguments[1:]
    group.make_context(str(group.name), list(arguments))


def test_the_table_of_the_end_is_right(render: Render) -> None:
    """The seconds in which a pod ends are those of the values."""
    section = TEXT.partition("## How a pod ends")[2].partition("\n## ")[0]
    told = [int(second) for second in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    manifests = render(MINIMAL)
    slept = manifests.container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    server = manifests.config["server"]
    drained = slept + server["drain_seconds"]
    cut = drained + server["graceful_timeout_seconds"]
    assert told == [0, slept, drained, cut, manifests.pod()["spec"]["terminationGracePeriodSeconds"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    """Each link into the project leads to a file, and to a heading in it where one is named."""
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, heading


def test_the_figures_of_the_chart_are_those_of_sizing() -> None:
    """The page on sizing tells the chart's memory limit and the bodies that it holds."""
    sizing = (ROOT / "docs" / "deploy" / "sizing.md").read_text(encoding="utf-8")
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    limit = values["resources"]["limits"]["memory"].replace("Gi", " GiB")
    bodies = values["config"]["server"]["max_body_bytes_total"].replace("MiB", " MiB")
    assert f"The chart's limit of {limit}" in " ".join(sizing.split())
    assert f"`server.max_body_bytes_total` ({bodies})" in sizing
    assert f"`storage.pool_size` ({values['config']['storage']['pool_size']})" in sizing
