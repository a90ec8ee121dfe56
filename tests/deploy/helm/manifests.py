"""Rendered manifests, and the questions that tests have about them."""

import tomllib
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether `matchLabels` fit an object's labels."""
    return bool(selector) and selector.items() <= labels.items()


class Manifests:
    """All manifests of a release."""

    def __init__(self, every: list[Manifest]) -> None:
        self.every = every

    def of_kind(self, kind: str) -> list[Manifest]:
        return [each for each in self.every if each["kind"] == kind]

    def one(self, kind: str, component: str = "gateway") -> Manifest:
        """The only manifest of a kind that is of a component."""
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        return found

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Each pod or template of one, with its `metadata` and `spec`, and what it is of: gateway, migration or test."""
        for each in self.every:
            pod = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
            if pod is not None:
                yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod

    def pod(self, component: str = "gateway") -> Manifest:
        (found,) = [pod for name, pod in self.pods() if name == component]
        return found

    def container(self, component: str = "gateway") -> Manifest:
        (found,) = self.pod(component)["spec"]["containers"]
        return dict(found)

    def env(self, component: str = "gateway") -> dict[str, Any]:
        """The variables of a container: a text, or where it comes from."""
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in self.container(component)["env"]}

    def secrets(self, component: str = "gateway") -> dict[str, tuple[str, str]]:
        """The variables that come from Secrets, each with the Secret and its key."""
        refs = {name: each["secretKeyRef"] for name, each in self.env(component).items() if isinstance(each, dict)}
        return {name: (ref["name"], ref["key"]) for name, ref in refs.items()}

    @property
    def toml(self) -> str:
        """The text of gateway.toml."""
        text: str = next(each for each in self.of_kind("ConfigMap") if "gateway.toml" in each["data"])["data"]["gateway.toml"]
        return text

    @property
    def config(self) -> dict[str, Any]:
        return tomllib.loads(self.toml)
