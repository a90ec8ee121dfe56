"""The metrics of all worker processes, in a folder that they share.

Each worker writes its snapshot to a file of its own, several times a second, when it is scraped and at its end; whichever is
scraped adds up all files. The parent adds the file of a worker that has ended to the file `past`. So a killed worker loses what
it counted since its last writing, nobody waits for anybody, and no counter goes back: a worker's file only ever grows, and it is
read before `past`, which says whose files it holds already.

A worker's file has two halves that are written in turn, each with a sequence number and a check sum, so that one whole snapshot
can be read at any time, also when its writer was killed in the middle.
"""

import logging
import os
import shutil
import struct
import zlib
from pathlib import Path

import msgspec

from gateway.ops.snapshots import Snapshot, decoded, encoded, lasting, merged

_log = logging.getLogger(__name__)
_HEAD = struct.Struct("<QII")  # sequence number, bytes, check sum
_HALF = 8 << 20  # the file is sparse: only what is written takes room
_PAST = "past"
_TRIES = 5
_REMEMBERED = 1000  # ended workers whose file a reader may still have open


class _Past(msgspec.Struct, array_like=True):
    numbers: list[int]
    snapshot: Snapshot


class Column:
    """One worker's file, while it writes. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path, number: int) -> None:
        self._file = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._sequence = 0
        self._last = b""

    def write(self, snapshot: Snapshot) -> None:
        """Put the present values in the place of the last but one. What has not changed, or has no room, is not written."""
        data = encoded(snapshot)
        if data == self._last:
            return
        if len(data) > _HALF - _HEAD.size:
            _log.error("the metrics take %d bytes, which is more than workers can share", len(data))
            return
        self._sequence += 1
        head = _HEAD.pack(self._sequence, len(data), zlib.crc32(data))
        os.pwrite(self._file, head + data, _HALF * (self._sequence % 2))
        self._last = data

    def close(self) -> None:
        os.close(self._file)


class Scoreboard:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear(self) -> None:
        """Make the folder, for this user alone, and empty it of what an earlier run has left. Raises OSError."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)

    def column(self, number: int) -> Column:
        return Column(self.folder, number)

    def together(self) -> Snapshot:
        """The metrics of all workers, those that have ended included."""
        found = {number: snapshot for number in self._numbers() if (snapshot := self._read(number)) is not None}
        past = self._past()
        alive = [snapshot for number, snapshot in sorted(found.items()) if number not in past.numbers]
        return merged([*alive, past.snapshot])

    def bury(self, number: int, also: Snapshot) -> None:
        """Keep the counters of a worker that has ended, and add those of `also`; the parent alone does this. Raises OSError."""
        past = self._past()
        last = self._read(number) or []
        numbers = [*past.numbers, number][-_REMEMBERED:]
        data = msgspec.msgpack.encode(_Past(numbers, merged([past.snapshot, lasting(last), also])))
        draft = self.folder / f".{_PAST}"
        draft.write_bytes(data)
        draft.replace(self.folder / _PAST)
        (self.folder / str(number)).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        try:
            return [int(file.name) for file in self.folder.iterdir() if file.name.isdecimal()]
        except OSError:
            return []

    def _past(self) -> _Past:
        try:
            return msgspec.msgpack.decode((self.folder / _PAST).read_bytes(), type=_Past)
        except FileNotFoundError:
            return _Past([], [])

    def _read(self, number: int) -> Snapshot | None:
        """A worker's newest whole snapshot; None where it has written none, or its file is in `past` by now."""
        try:
            file = os.open(self.folder / str(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            for _ in range(_TRIES):
                for place in self._newest_first(file):
                    sequence, size, check = _HEAD.unpack(os.pread(file, _HEAD.size, place))
                    data = os.pread(file, size, place + _HEAD.size)
                    if sequence and zlib.crc32(data) == check:
                        return decoded(data)
            return None
        finally:
            os.close(file)

    @staticmethod
    def _newest_first(file: int) -> list[int]:
        """The places of the halves that have been written."""
        heads = [(os.pread(file, _HEAD.size, place), place) for place in (0, _HALF)]
        known = [(_HEAD.unpack(head)[0], place) for head, place in heads if len(head) == _HEAD.size]
        return [place for sequence, place in sorted(known, reverse=True) if sequence]
