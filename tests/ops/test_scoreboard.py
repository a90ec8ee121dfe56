"""The metrics of several processes: summed, kept beyond a process's end, and never read half written."""

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from gateway.ops.exposition import rendered
from gateway.ops.metrics import Metrics
from gateway.ops.scoreboard import Scoreboard
from gateway.ops.snapshots import Snapshot, counter, merged


class Process:
    """The metrics of one process, with values that a test sets."""

    def __init__(self) -> None:
        self.count = 0
        self.open = 0
        self.lag = 0
        self.kinds: dict[tuple[str, ...], float] = {}
        self.metrics = Metrics()
        self.metrics.counter("x_done", "Done.", lambda: self.count)
        self.metrics.gauge("x_open", "Open.", lambda: self.open)
        self.metrics.source(lambda: (counter("x_kinds", "Done.", ("kind",), self.kinds),))
        self.metrics.gauge("x_lag", "Lag.", lambda: self.lag, together="max")


def value(snapshot: Snapshot, name: str) -> float:
    found = [sample[2] for family in snapshot for sample in family.samples if sample[0] == name]
    assert len(found) == 1, name
    return found[0]


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    board = Scoreboard(tmp_path / "workers")
    board.clear()
    return board


def test_sums_and_maxima(board: Scoreboard) -> None:
    """Counters and gauges are summed, and of a gauge that is no amount the greatest value is shown; labels stay apart."""
    processes = [Process(), Process()]
    for number, (process, (count, opened, lag)) in enumerate(zip(processes, [(3, 1, 9), (4, 2, 5)], strict=True)):
        process.count, process.open, process.lag = count, opened, lag
        process.kinds = {("a",): 1, (f"b{number}",): 1}
        board.column(number).write(process.metrics.snapshot())
    together = board.together()
    assert [value(together, name) for name in ("x_done_total", "x_open", "x_lag")] == [7, 3, 9]
    text = rendered(together).decode().splitlines()
    assert [line for line in text if line.startswith("x_kinds_total")] == [
        'x_kinds_total{kind="a"} 2.0',
        'x_kinds_total{kind="b0"} 1.0',
        'x_kinds_total{kind="b1"} 1.0',
    ]


def test_what_has_ended_keeps_its_counters_only(board: Scoreboard) -> None:
    """A process that has ended leaves its counters behind, once, and takes its gauges along."""
    process = Process()
    for number in range(3):
        process.count, process.open = 5, 2
        board.column(number).write(process.metrics.snapshot())
    for number in (0, 1):
        board.bury(number, [])
    assert [value(board.together(), name) for name in ("x_done_total", "x_open")] == [15, 2]
    assert sorted(path.name for path in board.folder.iterdir()) == ["2", "past"]


def test_a_file_that_is_in_the_past_already_is_not_counted_twice(board: Scoreboard) -> None:
    """A parent that dies between writing `past` and taking the file away, or a reader in between, makes no difference."""
    process = Process()
    process.count = 5
    board.column(1).write(process.metrics.snapshot())
    kept = (board.folder / "1").read_bytes()
    board.bury(1, [])
    (board.folder / "1").write_bytes(kept)
    assert value(board.together(), "x_done_total") == 5


def test_a_worker_that_wrote_nothing_is_buried_too(board: Scoreboard) -> None:
    """A worker that died before its first writing does no harm; what is said beside its end counts."""
    process = Process()
    process.count = 1
    board.bury(7, process.metrics.snapshot())
    board.bury(8, process.metrics.snapshot())
    assert value(board.together(), "x_done_total") == 2


def test_a_half_written_snapshot_is_not_read(board: Scoreboard) -> None:
    """Of a writer that was killed in the middle, the snapshot before counts."""
    process = Process()
    column = board.column(1)
    for process.count in (1, 2, 3):
        column.write(process.metrics.snapshot())
    with (board.folder / "1").open("r+b") as file:
        file.seek((8 << 20) + 40)  # the third stands in the second half, as the first did
        file.write(b"\xff\xff\xff")
    assert value(board.together(), "x_done_total") == 2


def _writer(folder: Path, number: int) -> None:
    process = Process()
    column = Scoreboard(folder).column(number)
    while True:
        process.count += 1
        process.open = process.count
        column.write(process.metrics.snapshot())


def test_reading_beside_writers_never_goes_back(board: Scoreboard) -> None:
    """While processes write without a pause, are killed and buried, the sum of a counter never goes back."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_writer, args=(board.folder, number), daemon=True) for number in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while len(list(board.folder.iterdir())) < 2 or not board.together():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    seen = [0.0]
    for turn in range(300):
        if turn == 150:
            assert writers[0].pid is not None
            os.kill(writers[0].pid, signal.SIGKILL)
            writers[0].join()
            board.bury(0, [])
        together = board.together()
        seen.append(sum(sample[2] for family in together for sample in family.samples if sample[0] == "x_done_total"))
    writers[1].kill()
    writers[1].join()
    assert seen == sorted(seen)
    assert seen[-1] > seen[1] > 0


def test_the_folder_is_private_and_emptied(tmp_path: Path) -> None:
    """What an earlier run has left does not count, and nobody else can look."""
    board = Scoreboard(tmp_path / "workers")
    board.clear()
    process = Process()
    process.count = 5
    board.column(1).write(process.metrics.snapshot())
    board.bury(2, process.metrics.snapshot())
    board.clear()
    assert board.together() == []
    assert stat.S_IMODE(board.folder.stat().st_mode) == 0o700


def test_nothing_merged_is_nothing() -> None:
    """No process, no metrics."""
    assert merged([]) == []
