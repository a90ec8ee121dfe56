"""The colours of the console, as numbers: contrast by WCAG 2.2, and how far apart the series of a chart are."""

import re
from importlib import resources
from itertools import combinations

import pytest

TOKENS = (resources.files("gateway.control.console") / "static" / "tokens.css").read_text()
SCHEMES = ("light", "dark")
GROUNDS = ("surface", "ground", "raised", "inset", "hover")
TEXTS = ("ink", "ink-2", "ink-3", "accent-ink")
LEAST_DISTANCE = 20
"""CIE76; about ten times what can just be noticed."""
SERIES = [f"series-{n}" for n in range(1, 9)]

# What people without one kind of cone see, in linear light (Machado, Oliveira and Fernandes, 2009, severity 1).
DEFICIENCIES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
Linear = tuple[float, float, float]


def colours(scheme: str) -> dict[str, Linear]:
    """The named colours of a scheme in linear light; the dark one overrides the light one."""
    light, dark = TOKENS.split("@media (prefers-color-scheme: dark)")
    found = re.findall(r"--([\w-]+): #([0-9a-f]{3}|[0-9a-f]{6});", light + (dark if scheme == "dark" else ""))
    return {name: linear(value) for name, value in found}


def linear(value: str) -> Linear:
    digits = value if len(value) == 6 else "".join(digit * 2 for digit in value)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def contrast(one: Linear, other: Linear) -> float:
    low, high = sorted(0.2126 * each[0] + 0.7152 * each[1] + 0.0722 * each[2] for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(colour: Linear) -> Linear:
    """The colour in CIE L*a*b* under D65."""
    red, green, blue = (min(max(part, 0), 1) for part in colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def seen(colour: Linear, deficiency: str) -> Linear:
    red, green, blue = (sum(weight * part for weight, part in zip(row, colour, strict=True)) for row in DEFICIENCIES[deficiency])
    return red, green, blue


def too_pale(scheme: str, pairs: list[tuple[str, str]], least: float) -> list[str]:
    named = colours(scheme)
    found = [(text, ground, contrast(named[text], named[ground])) for text, ground in pairs]
    return [f"{text} on {ground}: {ratio:.2f}" for text, ground, ratio in found if ratio < least]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_a_contrast_of_4_5(scheme: str) -> None:
    """Every colour of text can be read on every ground that it stands on."""
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [(kind, f"{kind}-soft") for kind in ("ok", "warn", "danger", "info")]
    pairs += [("ink", f"{kind}-soft") for kind in ("ok", "warn", "danger", "info", "muted", "accent")]
    pairs += [
        ("ink-2", "muted-soft"),
        ("accent-ink", "accent-soft"),
        ("danger", "surface"),
        ("danger", "raised"),
        ("surface", "ink"),
    ]
    pairs += [("on-accent", fill) for fill in ("accent-fill", "accent-fill-hover", "danger-fill", "danger-fill-hover")]
    assert too_pale(scheme, pairs, 4.5) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_controls_and_series_have_a_contrast_of_3(scheme: str) -> None:
    """The outlines of fields, the focus ring, meters and the series of charts stand out from their grounds."""
    pairs = [(part, ground) for part in ("control-line", "accent") for ground in ("surface", "ground", "raised")]
    pairs += [(series, "surface") for series in SERIES] + [("danger-fill", "surface")]
    assert too_pale(scheme, pairs, 3) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
def test_series_are_told_apart(scheme: str, deficiency: str | None) -> None:
    """No two of the eight series look alike, whatever cones somebody has."""
    named = colours(scheme)
    shown = {name: lab(seen(named[name], deficiency) if deficiency else named[name]) for name in SERIES}
    distances = {
        f"{one} and {other}": sum((a - b) ** 2 for a, b in zip(shown[one], shown[other], strict=True)) ** 0.5
        for one, other in combinations(SERIES, 2)
    }
    assert {pair: round(distance, 1) for pair, distance in distances.items() if distance < LEAST_DISTANCE} == {}
