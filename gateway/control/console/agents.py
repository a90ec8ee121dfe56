"""What a browser calls itself, in words that people recognize their own by."""

import re

# The first that fits: what comes later also names what came before it, so as to be served the same pages.
_BROWSERS = (
    ("Edge", re.compile(r"\bEdg(?:A|iOS)?/(\d+)")),
    ("Opera", re.compile(r"\bOPR/(\d+)")),
    ("Firefox", re.compile(r"\b(?:Firefox|FxiOS)/(\d+)")),
    ("Chrome", re.compile(r"\b(?:HeadlessChrome|Chrome|CriOS)/(\d+)")),
    ("Safari", re.compile(r"\bVersion/(\d+).*\bSafari/")),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_of(agent: str | None) -> str:
    """Such as `Firefox 140 on Linux`, for a User-Agent field; what no browser says stands as it is."""
    if not agent:
        return "unknown"
    for name, pattern in _BROWSERS:
        if found := pattern.search(agent):
            system = next((word for sign, word in _SYSTEMS if sign in agent), None)
            return f"{name} {found[1]}" + (f" on {system}" if system else "")
    return agent
