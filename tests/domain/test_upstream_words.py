"""How base URLs and model names are written, in the settings and in the admin API alike."""

import pytest

from gateway.domain.upstreams import ModelNames, read_base_url, read_models


@pytest.mark.parametrize(
    ("models", "names", "lists"),
    [
        ("*", {}, True),
        ("a, b=c,*", {"a": "a", "b": "c"}, True),
        ("a,,", {"a": "a"}, False),
        (["*"], {}, True),
        (["*", "a=b"], {"a": "b"}, True),
        ({"a": "b", "v/m": "v/m=1"}, {"a": "b", "v/m": "v/m=1"}, False),
        ({"*": "*"}, {}, True),
        (["v/m=x=y"], {"v/m": "x=y"}, False),
        (["small=My Model.gguf"], {"small": "My Model.gguf"}, False),
    ],
)
def test_ways_to_write_models(models: object, names: dict[str, str], lists: bool) -> None:
    """Names, pairs, a table and `*` are all understood, and what is shown of them reads back the same."""
    found = read_models(models)
    assert found == ModelNames(names, lists)
    assert read_models(str(found)) == found


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ([], "names no model"),
        ({}, "names no model"),
        ("", "names no model"),
        (" , ", "names no model"),
        (3, "no list of names"),
        (["a", 1], "no list of names"),
        ({"a": 1}, "no list of names"),
        ("a b", "entry 1 is no model name"),
        (["a", "b="], "entry 2"),
        (["=a"], "entry 1"),
        (["a,b"], "entry 1"),
        (["a\nb"], "entry 1"),
        (["x" * 256], "entry 1"),
        ({"": "a"}, "entry 1"),
        ({"*": "a"}, "entry 1"),
        ({"a": "b,c"}, "entry 1"),
        (["a", "a=b"], "twice"),
        ("a,a", "twice"),
        ([f"m{number}" for number in range(10_001)], "more than 10,000"),
    ],
)
def test_wrong_models(models: object, reason: str) -> None:
    """Names that cannot be told apart, or be no names, are refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        read_models(models)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://h", "http://h"),
        (" http://h/v1 ", "http://h/v1"),
        ("https://h:8443/v1/", "https://h:8443/v1"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
    ],
)
def test_base_urls(text: str, expected: str) -> None:
    """Plain http and https addresses are taken without the slash at their end."""
    assert read_base_url(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "http://"),
        ("h/v1", "http://"),
        ("ftp://h", "http://"),
        ("http://", "host or port"),
        ("http:///v1", "host or port"),
        ("http://h:99999", "host or port"),
        ("http://h:0", "host or port"),
        ("http://h:x", "host or port"),
        ("http://[::1", "host or port"),
        ("http://h /v1", "host or port"),
        ("http://h\r\nx: y", "host or port"),
        ("http://h\u00e9", "host or port"),
        ("http://h\\v1", "host or port"),
        ("http://h\\@x", "user name"),
        ("http://u:s3cret@h", "user name"),
        ("http://@h", "user name"),
        ("http://h?x=1", "query"),
        ("http://h/v1?", "query"),
        ("http://h#f", "fragment"),
        ("http://h/v1/chat/completions", "one endpoint"),
        ("http://h/v1/models/", "one endpoint"),
    ],
)
def test_wrong_base_urls(text: str, reason: str) -> None:
    """Anything else is refused with a reason that repeats nothing of it."""
    with pytest.raises(ValueError, match=reason) as caught:
        read_base_url(text)
    assert "s3cret" not in str(caught.value)
