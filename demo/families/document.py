"""Documents: scanned pages, either a table of goods with a total or a contract, with a stamp and a handwritten line."""

from collections.abc import Sequence
from random import Random

from PIL import Image, ImageDraw

from demo import fields, fonts, words
from demo.canvas import Canvas, Font, Theme, noisy, shade
from demo.families.family import Family, difficulty
from demo.fields import Field
from demo.pictures import Picture, Question, Size

TABLE_TITLES = ("送货单", "采购单", "报价单", "入库单")
CONTRACT_TITLES = ("采购合同", "销售合同", "服务合同", "租赁合同")
HEADERS = ("品名", "数量", "单价", "金额")
TOTAL = "合计"
NOTES = ("已核对", "同意", "已收货", "请尽快办理", "数量无误")
STAMPS = ("合同专用章", "财务专用章", "公章", "收货专用章")
TOTAL_ASKS = ("合计是多少？", "合计", "总金额是多少？", "一共多少钱？", "What is the total?")
CELL_ASKS = ("{0}的{1}是多少？", "{0}的{1}", "请问{0}的{1}是多少？")
PARTIES_ASKS = ("合同双方是谁？", "甲方和乙方是谁？")
BOTH = "{0}和{1}"

TITLE = Field("title", ("标题", "文件名称"), "title", lambda rng: rng.choice(TABLE_TITLES))
NOTE = Field("note", ("备注", "手写备注"), "note", lambda rng: rng.choice(NOTES))
STAMP = Field("stamp", ("印章", "盖的章"), "stamp", lambda rng: rng.choice(STAMPS))
CONTRACT = (
    Field("contract_number", ("合同编号", "编号"), "contract number", lambda rng: "HT" + words.digits(rng, 8)),
    Field("party_a", ("甲方",), "first party", words.company),
    Field("party_b", ("乙方",), "second party", words.company),
    Field("contract_amount", ("合同金额",), "contract amount", words.money),
    Field("date", ("签订日期", "日期"), "date", words.date),
)
SIGNATURE = Field("signature", ("签字", "签名"), "signature", words.person)
STAMP_RED = (200, 30, 40)


def draw(rng: Random, size: Size, faces: Sequence[str] = fonts.TRAINED, fewest: bool = False) -> Picture:
    """A page with a table (half of them) or a contract."""
    paper = Theme(shade(rng, 232, 255), shade(rng, 0, 60), shade(rng, 90, 140), shade(rng, 205, 232))
    canvas, face = Canvas(*size, paper), rng.choice(faces)
    values: dict[str, str] = {}
    page = _contract if fewest or rng.random() < 0.5 else _table
    lines, step = page(canvas, rng, face, fewest, values)
    pixels = noisy(canvas.pixels(), rng)
    return Picture(FAMILY.name, pixels, tuple(canvas.glyphs), tuple(lines), values, difficulty(step))


