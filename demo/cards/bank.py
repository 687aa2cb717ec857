"""Look-alikes of bank cards of banks that do not exist. Every number begins with 00, which no issuer has."""

from random import Random

from PIL import Image, ImageDraw

from demo import fonts, words
from demo.canvas import Colour, Font, shade
from demo.cards.blanks import BANK_MARK, SIZE, Face, gradient, near, rounded, waves

METALS: tuple[Colour, ...] = ((214, 180, 96), (200, 200, 205), (226, 205, 150))
INKS: tuple[Colour, ...] = ((245, 245, 245), (222, 222, 228), (236, 214, 150))
NAMES = ("WANG WEI", "LI NA", "ZHANG MIN", "CHEN JIE", "YANG FAN", "ZHAO LEI")


def number(rng: Random) -> str:
    """Sixteen digits in fours, half of the time nineteen."""
    digits = "00" + words.digits(rng, 14)
    groups = [digits[i : i + 4] for i in range(0, 16, 4)]
    return " ".join([*groups, words.digits(rng, 3)] if rng.random() < 0.5 else groups)


def front(rng: Random, face: str) -> Face:
    """Chip, number, expiry, name, the bank's mark at the top and the network's at the right."""
    image, ink = _ground(rng, SIZE)
    draw = ImageDraw.Draw(image)
    _bank(draw, rng, face, (26, 38), ink)
    _chip(draw, rng, rng.randint(28, 60), rng.randint(84, 104))
    if rng.random() < 0.5:
        _contactless(draw, rng.choice((120, 372)), 108, ink)
    size, y = rng.randint(25, 29), rng.randint(158, 178)
    _embossed(draw, (28, y), fonts.fitting(face, size, text := number(rng), 372), text, ink)
    small = fonts.load(face, 14)
    if rng.random() < 0.8:
        thru = f"VALID THRU {rng.randint(1, 12):02}/{rng.randint(25, 34)}"
        draw.text((rng.randint(40, 150), y + 32), thru, font=small, fill=ink, anchor="lm")
    if rng.random() < 0.6:
        draw.text((30, 240), rng.choice(NAMES), font=fonts.load(face, 17), fill=ink, anchor="lm")
    _network(draw, rng, (SIZE[0] - 92, rng.choice((206, 206, 24))))
    return rounded(image, BANK_MARK)


def flat(rng: Random, face: str) -> Face:
    """The plain modern kind: a chip, a mark, and a small number in a corner."""
    image, ink = _ground(rng, SIZE)
    draw = ImageDraw.Draw(image)
    _bank(draw, rng, face, (30, 40), ink)
    _chip(draw, rng, 36, 104)
    _contactless(draw, 112, 126, ink)
    draw.text((30, 226), number(rng), font=fonts.load(face, rng.randint(17, 21)), fill=ink, anchor="lm")
    _network(draw, rng, (SIZE[0] - 96, 200))
    return rounded(image, BANK_MARK)


def back(rng: Random, face: str) -> Face:
    """The magnetic stripe, the strip to sign on with its three digits, the number and small print."""
    image, ink = _ground(rng, SIZE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 26, SIZE[0], 26 + rng.randint(42, 52)), fill=shade(rng, 5, 40))
    draw.rectangle((24, 102, 270, 136), fill=shade(rng, 225, 250))
    draw.text((284, 119), words.digits(rng, 3), font=fonts.load(face, 18), fill=ink, anchor="lm")
    draw.text((26, 164), number(rng), font=fonts.load(face, rng.randint(18, 24)), fill=ink, anchor="lm")
    tiny = fonts.load(face, 10)
    for row in range(3):
        draw.text((26, 196 + row * 18), "本卡仅限持卡人本人使用 请妥善保管", font=tiny, fill=ink, anchor="lm")
    _network(draw, rng, (SIZE[0] - 96, 206))
    return rounded(image, BANK_MARK)


