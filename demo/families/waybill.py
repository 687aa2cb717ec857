"""Waybills: a courier's label as a phone sees it, often blurred, tilted, glaring, faded or compressed."""

from collections.abc import Sequence
from random import Random

from demo import damage, fields, fonts, words
from demo.canvas import Canvas, Theme, noisy, shade
from demo.families.family import Family, difficulty
from demo.fields import Field
from demo.pictures import Picture, Question, Size

COURIER = Field("courier", ("快递公司", "快递"), "courier", words.courier)
NUMBER = Field("waybill_number", ("运单号", "快递单号"), "waybill number", words.waybill_number)
PARTIES = (
    Field("sender", ("寄件人", "发件人"), "sender", words.person),
    Field("recipient", ("收件人", "收货人"), "recipient", words.person),
    Field("phone", ("电话", "手机号"), "phone", words.phone),
    Field("address", ("地址", "收货地址"), "address", words.address),
)
FIELDS = (COURIER, NUMBER, *PARTIES)


def draw(rng: Random, size: Size, faces: Sequence[str] = fonts.TRAINED, fewest: bool = False) -> Picture:
    """A label with its courier, a barcode, the number and two to four of the parties' lines, lying on a desk."""
    width, height = size
    desk = shade(rng, 40, 220)
    paper = Theme(shade(rng, 235, 255), shade(rng, 0, 50), shade(rng, 60, 110), shade(rng, 170, 225))
    canvas, face = Canvas(width, height, paper), rng.choice(faces)
    kinds = () if fewest else damage.chosen(rng)
    # A tilted label keeps its corners on the picture: the desk shows around it.
    aside, above = (20, 22) if "tilt" in kinds else (rng.uniform(0, 12), rng.uniform(0, 6))
    canvas.draw.rectangle((0, 0, width, height), fill=desk)
    canvas.draw.rectangle((aside, above, width - aside, height - above), fill=paper.ground, outline=paper.ink)
    values: dict[str, str] = {}
    lines = _label(canvas, rng, face, (aside + 8, above + 2, width - aside - 8, height - above - 2), fewest, values)
    pixels, glyphs = canvas.pixels(), tuple(canvas.glyphs)
    for kind in kinds:
        pixels, glyphs = damage.KINDS[kind](pixels, glyphs, rng, desk)
    name = "none" if not kinds else kinds[0] if len(kinds) == 1 else "two kinds"
    pixels = noisy(pixels, rng, most_sigma=5)
    return Picture(FAMILY.name, pixels, glyphs, tuple(lines), values, difficulty(len(kinds)), name)


def _label(
    canvas: Canvas, rng: Random, face: str, box: tuple[float, float, float, float], fewest: bool, values: dict[str, str]
) -> list[str]:
    left, top, right, bottom = box
    ink, size = canvas.theme.ink, rng.randint(17, 21)
    shown = [NUMBER] if fewest else _shown(rng, int((bottom - top - 36) // 29))
    barcode = rng.uniform(14, 30) if bottom - top > 29 * (len(shown) + 1) + 34 else 0
    pitch = rng.uniform(29, max(29, min(42, (bottom - top - barcode - 4) / (len(shown) + 1))))
    middle, lines = top + pitch / 2 + 2, []
    if not fewest:
        values[COURIER.key] = COURIER.value(rng)
        lines.append(values[COURIER.key])
        if rng.random() < 0.5:
            canvas.draw.rectangle((left - 7, top - 1, right + 7, middle + pitch / 2 - 2), fill=canvas.theme.accent)
        font = fonts.load(face, rng.randint(19, 23))
        start = left if rng.random() < 0.5 else (left + right - font.getlength(lines[0])) / 2
        canvas.text(start, middle, lines[0], font, ink)
        middle += pitch
    if barcode:
        _barcode(canvas, rng, left, middle - pitch / 2 + 3, min(right - 6, left + rng.uniform(150, 260)), barcode - 5)
        middle += barcode
    for item in shown:
        values[item.key] = item.value(rng)
        lines.append(f"{rng.choice(item.labels)}：{values[item.key]}")
        canvas.text(left, middle, lines[-1], fonts.fitting(face, size, lines[-1], right - left), ink)
        if rng.random() < 0.3:
            canvas.draw.line((left, middle + pitch / 2, right, middle + pitch / 2), fill=canvas.theme.pale)
        middle += pitch
    return lines


def _shown(rng: Random, room: int) -> list[Field]:
    """The number first (or, one time in four, last), then some of the parties' lines in their usual order."""
    keep = set(rng.sample(range(len(PARTIES)), min(rng.randint(2, len(PARTIES)), max(1, room - 1))))
    parties = [item for place, item in enumerate(PARTIES) if place in keep]
    return [*parties, NUMBER] if rng.random() < 0.25 else [NUMBER, *parties]


def _barcode(canvas: Canvas, rng: Random, left: float, top: float, right: float, height: float) -> None:
    x = round(left)
    while x < right:
        bar = rng.choice((1, 1, 2, 3))
        canvas.draw.rectangle((x, top, x + bar - 1, top + height), fill=canvas.theme.ink)
        x += bar + rng.choice((1, 2, 3))


def ask(picture: Picture, rng: Random, absent_share: float) -> Question:
    return fields.question(FIELDS, picture, rng, absent_share)


def showcase(picture: Picture) -> list[Question]:
    shown = [item for item in (NUMBER, *PARTIES, COURIER) if item.key in picture.values][:5]
    return [fields.plainly(item, picture) for item in shown]


TEXTS = tuple(label for item in FIELDS for label in item.labels)
FAMILY = Family("waybill", "快递面单", draw, ask, showcase, TEXTS)
