"""What the commands' `--help` shows below the options."""


def examples(*lines: str) -> str:
    """An epilog of examples, a command on each line, which click leaves as they are (its mark for that is a backspace)."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