def upright(rng: Random, face: str) -> Face:
    """The modern kind that stands on its short side."""
    width, height = size = SIZE[::-1]
    image, ink = _ground(rng, size)
    draw = ImageDraw.Draw(image)
    _bank(draw, rng, face, (26, 42), ink)
    _chip(draw, rng, width // 2 - 28, 96)
    text = number(rng).split(" ")
    for row, group in enumerate(text):
        _embossed(draw, (30, 210 + row * 34), fonts.load(face, 25), group, ink)
    _network(draw, rng, (width - 96, height - 66))
    return rounded(image, BANK_MARK)


def _ground(rng: Random, size: tuple[int, int]) -> tuple[Image.Image, Colour]:
    """A ground of any colour, and an ink that stands out from it."""
    dark = rng.random() < 0.8
    base = shade(rng, 5, 190) if dark else shade(rng, 190, 245)
    image = gradient(size, base, near(rng, base, rng.choice((10, 40, 90))), rng)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.choice((0, 0, 1, 2))):
        x, y, r = rng.randint(0, size[0]), rng.randint(0, size[1]), rng.randint(60, 260)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=near(rng, base, 45))
    if rng.random() < 0.3:
        waves(draw, rng, size, near(rng, base, 25))
    return image, rng.choice(INKS) if sum(base) < 450 else shade(rng, 10, 60)


def _bank(draw: ImageDraw.ImageDraw, rng: Random, face: str, at: tuple[int, int], ink: Colour) -> None:
    x, y = at
    mark = rng.choice((shade(rng, 150, 250), (205, 40, 40), ink))
    rng.choice((draw.ellipse, draw.rectangle))((x, y - 13, x + 26, y + 13), fill=mark)
    name = f"{rng.choice(words.BRANDS)}银行"
    draw.text((x + 34, y), name, font=fonts.load(face, 22), fill=ink, anchor="lm")


def _chip(draw: ImageDraw.ImageDraw, rng: Random, x: int, y: int) -> None:
    metal = near(rng, rng.choice(METALS))
    dark: Colour = (metal[0] * 3 // 5, metal[1] * 3 // 5, metal[2] * 3 // 5)
    draw.rounded_rectangle((x, y, x + 56, y + 42), 7, fill=metal, outline=dark)
    for step in (14, 28):
        draw.line((x, y + step, x + 56, y + step), fill=dark)
    draw.rounded_rectangle((x + 18, y + 8, x + 38, y + 34), 5, fill=metal, outline=dark)


def _contactless(draw: ImageDraw.ImageDraw, x: int, y: int, ink: Colour) -> None:
    for r in (8, 14, 20):
        draw.arc((x - r, y - r, x + r, y + r), -50, 50, fill=ink, width=3)


def _embossed(draw: ImageDraw.ImageDraw, at: tuple[int, int], font: Font, text: str, ink: Colour) -> None:
    shadow = (20, 20, 20) if sum(ink) > 380 else (230, 230, 230)
    draw.text((at[0] + 1, at[1] + 1), text, font=font, fill=shadow, anchor="lm")
    draw.text(at, text, font=font, fill=ink, anchor="lm")


def _network(draw: ImageDraw.ImageDraw, rng: Random, at: tuple[int, int]) -> None:
    """Three slanted fields, two discs, or a slanted band."""
    x, y = at
    kind = rng.choice(("fields", "fields", "discs", "band"))
    if kind == "fields":
        for place, colour in enumerate(((205, 35, 45), (20, 70, 125), (0, 115, 120))):
            left = x + place * 19
            draw.polygon(((left + 8, y), (left + 32, y), (left + 24, y + 42), (left, y + 42)), fill=near(rng, colour))
    elif kind == "discs":
        for left, colour in ((x, (225, 30, 40)), (x + 26, (240, 160, 40))):
            draw.ellipse((left, y, left + 42, y + 42), fill=near(rng, colour))
    else:
        draw.rectangle((x, y + 4, x + 68, y + 38), fill=(245, 245, 248))
        draw.text((x + 6, y + 21), "PAY", font=fonts.load("noto-sans-bold", 24), fill=(25, 45, 130), anchor="lm")
