"""Log lines, to standard error."""

import logging

_CHATTY = ("httpx2", "httpcore2", "aiosqlite", "alembic", "asyncio")


def to_stderr(level: str, who: str = "") -> None:
    """Write log lines from `level` on; `who` tells the processes apart that write to one place."""
    logging.basicConfig(level=level.upper(), format=f"%(asctime)s %(levelname)s {who and f'[{who}] '}%(name)s: %(message)s")
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