def _table(canvas: Canvas, rng: Random, face: str, _fewest: bool, values: dict[str, str]) -> tuple[list[str], int]:
    """Title, header, two to four goods, total, then what room allows of a handwritten note and a stamp."""
    ink, font = canvas.theme.ink, fonts.load(face, rng.randint(16, 18))
    values["title"] = rng.choice(TABLE_TITLES)
    count = rng.randint(2, min(4, int((canvas.height - 40) // 29) - 4))
    pitch = rng.uniform(29, min(35, (canvas.height - 38) / (count + 4)))
    middle, lines = pitch / 2 + 2, [values["title"]]
    canvas.centred(canvas.width / 2, middle, values["title"], fonts.load(face, rng.randint(19, 22)), ink)
    left, right = 10.0, canvas.width - 10.0
    edges = [left + (right - left) * share for share in (0, 0.29, 0.46, 0.71, 1)]
    rows: list[tuple[str, ...]] = [HEADERS]
    for good in rng.sample(words.GOODS, count):
        amount, cents = rng.randint(1, 99), rng.randint(50, 29_999)
        row = (good, str(amount), f"{cents / 100:.2f}", f"{amount * cents / 100:.2f}")
        rows.append(row)
        values |= {f"{good}/{header}": cell for header, cell in zip(HEADERS[1:], row[1:], strict=True)}
    values["total"] = f"{sum(float(row[3]) for row in rows[1:]):.2f}"
    rows.append((TOTAL, "", "", values["total"]))
    ruled = rng.random() < 0.7
    if rng.random() < 0.5:
        canvas.draw.rectangle((left, middle + pitch / 2, right, middle + pitch * 1.5), fill=canvas.theme.accent)
    for cells in rows:
        middle += pitch
        if ruled:
            canvas.draw.rectangle((left, middle - pitch / 2, right, middle + pitch / 2), outline=canvas.theme.pale)
        for text, start in zip(cells, edges, strict=False):
            canvas.text(start + 5, middle, text, font, ink)
        lines.append(" ".join(filter(None, cells)))
    if ruled:
        for edge in edges[1:-1]:
            canvas.draw.line((edge, middle - pitch * (count + 1.5), edge, middle - pitch / 2), fill=canvas.theme.pale)
    lines += _signed_off(canvas, rng, middle + pitch, face, NOTE, values)
    return lines, count - 2


def _contract(canvas: Canvas, rng: Random, face: str, fewest: bool, values: dict[str, str]) -> tuple[list[str], int]:
    """Title, two to five labelled lines, a signature, a stamp."""
    size, room = rng.randint(16, 19), int((canvas.height - 8) // 29)
    count = 1 if fewest else rng.randint(2, min(len(CONTRACT), room - 3))
    keep = set(rng.sample(range(len(CONTRACT)), count))
    pitch = rng.uniform(29, max(29, min(38, (canvas.height - 34) / (count + 2))))
    middle, left = pitch / 2 + 3, rng.uniform(8, 16)
    values["title"] = rng.choice(CONTRACT_TITLES)
    lines = [values["title"]]
    canvas.centred(canvas.width / 2, middle, values["title"], fonts.load(face, rng.randint(19, 22)), canvas.theme.ink)
    for item in (item for place, item in enumerate(CONTRACT) if place in keep):
        middle += pitch
        values[item.key] = item.value(rng)
        lines.append(f"{rng.choice(item.labels)}：{values[item.key]}")
        font = fonts.fitting(face, size, lines[-1], canvas.width - left - 10)
        canvas.text(left, middle, lines[-1], font, canvas.theme.ink)
    if not fewest:
        lines += _signed_off(canvas, rng, middle + pitch, face, SIGNATURE, values)
    return lines, count - 3


def _signed_off(
    canvas: Canvas, rng: Random, middle: float, face: str, item: Field, values: dict[str, str]
) -> list[str]:
    """A handwritten line (a note or a signature) for three pages in four, and a stamp for three in four."""
    lines = []
    if rng.random() < 0.75:
        values[item.key] = item.value(rng)
        label = item.labels[0] + "："
        end = canvas.text(12, middle, label, fonts.load(face, 17), canvas.theme.ink)
        pen = rng.choice(((20, 30, 120), (30, 30, 30)))
        hand = fonts.load(fonts.HANDWRITING, rng.randint(19, 22))
        canvas.handwriting(rng, end + 2, middle, values[item.key], hand, pen)
        lines.append(label + values[item.key])
    if rng.random() < 0.75:
        values[STAMP.key] = STAMP.value(rng)
        # Around the last line, at the right, where it covers little that is written.
        x, y = canvas.width - rng.uniform(66, 84), middle + rng.uniform(-3, 2)
        _stamp(canvas, rng, x, y, values[STAMP.key], fonts.load(face, 17))
        lines.append(values[STAMP.key])
    return lines


def _stamp(canvas: Canvas, rng: Random, x: float, y: float, text: str, font: Font) -> None:
    """A red ellipse with its text across, half transparent as ink is."""
    half = font.getlength(text) / 2
    layer = Image.new("L", canvas.image.size)
    strength = rng.randint(150, 225)
    pen = ImageDraw.Draw(layer)
    pen.ellipse((x - half - 12, y - 20, x + half + 12, y + 20), outline=strength, width=2)
    pen.text((x - half, y), text, font=font, fill=strength, anchor="lm")
    canvas.image.paste(STAMP_RED, (0, 0), layer)
    start = x - half
    for character in text:
        advance = font.getlength(character)
        canvas.mark(character, start + advance / 2, y)
        start += advance


def ask(picture: Picture, rng: Random, absent_share: float) -> Question:
    if "total" in picture.values and rng.random() < 0.6:
        return _about_table(picture, rng, absent_share)
    if {"party_a", "party_b"} <= picture.values.keys() and rng.random() < 0.1:
        return Question(rng.choice(PARTIES_ASKS), parties(picture), "parties")
    return fields.question((TITLE, NOTE, STAMP, SIGNATURE, *CONTRACT), picture, rng, absent_share)


def _about_table(picture: Picture, rng: Random, absent_share: float) -> Question:
    if rng.random() < 0.25:
        return Question(rng.choice(TOTAL_ASKS), picture.values["total"], "total")
    cells = [key for key in picture.values if "/" in key]
    goods = {key.split("/")[0] for key in cells}
    good, header = rng.choice(cells).split("/")
    if rng.random() < absent_share:
        good = rng.choice([other for other in words.GOODS if other not in goods])
        return Question(rng.choice(CELL_ASKS).format(good, header), fields.ABSENT.format(good), "absent")
    return Question(rng.choice(CELL_ASKS).format(good, header), picture.values[f"{good}/{header}"], "cell", after=good)


def parties(picture: Picture) -> str:
    return BOTH.format(picture.values["party_a"], picture.values["party_b"])


def showcase(picture: Picture) -> list[Question]:
    if "total" in picture.values:
        good, header = next(key for key in picture.values if "/" in key).split("/")
        asked = [Question(CELL_ASKS[0].format(good, header), picture.values[f"{good}/{header}"], "cell")]
        return [Question(TOTAL_ASKS[0], picture.values["total"], "total"), *asked]
    shown = [item for item in (*CONTRACT, SIGNATURE, STAMP) if item.key in picture.values][:4]
    return [fields.plainly(item, picture) for item in shown]


TEXTS = (
    *TABLE_TITLES, *CONTRACT_TITLES, *HEADERS, TOTAL, *NOTES, *STAMPS, *TOTAL_ASKS, *CELL_ASKS, *PARTIES_ASKS, BOTH,
    *(label for item in (TITLE, NOTE, STAMP, SIGNATURE, *CONTRACT) for label in item.labels),
)  # fmt: skip
FAMILY = Family("document", "文件", draw, ask, showcase, TEXTS)
