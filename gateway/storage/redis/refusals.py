"""What a server's error replies mean to an admission."""

import re

_CODE = re.compile(r"[A-Z]+(?= |$)")
# Before Redis 7, what a command inside a script met stands within the script's own error.
_WITHIN = re.compile(r"-([A-Z]{2,})\b")
_ELSEWHERE = "non local key"

WAIT = frozenset({"TRYAGAIN", "LOADING"})
"""The same server will soon answer otherwise: ask it again."""

NOT_THE_MASTER = frozenset({"READONLY", "MASTERDOWN"})
"""The server is no master, or no longer: connect anew, perhaps elsewhere."""


class Refusal(Exception):  # noqa: N818 — names what the server did
    """An error reply. `code` is its first word, or that of the error which the script met."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = _CODE.match(text)
        self.code = found.group() if found else "ERR"
        if self.code == "ERR" and "script" in text:
            within = _WITHIN.search(text)
            if within:
                self.code = within.group(1)
            elif _ELSEWHERE in text:
                # Part of an account's keys has moved to another node already, and the rest is about to.
                self.code = "TRYAGAIN"

    def target(self, asked: str) -> tuple[str, int]:
        """Where MOVED or ASK points: host and port. An empty host is the one that was `asked`. Raises ValueError if nowhere."""
        _, _, place = str(self).split(" ")
        host, _, port = place.rpartition(":")
        return host.strip("[]") or asked, int(port)
