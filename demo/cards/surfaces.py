"""What a card lies on, and the phone screens that it may be shown on. Never a word that belongs to a card."""

from collections.abc import Callable, Mapping
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo import fonts, words
from demo.canvas import shade
from demo.cards.blanks import gradient, near
from demo.pictures import Size

CHAT_LINES = (
    "你好，在吗？",
    "麻烦看一下这个",
    "收到，谢谢",
    "什么时候可以发货？",
    "好的",
    "稍等，我查一下",
    "图片发您了",
)
Box = tuple[int, int, int, int]
Surface = Callable[[Random, Size], Image.Image]


def plain(rng: Random, size: Size) -> Image.Image:
    colour = shade(rng, 20, 250)
    return gradient(size, colour, near(rng, colour, rng.choice((0, 15, 60))), rng)


def speckled(rng: Random, size: Size) -> Image.Image:
    """Stone, cloth or carpet: noise of some coarseness."""
    coarse = rng.choice((1, 2, 4, 8))
    small = (max(1, size[0] // coarse), max(1, size[1] // coarse))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(4, 40), (small[1], small[0], 1))
    pixels = np.clip(np.array(shade(rng, 40, 220)) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def cluttered(rng: Random, size: Size) -> Image.Image:
    """A desk with things on it, some of them in the shape of a card, none with text."""
    image = plain(rng, size)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 9)):
        x, y = rng.randint(-40, size[0]), rng.randint(-40, size[1])
        box = (x, y, x + rng.randint(15, size[0] // 2), y + rng.randint(10, size[1] // 3))
        if rng.random() < 0.6:
            draw.rounded_rectangle(box, rng.choice((0, 6, 12)), fill=shade(rng, 10, 250))
        else:
            draw.ellipse(box, fill=shade(rng, 10, 250))
    return image.filter(ImageFilter.GaussianBlur(rng.choice((0, 1, 3))))


def checked(rng: Random, size: Size) -> Image.Image:
    """Tiles or a table cloth."""
    colour, pitch = shade(rng, 60, 245), rng.randint(18, 90)
    image = Image.new("RGB", size, colour)
    draw, line = ImageDraw.Draw(image), near(rng, colour, 60)
    for x in range(rng.randint(0, pitch), size[0], pitch):
        draw.line((x, 0, x, size[1]), fill=line, width=rng.randint(1, 4))
    for y in range(rng.randint(0, pitch), size[1], pitch):
        draw.line((0, y, size[0], y), fill=line, width=rng.randint(1, 4))
    return image


def wood(rng: Random, size: Size) -> Image.Image:
    """Boards with a grain."""
    base = near(rng, (150, 105, 65), 35)
    image = Image.new("RGB", size, base)
    draw, y = ImageDraw.Draw(image), 0.0
    while y < size[1]:
        draw.line((0, y, size[0], y + rng.uniform(-6, 6)), fill=near(rng, base, 22), width=rng.randint(1, 4))
        y += rng.uniform(1, 5)
    for edge in range(0, size[1], rng.randint(70, 140)):
        draw.line((0, edge, size[0], edge), fill=(60, 40, 25), width=2)
    return image


def keyboard(rng: Random, size: Size) -> Image.Image:
    """Keys in rows."""
    dark = rng.random() < 0.6
    image = Image.new("RGB", size, shade(rng, 15, 40) if dark else shade(rng, 190, 220))
    draw, key, pitch = ImageDraw.Draw(image), shade(rng, 40, 70) if dark else shade(rng, 235, 255), rng.randint(26, 44)
    for row, y in enumerate(range(4, size[1], pitch)):
        for x in range((row % 3) * pitch // 3 - pitch, size[0], pitch):
            draw.rounded_rectangle((x, y, x + pitch - 5, y + pitch - 5), 4, fill=key)
    return image


SEEN: Mapping[str, Surface] = {"plain": plain, "speckled": speckled, "cluttered": cluttered, "checked": checked}
UNSEEN: Mapping[str, Surface] = {"wood": wood, "keyboard": keyboard}
"""Kinds that no training picture has."""


def chat(rng: Random, size: Size, shown: Image.Image | None, face: str) -> tuple[Image.Image, Box]:
    """A chat window: bubbles of text to both sides and, where given, a picture that was sent, and its box."""
    dark = rng.random() < 0.25
    image = Image.new("RGB", size, shade(rng, 15, 35) if dark else shade(rng, 228, 248))
    draw, ink = ImageDraw.Draw(image), (230, 230, 230) if dark else (20, 20, 20)
    bubbles = (
        shade(rng, 45, 65) if dark else (255, 255, 255),
        near(rng, (60, 140, 90) if dark else (150, 235, 110), 20),
    )
    box = (0, 0, 0, 0)
    font, y, at = fonts.load(face, size[0] // 20), float(bar(image, rng, face)), rng.randint(0, 2)
    for turn in range(12):
        if y > size[1] - 20:
            break
        mine = rng.random() < 0.5
        if turn == at and shown is not None:
            wide = int(size[0] * rng.uniform(0.5, 0.78))
            tall, x = max(1, shown.height * wide // shown.width), size[0] - wide - 40 if mine else 40
            image.paste(
                shown.resize((wide, tall), Image.Resampling.BICUBIC), box := (x, int(y), x + wide, int(y) + tall)
            )
            y += tall + 16
            continue
        text = rng.choice((*CHAT_LINES, words.address(rng)))
        wide, tall = int(font.getlength(text)) + 20, int(font.size * 2)
        x = size[0] - wide - 40 if mine else 40
        draw.ellipse((size[0] - 34 if mine else 6, y, size[0] - 6 if mine else 34, y + 28), fill=shade(rng, 40, 240))
        draw.rounded_rectangle((x, y, x + wide, y + tall), 6, fill=bubbles[mine])
        draw.text((x + 10, y + tall / 2), text, font=font, fill=ink, anchor="lm")
        y += tall + rng.randint(10, 26)
    return image, box


def viewer(rng: Random, size: Size, shown: Image.Image, face: str) -> tuple[Image.Image, Box]:
    """A phone's picture viewer: the picture across the middle of a black or white screen, and its box."""
    image = Image.new("RGB", size, rng.choice(((0, 0, 0), (255, 255, 255), (30, 30, 32))))
    wide = int(size[0] * rng.uniform(0.85, 1))
    tall = min(size[1], shown.height * wide // shown.width)
    left, top = (size[0] - wide) // 2, (size[1] - tall) // 2
    image.paste(shown.resize((wide, tall), Image.Resampling.BICUBIC), box := (left, top, left + wide, top + tall))
    bar(image, rng, face)
    return image, box


def home(rng: Random, size: Size, face: str) -> Image.Image:
    """A phone's own screens: a grid of icons, a list of rows, or a wallet's coloured panels."""
    image = plain(rng, size)
    draw, y = ImageDraw.Draw(image), bar(image, rng, face) + 10
    kind, side = rng.choice(("icons", "rows", "panels")), size[0] // 6
    tall = {"icons": side * 3 // 2, "rows": side, "panels": side * 2}[kind]
    while y < size[1]:
        if kind == "icons":
            for column in range(4):
                x = side // 3 + column * side * 3 // 2
                draw.rounded_rectangle((x, y, x + side, y + side), side // 4, fill=shade(rng, 20, 250))
        else:
            fill = shade(rng, 20, 230) if kind == "panels" else shade(rng, 235, 255)
            draw.rounded_rectangle((12, y, size[0] - 12, y + tall - 8), 10, fill=fill)
            ink = (250, 250, 250) if kind == "panels" else (30, 30, 30)
            draw.text((26, y + 22), rng.choice(words.GOODS), font=fonts.load(face, 18), fill=ink, anchor="lm")
            draw.text((26, y + 46), words.money(rng), font=fonts.load(face, 14), fill=ink, anchor="lm")
        y += tall
    return image


def bar(image: Image.Image, rng: Random, face: str) -> int:
    """The phone's bar at the top; returns the y where it ends."""
    draw, tall = ImageDraw.Draw(image), image.width // 12
    draw.rectangle((0, 0, image.width, tall), fill=shade(rng, 225, 250))
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    draw.text((10, tall / 2), clock, font=fonts.load(face, max(10, tall // 2)), fill=(20, 20, 20), anchor="lm")
    return tall + 8
