"""What somebody may see."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visible:
    """What belongs to one of `accounts` or to one of `workspaces`; or `everything`, whatever the others say."""

    everything: bool = False
    accounts: frozenset[str] = frozenset()
    workspaces: frozenset[str] = frozenset()


EVERYTHING = Visible(everything=True)
