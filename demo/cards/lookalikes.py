"""What may be taken for an identity or a bank card and is none: other cards, tickets, badges and forms."""

from random import Random

from PIL import Image, ImageDraw

from demo import fonts, words
from demo.canvas import shade
from demo.cards.blanks import SIZE, Face, gradient, near, portrait, rounded, waves

JOBS = ("经理", "工程师", "销售", "设计师", "主任")
CLUBS = ("会员卡", "储值卡", "VIP", "礼品卡", "图书证", "交通卡")
FORM_ROWS = ("姓名", "性别", "年龄", "电话", "地址", "学历", "职务", "备注")


def business_card(rng: Random, face: str) -> Face:
    """A name, a job, a company and how to reach them, on paper of any colour."""
    dark = rng.random() < 0.2
    base = shade(rng, 10, 70) if dark else shade(rng, 225, 255)
    ink = shade(rng, 200, 255) if dark else shade(rng, 10, 80)
    image = gradient(SIZE, base, near(rng, base, 12), rng)
    draw = ImageDraw.Draw(image)
    left, accent = rng.choice((28, 28, 180)), shade(rng, 30, 220)
    if rng.random() < 0.6:
        rng.choice((draw.rectangle, draw.ellipse))((340, 28, 390, 78), fill=accent)
    if rng.random() < 0.4:
        draw.rectangle(rng.choice(((0, 0, SIZE[0], 14), (0, 0, 12, SIZE[1]), (0, 250, SIZE[0], SIZE[1]))), fill=accent)
    draw.text((left, 62), words.person(rng), font=fonts.load(face, 32), fill=ink, anchor="lm")
    draw.text((left + 120, 66), rng.choice(JOBS), font=fonts.load(face, 16), fill=ink, anchor="lm")
    lines = (words.company(rng), f"电话：{words.phone(rng)}", f"地址：{words.address(rng)}", "www.example.com")
    for row, text in enumerate(lines):
        draw.text((left, 126 + row * 30), text, font=fonts.load(face, 15), fill=ink, anchor="lm")
    return rounded(image, radius=rng.choice((1, 10)))


def membership_card(rng: Random, face: str) -> Face:
    """A shop's coloured card: its name, a short number or a barcode; neither chip nor stripe nor payment mark."""
    base = shade(rng, 5, 245)
    image = gradient(SIZE, base, near(rng, base, rng.choice((10, 60, 110))), rng)
    draw = ImageDraw.Draw(image)
    ink = shade(rng, 225, 255) if sum(base) < 400 else shade(rng, 10, 70)
    if rng.random() < 0.5:
        x, y, r = rng.randint(0, SIZE[0]), rng.randint(0, SIZE[1]), rng.randint(40, 200)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=near(rng, base, 50))
    if rng.random() < 0.3:
        waves(draw, rng, SIZE, near(rng, base, 30))
    at = rng.choice(((214, 120), (214, 90), (130, 60)))
    draw.text(at, rng.choice(words.BRANDS) + rng.choice(words.TRADES), font=fonts.load(face, 30), fill=ink, anchor="mm")
    draw.text((at[0], at[1] + 44), rng.choice(CLUBS), font=fonts.load(face, 24), fill=ink, anchor="mm")
    if rng.random() < 0.35:
        draw.rectangle((0, 190, SIZE[0], 240), fill=(250, 250, 250))
        _barcode(draw, rng, (90, 196, 340, 230))
    else:
        text = f"NO.{words.digits(rng, rng.randint(6, 10))}"
        draw.text((rng.choice((28, 250)), 238), text, font=fonts.load(face, 17), fill=ink, anchor="lm")
    return rounded(image)


