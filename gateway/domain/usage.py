"""What a call used."""

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call; `cached` is the part of `input` that the upstream took from its cache.

    `estimated` says that the upstream named no usage, and that these are reckoned from the bytes that passed by.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        return self.input + self.output


NOTHING_USED = Usage()
