"""Figures and report for every eye: colours that grow evenly, contrast, letters that can be read in print."""

import ast
import itertools
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import tvae_core
from tvae_core.figures.fig3 import _readable_on
from tvae_core.plotting import charts as plots
from tvae_core.plotting.style import (
    CLASSES,
    INK,
    LEAST,
    MUTED,
    PAPER,
    WIDTH,
    blank,
    save,
    smallest_letters,
    write,
)

SOURCES = sorted(Path(tvae_core.__file__).parent.rglob("*.py"))
PAGE = (Path(tvae_core.__file__).parent / "reproduce" / "report.html.jinja").read_text()
READABLE, VISIBLE = 4.5, 3.0  # WCAG 2: contrast of text, and of shapes


def luminance(colour) -> float:
    """Relative luminance of WCAG 2."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a, b) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def grows_evenly(name: str) -> bool:
    """Whether CIELAB's lightness along a colour map is a straight line, so that equal steps look equal."""
    y = np.array([luminance(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, 64))])
    lightness = np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)
    return abs(np.corrcoef(lightness, np.arange(64))[0, 1]) > 0.995


def colour_maps(source: str) -> set[str]:
    """The names of colour maps that a module draws with; maps of its own are of classes, not of numbers."""
    given = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword)]
    return {k.value.value for k in given if k.arg == "cmap" and isinstance(k.value, ast.Constant)}


def test_numbers_are_drawn_in_colours_that_grow_evenly():
    used = set().union(*(colour_maps(path.read_text()) for path in SOURCES))
    assert used and all(map(grows_evenly, used)), used
    assert not any(map(grows_evenly, ("jet", "hsv", "rainbow", "hot")))  # the check can fail
    assert colour_maps("f(x, cmap='jet', c='b')") == {"jet"}


def test_contrast_knows_its_ends():
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast("#777", "#777") == 1
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)  # the usual example of just enough


def test_text_of_figures_stands_out():
    texts = set(re.findall(r'color="(#[0-9a-f]{6})"', "".join(path.read_text() for path in SOURCES)))
    assert all(contrast(colour, PAPER) >= READABLE for colour in (INK, MUTED, *texts))
    assert all(contrast(_readable_on(colour), colour) >= READABLE for colour in CLASSES)


def test_lines_are_told_apart_without_colour():
    colours, markers = zip(*plots.LOOKS, strict=True)
    assert len(set(markers)) == len(markers)
    assert len({round(luminance(colour), 3) for colour in colours}) == len(colours)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_the_report_stands_out(scheme):
    told = re.findall(r":root \{(.*?)\}", PAGE, re.DOTALL)[["light", "dark"].index(scheme)]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", told))
    texts = ("ink", "muted", "link", "made", "stale", "failed", "missing")
    for text, ground in itertools.product(texts, ("paper", "soft")):
        assert contrast(colours[text], colours[ground]) >= READABLE, (text, ground)


def test_the_report_is_never_smaller_than_small_print():
    assert min(float(size) for size in re.findall(r"font(?:-size)?:[^;]*?(\d*\.\d+)rem", PAGE)) >= 0.75


@pytest.mark.parametrize(("width", "points", "printed"), [(WIDTH, 7, 7), (5.0, 7, 7), (2 * WIDTH, 14, 7)])
def test_letters_at_the_width_of_a_page(width, points, printed):
    figure = blank(width, 1.0)
    write(figure, 0.1, 0.1, "read me", fontsize=points)
    write(figure, 0.1, 0.1, " ", fontsize=1)
    write(figure, 0.1, 0.1, "hidden", fontsize=1, visible=False)
    assert smallest_letters(figure) == pytest.approx(printed)


def test_what_nobody_could_read_is_not_saved(tmp_path):
    figure = blank(2 * WIDTH, 1.0)
    write(figure, 0.1, 0.1, "read me", fontsize=2 * LEAST)
    save(figure, tmp_path, "one", alt="A line", caption="Nothing")
    write(figure, 0.1, 0.5, "and me", fontsize=2 * LEAST - 1)
    with pytest.raises(ValueError, match=r"two: letters of 5\.5 points in print"):
        save(figure, tmp_path, "two", alt="A line", caption="Nothing")
    assert {path.stem for path in tmp_path.iterdir()} == {"one"}
