"""The words that demo pictures are written with. Few on purpose: every character has to be learnt from pictures."""

from random import Random

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
GIVEN = "伟芳娜敏静强磊洋艳勇军杰娟涛明超秀霞平刚桂英华玉兰红梅建国文丽云飞鹏宇欣雨晨浩"
CITIES = (
    "北京",
    "上海",
    "广州",
    "深圳",
    "杭州",
    "成都",
    "武汉",
    "南京",
    "西安",
    "苏州",
    "长沙",
    "天津",
    "青岛",
    "厦门",
)
ROADS = ("人民路", "中山路", "建设路", "和平路", "新华路", "文化路", "长江路", "东风路")
BRANDS = ("云图", "华信", "天宇", "宏达", "金源", "海通", "星辰", "东方")
TRADES = ("科技", "贸易", "电子", "物流", "食品", "机械")
GOODS = ("电阻", "电容", "芯片", "键盘", "鼠标", "耳机", "显示器", "打印纸", "数据线", "路由器")
COURIERS = ("顺丰速运", "中通快递", "圆通速递", "韵达快递", "申通快递", "京东物流", "邮政EMS", "极兔速递")
WAYBILL_PREFIXES = ("SF", "YT", "JD", "ZT", "ST", "YD")


# The fixed parts of what the functions below write.
COMPANY, ADDRESS, DATE = "{0}{1}{2}有限公司", "{0}市{1}{2}号", "{0}年{1}月{2}日"
TEXTS = (SURNAMES, GIVEN, *CITIES, *ROADS, *BRANDS, *TRADES, *GOODS, *COURIERS, COMPANY, ADDRESS, DATE, "¥")


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def person(rng: Random) -> str:
    return rng.choice(SURNAMES) + "".join(rng.choice(GIVEN) for _ in range(rng.randint(1, 2)))


def company(rng: Random) -> str:
    return COMPANY.format(rng.choice(CITIES), rng.choice(BRANDS), rng.choice(TRADES))


def address(rng: Random) -> str:
    return ADDRESS.format(rng.choice(CITIES), rng.choice(ROADS), rng.randint(1, 399))


def courier(rng: Random) -> str:
    return rng.choice(COURIERS)


def waybill_number(rng: Random) -> str:
    return rng.choice(WAYBILL_PREFIXES) + digits(rng, rng.randint(10, 12))


def phone(rng: Random) -> str:
    """A mobile number, half of them with its middle hidden."""
    number = "1" + rng.choice("3456789") + digits(rng, 9)
    return number[:3] + "****" + number[7:] if rng.random() < 0.5 else number


def money(rng: Random) -> str:
    return f"¥{rng.randint(1, 10 ** rng.randint(1, 4))}.{digits(rng, 2)}"


def date(rng: Random) -> str:
    return DATE.format(rng.randint(2020, 2027), rng.randint(1, 12), rng.randint(1, 28))