def ticket(rng: Random, face: str) -> Face:
    """A train or cinema ticket: pale, two places, a time, a price, a square code."""
    pale = near(rng, rng.choice(((214, 232, 244), (248, 222, 226), (250, 246, 230))), 8)
    image = gradient(SIZE, pale, near(rng, pale, 14), rng)
    draw, ink = ImageDraw.Draw(image), shade(rng, 10, 60)
    there, back = rng.sample(words.CITIES, 2)
    draw.text((90, 62), there, font=fonts.load(face, 30), fill=ink, anchor="mm")
    draw.text((338, 62), back, font=fonts.load(face, 30), fill=ink, anchor="mm")
    draw.line((160, 64, 262, 64), fill=ink, width=2)
    draw.text((214, 46), f"G{rng.randint(1, 9999)}", font=fonts.load(face, 20), fill=ink, anchor="mm")
    for row, text in enumerate((words.date(rng), f"{words.money(rng)}元 二等座", words.person(rng))):
        draw.text((30, 112 + row * 34), text, font=fonts.load(face, 18), fill=ink, anchor="lm")
    _square_code(draw, rng, (318, 150), 84)
    if rng.random() < 0.5:
        draw.rectangle((0, 248, SIZE[0], SIZE[1]), fill=near(rng, (120, 180, 215), 20))
    return rounded(image, radius=rng.choice((1, 8)))


def badge(rng: Random, face: str) -> Face:
    """A staff or visitor's pass that hangs from a ribbon: a coloured head, a portrait, a name; upright or lying."""
    upright = rng.random() < 0.75
    size = SIZE[::-1] if upright else SIZE
    width = size[0]
    image = Image.new("RGB", size, shade(rng, 235, 255))
    draw, accent = ImageDraw.Draw(image), shade(rng, 20, 200)
    draw.rectangle((0, 0, width, 72), fill=accent)
    draw.text((width / 2, 40), words.company(rng)[2:6], font=fonts.load(face, 26), fill=(255, 255, 255), anchor="mm")
    photo = portrait(rng, (100, 124), shade(rng, 120, 250))
    image.paste(photo, ((width - 100) // 2, 96) if upright else (28, 100))
    x, y, anchor = (width / 2, 262, "mm") if upright else (170, 130, "lm")
    draw.text((x, y), words.person(rng), font=fonts.load(face, 30), fill=(20, 20, 30), anchor=anchor)
    title = f"{rng.choice(words.TRADES)}部 {rng.choice(JOBS)}"
    draw.text((x, y + 44), title, font=fonts.load(face, 18), fill=(60, 60, 70), anchor=anchor)
    draw.text((x, y + 80), f"工号 {words.digits(rng, 5)}", font=fonts.load(face, 16), fill=accent, anchor=anchor)
    return rounded(image, radius=14)


def form(rng: Random, face: str) -> Face:
    """An application on a page, ruled, with a portrait glued to its corner."""
    width, height = 420, rng.choice((540, 594))
    image = Image.new("RGB", (width, height), shade(rng, 240, 255))
    draw, ink = ImageDraw.Draw(image), shade(rng, 10, 60)
    draw.text(
        (width / 2, 40),
        rng.choice(("入职登记表", "个人简历", "报名表")),
        font=fonts.load(face, 26),
        fill=ink,
        anchor="mm",
    )
    pitch = rng.randint(40, 56)
    for row in range(rng.randint(6, 8)):
        y, right = 80 + row * pitch, 300 if row < 3 else 396
        draw.rectangle((24, y, right, y + pitch), outline=ink)
        draw.line((100, y, 100, y + pitch), fill=ink)
        draw.text((34, y + pitch / 2), FORM_ROWS[row], font=fonts.load(face, 16), fill=ink, anchor="lm")
        value = words.address(rng) if row % 2 else words.person(rng)
        draw.text((110, y + pitch / 2), value, font=fonts.load(face, 16), fill=ink, anchor="lm")
    if rng.random() < 0.85:
        image.paste(portrait(rng, (92, 118), shade(rng, 100, 250)), (304, 82))
    return Face.of(image)


def _barcode(draw: ImageDraw.ImageDraw, rng: Random, box: tuple[int, int, int, int]) -> None:
    x, top, right, bottom = box
    while x < right:
        bar = rng.choice((1, 1, 2, 3))
        draw.rectangle((x, top, x + bar, bottom), fill=(10, 10, 10))
        x += bar + rng.choice((2, 3, 4))


def _square_code(draw: ImageDraw.ImageDraw, rng: Random, at: tuple[int, int], side: int) -> None:
    cell = side // 14
    for row in range(14):
        for column in range(14):
            if rng.random() < 0.5:
                x, y = at[0] + column * cell, at[1] + row * cell
                draw.rectangle((x, y, x + cell, y + cell), fill=(10, 10, 10))
