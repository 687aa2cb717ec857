"""Order screenshots: cards and dialogs of a shop's app, under a phone's status bar."""

from collections.abc import Sequence
from random import Random

from demo import fields, fonts, words
from demo.canvas import Canvas, noisy, random_theme
from demo.families.family import Family, difficulty
from demo.fields import Field
from demo.pictures import Picture, Question, Size

# What an order's status says, and why the goods have not been sent: None where they have.
REASONS: dict[str, str | None] = {
    "待付款": "订单还没有付款",
    "待发货": "等待商家发货",
    "库存不足": "商品库存不足",
    "支付失败": "支付失败",
    "地址不完整": "收货地址不完整",
    "已取消": "订单已取消",
    "退款中": "订单正在退款",
    "已发货": None,
    "运输中": None,
    "派送中": None,
    "已签收": None,
}
SENT, WITH_CODE = "已经发货了", "{0}，错误码{1}"
WHY = ("为什么还没发货？", "为什么没发货？", "怎么还没发货？", "Why has it not been sent?")
TITLES = ("订单详情", "订单信息", "我的订单", "物流详情")
DIALOG_TITLES = ("提示", "订单提醒")
BUTTONS = ("确定", "知道了", "联系客服")
NETWORKS = ("5G", "4G", "WiFi")


def _order_number(rng: Random) -> str:
    return rng.choice(("", "", "DD", "NO")) + rng.choice("123456789") + words.digits(rng, rng.randint(9, 12))


def _status(rng: Random) -> str:
    return rng.choice(list(REASONS))


def _error_code(rng: Random) -> str:
    return rng.choice("EPAST") + words.digits(rng, 4)


