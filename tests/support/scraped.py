"""What a scrape tells, read by Prometheus's own parser."""

from collections.abc import Mapping
from typing import Self

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """One answer of `/metrics`. `families` are its metrics by the names that the document gives them."""

    def __init__(self, text: str | bytes) -> None:
        found = list(text_string_to_metric_families(text if isinstance(text, str) else text.decode()))
        self.families = {each.name + ("_total" if each.type == "counter" else ""): each for each in found}
        assert len(found) == len(self.families), "a metric is there twice"
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for sample in (sample for each in found for sample in each.samples):
            key = sample.name, frozenset(sample.labels.items())
            assert key not in self._samples, key
            self._samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The value of a sample with exactly these labels; 0 where there is none."""
        return self._samples.get((name, frozenset(labels.items())), 0.0)

    def total(self, name: str, **labels: str) -> float:
        """The sum over the samples of that name that have these labels among theirs."""
        wanted = set(labels.items())
        return sum(value for (sample, its), value in self._samples.items() if sample == name and wanted <= its)

    def labels(self, name: str) -> set[str]:
        """The labels of a metric, without those that Prometheus's format adds."""
        return {label for sample in self.families[name].samples for label in sample.labels} - {"le"}

    @property
    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return set(self._samples)

    def never_less_than(self, before: Self) -> None:
        """No counter and no histogram's count has gone back since."""
        for (name, its), value in before._samples.items():
            family = self._family_of(name, before.families)
            if family is not None and family.type in ("counter", "histogram") and (name, its) in self._samples:
                assert self._samples[name, its] >= value, (name, dict(its))

    @staticmethod
    def _family_of(name: str, families: Mapping[str, Metric]) -> Metric | None:
        for stem in (name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count"))):
            if stem in families:
                return families[stem]
        return None
