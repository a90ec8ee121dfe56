"""What the floors above the rules raise to each other when a part of the world fails; never shown to a client as it is."""


class StorageUnavailable(Exception):  # noqa: N818 — names the part that is away
    """The database cannot be used now; what was asked of it may work later."""


class KeyStoreUnavailable(StorageUnavailable):
    """The key store cannot be asked; what is not cached is unknown, which is not the same as wrong."""


class LimitsUnavailable(StorageUnavailable):
    """The store of limits and epochs cannot be asked, or does not answer in time."""


class UpstreamFault(Exception):  # noqa: N818 — it names what failed, as the other faults do
    """An upstream call that gave no usable reply. `reached` says whether the request may have been acted on."""

    def __init__(self, detail: str, *, reached: bool) -> None:
        super().__init__(detail)
        self.reached = reached


class UpstreamTimedOut(UpstreamFault):
    """Connecting, the first byte or the next byte took too long."""


class UnsendableRequest(UpstreamFault):
    """The request cannot be put into HTTP, which says nothing about the upstream."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reached=False)
