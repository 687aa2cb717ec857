"""Look-alikes of resident identity cards. Every number begins with an area code that does not exist (00)."""

from random import Random

from PIL import Image, ImageDraw, ImageOps

from demo import fonts, words
from demo.canvas import Colour, shade
from demo.cards.blanks import IDENTITY_MARK, SIZE, Face, gradient, near, portrait, rounded, waves

BLUE: Colour = (60, 130, 185)
INK: Colour = (25, 25, 30)
PEOPLES = ("汉", "回", "满", "苗", "壮")


def number(rng: Random) -> str:
    """Eighteen places: area, day of birth, order; the last place may be an X."""
    born = f"{rng.randint(1950, 2010)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    return "00" + words.digits(rng, 4) + born + words.digits(rng, 3) + rng.choice("0123456789X")


def front(rng: Random, face: str) -> Face:
    """Name, sex, people, birth and address in blue labels, the number below, the portrait to the right."""
    image = _ground(rng, near(rng, (222, 236, 242)), near(rng, (236, 232, 226)))
    draw = ImageDraw.Draw(image)
    small, large = fonts.load(face, 13), fonts.load(face, 17)
    label, left = near(rng, BLUE, 25), rng.randint(24, 34)
    rows = [
        (40, (("姓名", words.person(rng)),)),
        (76, (("性别", rng.choice("男女")), ("民族", rng.choice(PEOPLES)))),
        (
            110,
            (("出生", str(rng.randint(1950, 2010))), ("年", str(rng.randint(1, 12))), ("月", str(rng.randint(1, 28)))),
        ),
        (146, (("住址", words.address(rng)[:11]),)),
    ]
    for y, pairs in rows:
        x = float(left)
        for name, value in pairs:
            draw.text((x, y), name, font=small, fill=label, anchor="lm")
            draw.text((x + 14 * len(name) + 8, y), value, font=large, fill=INK, anchor="lm")
            x += 14 * len(name) + 16 + large.getlength(value)
    if rng.random() < 0.7:
        draw.text((left + 36, 168), words.address(rng)[3:12], font=large, fill=INK, anchor="lm")
    draw.text((left, 235), "公民身份号码", font=small, fill=label, anchor="lm")
    draw.text((left + 100, 235), number(rng), font=fonts.load(face, rng.randint(20, 22)), fill=INK, anchor="lm")
    image.paste(portrait(rng, (116, 148), near(rng, (226, 234, 240))), (SIZE[0] - 140, rng.randint(34, 44)))
    return rounded(image, IDENTITY_MARK)


def back(rng: Random, face: str) -> Face:
    """A red emblem, the two titles, the office and the term."""
    image = _ground(rng, near(rng, (232, 226, 224)), near(rng, (216, 232, 236)))
    draw = ImageDraw.Draw(image)
    red, gold = near(rng, (200, 40, 40), 20), near(rng, (225, 175, 60), 20)
    x, y, r = rng.randint(52, 64), rng.randint(60, 72), rng.randint(34, 40)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=red, outline=gold, width=4)
    draw.regular_polygon((x, y - 8, 10), 5, fill=gold)
    draw.arc((x - r + 8, y - r + 8, x + r - 8, y + r - 8), 20, 160, fill=gold, width=5)
    title = fonts.load(face, 25)
    draw.text((265, 58), "中华人民共和国", font=title, fill=INK, anchor="mm", stroke_width=1)
    draw.text((265, 104), "居民身份证", font=fonts.load(face, 33), fill=INK, anchor="mm", stroke_width=1)
    _wall(draw, rng)
    small, value = fonts.load(face, 14), fonts.load(face, 16)
    year = rng.randint(2005, 2024)
    lines = (("签发机关", f"{rng.choice(words.CITIES)}市公安局"), ("有效期限", f"{year}.01.01-{year + 20}.01.01"))
    for row, (name, text) in enumerate(lines):
        draw.text((92, 205 + row * 34), name, font=small, fill=INK, anchor="lm")
        draw.text((166, 205 + row * 34), text, font=value, fill=INK, anchor="lm")
    return rounded(image, IDENTITY_MARK)


def pair(rng: Random, face: str) -> Face:
    """Both sides on one white page, as for a form that asks for a copy."""
    size = (SIZE[0] + rng.randint(40, 260), SIZE[1] * 2 + rng.randint(70, 300))
    page = Face.of(Image.new("RGB", size, shade(rng, 240, 255)))
    sides = [front(rng, face), back(rng, face)]
    rng.shuffle(sides)
    left, gap = (size[0] - SIZE[0]) // 2, (size[1] - 2 * SIZE[1]) // 3
    for place, side in enumerate(sides):
        page.paste(side, (left, gap + place * (SIZE[1] + gap)))
    return page


def photocopy(rng: Random, face: str) -> Face:
    """A pair without its colours."""
    page = pair(rng, face)
    return Face(ImageOps.grayscale(page.image.convert("RGB")).convert("RGBA"), page.marks)


def _ground(rng: Random, one: Colour, other: Colour) -> Image.Image:
    image = gradient(SIZE, one, other, rng)
    waves(ImageDraw.Draw(image), rng, SIZE, near(rng, (205, 220, 228), 8))
    return image


def _wall(draw: ImageDraw.ImageDraw, rng: Random) -> None:
    """Pale mountains with a wall on them."""
    x, y, points = 0.0, 170.0, []
    while x < SIZE[0]:
        points.append((x, y))
        x, y = x + rng.uniform(14, 34), min(190, max(140, y + rng.uniform(-22, 22)))
    draw.line([*points, (SIZE[0], y)], fill=near(rng, (196, 204, 206), 8), width=rng.randint(3, 8))
