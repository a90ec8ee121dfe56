"""What one run has found, as it is kept beside the tables."""

from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.latency import Latency
from loadtests.load import Sample
from loadtests.streams import Streams


@dataclass
class Findings:
    """Samples by case and server; latencies by server; streams by server and how many were asked for, or why there are none.

    The cases of `keys` are called by the number of keys in rotation, and `cold`; those of `workers` are one.
    """

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    rate: float = 0.0
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
    streams: dict[str, dict[int, Streams | str]] = field(default_factory=dict)
    afterwards: dict[str, list[float]] = field(default_factory=dict)  # seconds that a server went on working after a run
    notes: list[str] = field(default_factory=list)  # what a reader has to know, and what is missing

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def plain(self) -> dict[str, Any]:
        """All of it, of JSON's types."""
        return {
            "samples": {
                c: {name: [asdict(each) for each in row] for name, row in rows.items()} for c, rows in self.samples.items()
            },
            "rate": self.rate,
            "latencies": {name: [asdict(each) for each in row] for name, row in self.latencies.items()},
            "streams": {
                name: {str(count): each if isinstance(each, str) else asdict(each) for count, each in row.items()}
                for name, row in self.streams.items()
            },
            "afterwards": self.afterwards,
            "notes": self.notes,
        }
