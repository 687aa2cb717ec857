"""Order screenshots: what stands on them, how they look, what can be asked about them and the exact answers."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from demo import fonts
from demo.canvas import Canvas, random_theme
from demo.pictures import Picture, Question

FAMILY = "order"

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
GIVEN = "伟芳娜敏静强磊洋艳勇军杰娟涛明超秀霞平刚桂英华玉兰红梅建国文丽云飞鹏宇欣雨晨浩"
STATUSES = ("待付款", "待发货", "已发货", "运输中", "派送中", "已签收", "已取消", "退款中", "支付失败", "地址不完整")
COURIERS = ("顺丰速运", "中通快递", "圆通速递", "韵达快递", "申通快递", "京东物流", "邮政EMS", "极兔速递")
TITLES = ("订单详情", "订单信息", "我的订单", "物流详情")
TRANSCRIBE = ("提取全部文字", "提取图中全部文字", "图中写了什么？")


def _digits(rng: Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _order_number(rng: Random) -> str:
    return rng.choice(("", "", "DD", "NO")) + rng.choice("123456789") + _digits(rng, rng.randint(9, 12))


def _waybill(rng: Random) -> str:
    return rng.choice(("SF", "YT", "JD", "ZT", "ST", "YD")) + _digits(rng, rng.randint(10, 12))


def _status(rng: Random) -> str:
    return rng.choice(STATUSES)


def _amount(rng: Random) -> str:
    return f"¥{rng.randint(1, 10 ** rng.randint(1, 4))}.{_digits(rng, 2)}"


def _error_code(rng: Random) -> str:
    return rng.choice("EPAST") + _digits(rng, 4)


def _courier(rng: Random) -> str:
    return rng.choice(COURIERS)


def _recipient(rng: Random) -> str:
    return rng.choice(SURNAMES) + "".join(rng.choice(GIVEN) for _ in range(rng.randint(1, 2)))


def _phone(rng: Random) -> str:
    number = "1" + rng.choice("3456789") + _digits(rng, 9)
    return number[:3] + "****" + number[7:] if rng.random() < 0.5 else number


@dataclass(frozen=True, slots=True)
class Field:
    """A thing an order screenshot can show. ``labels[0]`` is its plain name, used in refusals and questions."""

    key: str
    labels: tuple[str, ...]
    english: str
    value: Callable[[Random], str]


FIELDS = (
    Field("order_number", ("订单号", "订单编号"), "order number", _order_number),
    Field("waybill_number", ("运单号", "快递单号"), "waybill number", _waybill),
    Field("status", ("状态", "订单状态"), "status", _status),
    Field("amount", ("金额", "实付金额"), "amount", _amount),
    Field("error_code", ("错误码", "错误代码"), "error code", _error_code),
    Field("courier", ("快递", "快递公司"), "courier", _courier),
    Field("recipient", ("收件人", "收货人"), "recipient", _recipient),
    Field("phone", ("电话", "手机号"), "phone", _phone),
)
ASKS = ("{0}是多少？", "{0}是什么？", "请问{0}是多少？", "{0}？", "{0}", "查一下{0}")
ASK_ENGLISH = "What is the {0}?"


def draw(
    rng: Random, lines: tuple[int, int] = (3, 6), faces: tuple[str, ...] = ("noto-sans", "wqy-microhei", "wqy-zenhei")
) -> Picture:
    """One order screenshot with a title and ``lines`` (least, most) fields, as (height, width, 3) uint8 pixels."""
    count = rng.randint(*lines)
    shown = rng.sample(FIELDS, count)
    theme = random_theme(rng)
    width, height = rng.choice((308, 336, 364)), rng.choice((224, 252) if count < 6 else (252, 280))
    canvas = Canvas(width, height, theme)
    face, size = rng.choice(faces), rng.randint(18, 22)
    # Rows at least one visual token (28 px) apart; what is left over is spread evenly above and between them.
    pitch = rng.uniform(29, min(44, (height - 12) / (count + 1)))
    middle = pitch / 2 + rng.uniform(2, max(2, height - pitch * (count + 1) - 4)) * 0.5
    title = rng.choice(TITLES)
    if rng.random() < 0.6:
        canvas.bar(0, middle + pitch / 2, theme.accent)
    title_font = fonts.load(face, size)
    x = (width - title_font.getlength(title)) / 2 if rng.random() < 0.5 else 14
    canvas.text(x, middle, title, title_font, theme.ink)
    columns, ruled = rng.random() < 0.5, rng.random() < 0.3
    right_aligned = rng.random() < 0.5
    left, text_lines, values = rng.uniform(8, 18), [title], {}
    for item in shown:
        middle += pitch
        label, value = rng.choice(item.labels), item.value(rng)
        values[item.key] = value
        text_lines.append(f"{label} {value}" if columns else f"{label}：{value}")
        drawn = label if columns else label + "："
        font = _fitting(face, size, drawn + value, width - left - 24)
        end = canvas.text(left, middle, drawn, font, theme.pale if columns else theme.ink)
        if columns and right_aligned:
            end = width - 12 - font.getlength(value)
        elif columns:
            end = max(end + 8, left + font.getlength("订单编号") + 10)
            end = min(end, width - 6 - font.getlength(value))
        canvas.text(end, middle, value, font, theme.ink)
        if ruled:
            canvas.rule(middle + pitch / 2, theme.pale)
    noise = rng.uniform(0, 8) if rng.random() < 0.5 else 0.0
    return Picture(FAMILY, canvas.pixels(noise, rng.getrandbits(32)), tuple(canvas.glyphs), tuple(text_lines), values)


def _fitting(face: str, size: int, text: str, room: float) -> "fonts.ImageFont.FreeTypeFont":
    """The face at the size asked for, or smaller where the text would not fit."""
    while size > 15 and fonts.load(face, size).getlength(text) > room:
        size -= 1
    return fonts.load(face, size)


def transcription(picture: Picture, rng: Random) -> Question:
    return Question(rng.choice(TRANSCRIBE), "\n".join(picture.lines), "transcription")


def field_question(picture: Picture, rng: Random, absent_share: float = 0.1) -> Question:
    """A question about one field; with probability ``absent_share`` about one that the picture does not show."""
    absent = [item for item in FIELDS if item.key not in picture.values]
    if absent and rng.random() < absent_share:
        item = rng.choice(absent)
        return Question(_wording(item, rng), f"图中没有{item.labels[0]}", "absent")
    item = rng.choice([item for item in FIELDS if item.key in picture.values])
    return Question(_wording(item, rng), picture.values[item.key], item.key)


def _wording(item: Field, rng: Random) -> str:
    if rng.random() < 0.1:
        return ASK_ENGLISH.format(item.english)
    return rng.choice(ASKS).format(rng.choice(item.labels))