def _time(rng: Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


FIELDS = (
    Field("order_number", ("订单号", "订单编号"), "order number", _order_number),
    Field("waybill_number", ("运单号", "快递单号"), "waybill number", words.waybill_number),
    Field("status", ("状态", "订单状态"), "status", _status),
    Field("amount", ("金额", "实付金额"), "amount", words.money),
    Field("error_code", ("错误码", "错误代码"), "error code", _error_code),
    Field("courier", ("快递", "快递公司"), "courier", words.courier),
    Field("recipient", ("收件人", "收货人"), "recipient", words.person),
    Field("phone", ("电话", "手机号"), "phone", words.phone),
)
SCREEN_TIME = Field("screen_time", ("截图时间", "手机时间"), "screen time", _time)
BAR_HEIGHT = 24


def draw(rng: Random, size: Size, faces: Sequence[str] = fonts.TRAINED, fewest: bool = False) -> Picture:
    """A screenshot with a title and up to six fields; a third are dialogs, half have a status bar."""
    width, height = size
    canvas, face = Canvas(width, height, random_theme(rng)), rng.choice(faces)
    values: dict[str, str] = {}
    top = 0.0
    lines: list[str] = []
    if not fewest and rng.random() < 0.5:
        values[SCREEN_TIME.key] = SCREEN_TIME.value(rng)
        lines.append(_status_bar(canvas, rng, face, values[SCREEN_TIME.key]))
        top = BAR_HEIGHT
    room = int((height - top - 12) // 29)
    count = 1 if fewest else rng.randint(3, min(6, room - 1))
    dialog = not fewest and count <= min(5, room - 3) and rng.random() < 1 / 3
    lines += (_dialog if dialog else _card)(canvas, rng, face, top, count, values)
    step = 0 if count <= 3 else 1 if count == 4 else 2
    pixels = noisy(canvas.pixels(), rng)
    return Picture(FAMILY.name, pixels, tuple(canvas.glyphs), tuple(lines), values, difficulty(step))


def _status_bar(canvas: Canvas, rng: Random, face: str, time: str) -> str:
    """The phone's own line at the top: the time, the network, the battery."""
    font, network, battery = fonts.load(face, 15), rng.choice(NETWORKS), f"{rng.randint(1, 100)}%"
    middle = BAR_HEIGHT / 2
    canvas.text(10, middle, time, font, canvas.theme.ink)
    end = canvas.width - 12 - font.getlength(battery)
    canvas.text(end, middle, battery, font, canvas.theme.ink)
    canvas.text(end - 14 - font.getlength(network), middle, network, font, canvas.theme.ink)
    return f"{time} {network} {battery}"


def _card(canvas: Canvas, rng: Random, face: str, top: float, count: int, values: dict[str, str]) -> list[str]:
    theme, size, shown = canvas.theme, rng.randint(18, 22), rng.sample(FIELDS, count)
    # Rows at least one visual token (28 px) apart; what is left over is spread evenly above and between them.
    room = canvas.height - top
    pitch = rng.uniform(29, max(29, min(44, (room - 12) / (count + 1))))
    middle = top + pitch / 2 + rng.uniform(2, max(2, room - pitch * (count + 1) - 4)) * 0.5
    title = rng.choice(TITLES)
    if rng.random() < 0.6:
        canvas.draw.rectangle((0, top, canvas.width, middle + pitch / 2), fill=theme.accent)
    font = fonts.load(face, size)
    canvas.text(
        (canvas.width - font.getlength(title)) / 2 if rng.random() < 0.5 else 14, middle, title, font, theme.ink
    )
    columns, ruled, right_aligned = rng.random() < 0.5, rng.random() < 0.3, rng.random() < 0.5
    left, lines = rng.uniform(8, 18), [title]
    for item in shown:
        middle += pitch
        label, value = rng.choice(item.labels), item.value(rng)
        values[item.key] = value
        lines.append(f"{label} {value}" if columns else f"{label}：{value}")
        drawn = label if columns else label + "："
        font = fonts.fitting(face, size, drawn + value, canvas.width - left - 24)
        end = canvas.text(left, middle, drawn, font, theme.pale if columns else theme.ink)
        if columns and right_aligned:
            end = canvas.width - 12 - font.getlength(value)
        elif columns:
            end = max(end + 8, left + font.getlength("订单编号") + 10)
            end = min(end, canvas.width - 6 - font.getlength(value))
        canvas.text(end, middle, value, font, theme.ink)
        if ruled:
            canvas.rule(middle + pitch / 2, theme.pale)
    return lines


def _dialog(canvas: Canvas, rng: Random, face: str, top: float, count: int, values: dict[str, str]) -> list[str]:
    """A box on a dimmed ground: a title, what has happened (the status), details and a button."""
    theme, size = canvas.theme, rng.randint(17, 21)
    inset, rows = rng.uniform(12, 24), count + 2
    room = canvas.height - top - 16
    pitch = rng.uniform(29, max(29, min(40, room / rows)))
    box_top = top + 8 + rng.uniform(0, max(0, room - pitch * rows))
    canvas.draw.rectangle((0, top, canvas.width, canvas.height), fill=tuple(int(c * 0.75) for c in theme.ground))
    canvas.draw.rounded_rectangle((inset, box_top, canvas.width - inset, box_top + pitch * rows), 10, fill=theme.ground)
    middle, centre = box_top + pitch / 2, canvas.width / 2
    title, values["status"] = rng.choice(DIALOG_TITLES), _status(rng)
    canvas.centred(centre, middle, title, fonts.load(face, size), theme.ink)
    middle += pitch
    canvas.centred(centre, middle, values["status"], fonts.load(face, size), theme.ink)
    lines, left = [title, values["status"]], inset + rng.uniform(8, 16)
    for item in rng.sample([item for item in FIELDS if item.key != "status"], count - 1):
        middle += pitch
        values[item.key] = item.value(rng)
        lines.append(f"{rng.choice(item.labels)}：{values[item.key]}")
        font = fonts.fitting(face, size, lines[-1], canvas.width - left - inset - 8)
        canvas.text(left, middle, lines[-1], font, theme.ink)
    middle += pitch
    button = rng.choice(BUTTONS)
    half = rng.uniform(50, 70)
    canvas.draw.rounded_rectangle((centre - half, middle - 13, centre + half, middle + 13), 8, fill=theme.accent)
    canvas.centred(centre, middle, button, fonts.load(face, min(size, 19)), theme.ink)
    return [*lines, button]


def ask(picture: Picture, rng: Random, absent_share: float) -> Question:
    """One question in seven asks why it has not been sent, the others for a field."""
    if rng.random() < 1 / 7:
        return Question(rng.choice(WHY), reason(picture), "reason" if "status" in picture.values else "absent")
    return fields.question((*FIELDS, SCREEN_TIME), picture, rng, absent_share)


def reason(picture: Picture) -> str:
    """Why the goods have not been sent, as far as the picture tells; a failure is told with its error code."""
    status = picture.values.get("status")
    if status is None:
        return fields.ABSENT.format("状态")
    why = REASONS[status]
    code = picture.values.get("error_code")
    return SENT if why is None else WITH_CODE.format(why, code) if code else why


def showcase(picture: Picture) -> list[Question]:
    shown = [item for item in FIELDS if item.key in picture.values][:4]
    asked = [fields.plainly(item, picture) for item in shown]
    return [*asked, Question(WHY[0], reason(picture), "reason")]


TEXTS = (
    *REASONS, *filter(None, REASONS.values()), SENT, *WHY, *TITLES, *DIALOG_TITLES, *BUTTONS, WITH_CODE,
    *(label for item in (*FIELDS, SCREEN_TIME) for label in item.labels),
)  # fmt: skip
FAMILY = Family("order", "订单截图", draw, ask, showcase, TEXTS)
