"""Browsers are called what people call them."""

import pytest

from gateway.control.console.agents import browser_of

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36", "Chrome 142 on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", "Edge 142 on Windows"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/26.1 Safari/605.1.15", "Safari 26 on macOS"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) {_WEBKIT} Version/26.0 Mobile Safari/604.1",
            "Safari 26 on iPhone",
        ),
        (f"Mozilla/5.0 (Linux; Android 16) {_WEBKIT} Chrome/142.0.0.0 Mobile Safari/537.36", "Chrome 142 on Android"),
        ("python-httpx2/2.16.2", "python-httpx2/2.16.2"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_browser_is_named(agent: str | None, words: str) -> None:
    """A session's browser is named by product, version and system; whatever is no browser says what it said."""
    assert browser_of(agent) == words
