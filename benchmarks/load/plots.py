"""Line charts and stacked bars as self-contained SVG, in the colours of the service's page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 44
COLOURS = ("#1661ab", "#2f9a74", "#c08328", "#9a86b8", "#a8261d", "#5b6875", "#18222c")
TICKS = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """From data to the drawing's pixels; both axes begin at 0."""

    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        return LEFT + value / self.most_x * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(value, self.most_y) / self.most_y * (HEIGHT - TOP - BOTTOM)


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = math.pow(10, math.floor(math.log10(value)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Points], dashed: str = "") -> str:
    """A chart with a line for each series, the one called ``dashed`` dashed; what is not a number is left out."""
    known = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()}
    every = [point for points in known.values() for point in points] or [(1.0, 1.0)]
    axes = Axes(round_up(max(x for x, _ in every)), round_up(max(y for _, y in every)))
    drawn = [_line(axes, points, COLOURS[place % len(COLOURS)], name == dashed)
             for place, (name, points) in enumerate(known.items())]  # fmt: skip
    return _svg(title, [*_frame(axes, x_label, y_label), *drawn, *_legend(list(known))])


def stacked(title: str, x_label: str, bars: Mapping[str, Mapping[str, float]]) -> str:
    """A bar of shares that add up to one for each key, in one colour for each kind."""
    kinds = list(dict.fromkeys(kind for shares in bars.values() for kind in shares))
    axes, drawn = Axes(max(1, len(bars)), 1.0), []
    for place, (name, shares) in enumerate(bars.items()):
        low, left = 0.0, axes.x(place + 0.2)
        width = axes.x(place + 0.8) - left
        for kind, share in shares.items():
            top, colour = axes.y(low + share), COLOURS[kinds.index(kind) % len(COLOURS)]
            height = axes.y(low) - top
            drawn.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
            low += share
        drawn.append(_text(left + width / 2, HEIGHT - BOTTOM + 16, name, "middle"))
    return _svg(title, [*_frame(axes, x_label, "share", x_ticks=False), *drawn, *_legend(kinds)])


def _line(axes: Axes, points: Points, colour: str, dashed: bool) -> str:
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
    style = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>'


def _frame(axes: Axes, x_label: str, y_label: str, x_ticks: bool = True) -> list[str]:
    drawn = []
    for step in range(TICKS + 1):
        share = step / TICKS
        y = axes.y(axes.most_y * share)
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde3e8"/>')
        drawn.append(_text(LEFT - 6, y + 4, f"{axes.most_y * share:g}", "end"))
        if x_ticks:
            drawn.append(_text(axes.x(axes.most_x * share), HEIGHT - BOTTOM + 16, f"{axes.most_x * share:g}", "middle"))
    drawn.append(_text((LEFT + WIDTH) / 2, HEIGHT - 8, x_label, "middle"))
    drawn.append(_text(LEFT - 44, TOP - 20, y_label, "start"))
    return drawn


def _legend(names: Sequence[str]) -> list[str]:
    drawn, left = [], WIDTH - RIGHT - 4.0
    for place, name in reversed(list(enumerate(names))):
        drawn.append(_text(left, TOP - 20, name, "end", COLOURS[place % len(COLOURS)]))
        left -= 12 + 7 * len(name)
    return drawn


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#56636f") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, drawn: Sequence[str]) -> str:
    inside = "\n".join(drawn)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-size="12" font-family="system-ui, sans-serif">\n{inside}\n</svg></figure>'
    )
