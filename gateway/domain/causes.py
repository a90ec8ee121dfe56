"""Why a call was refused, in the few words that are counted."""

from dataclasses import dataclass
from typing import Self

_SEPARATOR = ":"


@dataclass(frozen=True, slots=True)
class Cause:
    """The code of the refusal; for a limit also whose it was: `account`, `workspace` or `key`, empty for all else."""

    code: str
    level: str = ""

    def __str__(self) -> str:
        """One text for both, such as `limit_requests:workspace`."""
        return f"{self.code}{_SEPARATOR}{self.level}" if self.level else self.code

    @classmethod
    def parse(cls, text: str) -> Self:
        code, _, level = text.partition(_SEPARATOR)
        return cls(code, level)
