"""The section ``args.wecom``: what is configured by name, and what each field must look like.

Secrets are written as ``${NAME}`` and taken from the environment of whoever runs the bot (``secrets.py``). Nothing here
imports a database or a socket: a config without the section costs nothing.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.settings import Sha256
from deployments.wecom.keys import aes_key_of

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ROBOT_URL = re.compile(r"https?://[^/]+/cgi-bin/webhook/send\?key=[0-9A-Za-z-]{8,64}")
LOOPBACK = ip_network("127.0.0.0/8")


def _secret(text: SecretStr, what: str, pattern: str) -> SecretStr:
    """Checked where it stands in the file; what the environment holds is checked when it is read."""
    value = text.get_secret_value()
    if not VARIABLE.search(value) and not re.fullmatch(pattern, value):
        raise ValueError(f"{what}; write ${{NAME}} to take it from the environment")
    return text


def _checked_key(text: SecretStr) -> SecretStr:
    if not VARIABLE.search(text.get_secret_value()):
        aes_key_of(text.get_secret_value())
    return text


def _checked_token(text: SecretStr) -> SecretStr:
    return _secret(text, "a Token has 3 to 32 letters and digits", r"[A-Za-z0-9]{3,32}")


def _checked_secret(text: SecretStr) -> SecretStr:
    return _secret(text, "a secret has 16 to 128 letters, digits, - and _", r"[A-Za-z0-9_-]{16,128}")


def _checked_robot(text: SecretStr) -> SecretStr:
    value = VARIABLE.sub("x" * 8, text.get_secret_value())
    bare = VARIABLE.fullmatch(text.get_secret_value())
    if not bare and not ROBOT_URL.fullmatch(value):
        raise ValueError("is no group robot's address: https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…")
    return text


def _checked_base(url: str) -> str:
    """Plain http and ws lead to this machine only, where the simulator is."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "wss", "http", "ws") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an address such as https://qyapi.weixin.qq.com")
    if parts.scheme in ("http", "ws") and not is_loopback(parts.hostname):
        raise ValueError("must start with https:// or wss://: plain http and ws are for this machine only")
    return url.rstrip("/")


def _checked_proxy(url: str) -> str:
    """Any host: what goes through it is encrypted all the way."""
    parts = urlsplit(VARIABLE.sub("x", url))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must be an HTTP proxy's address such as http://proxy.example.com:3128")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host) in LOOPBACK
    except ValueError:
        return host == "localhost"


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Key = Annotated[SecretStr, AfterValidator(_checked_key)]
Token = Annotated[SecretStr, AfterValidator(_checked_token)]
Secret = Annotated[SecretStr, AfterValidator(_checked_secret)]
RobotUrl = Annotated[SecretStr, AfterValidator(_checked_robot)]
CorpId = Annotated[str, StringConstraints(pattern=r"^(\$\{[A-Za-z_]\w*\}|w[wxpk][0-9a-zA-Z]{8,32})$")]
BotId = Annotated[str, StringConstraints(pattern=r"^(\$\{[A-Za-z_]\w*\}|[A-Za-z0-9_=+/-]{4,128})$")]
BaseUrl = Annotated[str, AfterValidator(_checked_base)]
ProxyUrl = Annotated[str, AfterValidator(_checked_proxy)]
Text = Annotated[str, StringConstraints(pattern=r"\S", max_length=600)]

MEDIA = FetchKnobs(
    timeout_s=15,
    ports=(443,),
    allowed_hosts=(
        "ww-aibot-img-1258476243.cos.*.myqcloud.com",
        *(f"{host}.qpic.cn" for host in ("wework", "p", "shp", "mmbiz", "mmsns")),
    ),
    headers={"*.qpic.cn": {"Referer": "https://work.weixin.qq.com/"}},
)
"""Where WeCom's pictures are. ``*.myqcloud.com`` would be no border: every customer of that cloud has names there."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Texts(Section):
    """What customers read besides answers."""

    default_question: Text = "请用中文简洁描述这张图片的核心内容。"
    failed: Text = "图片分析失败，请重试。"
    holding: Text = Field("正在为您查询，请稍候", description="at once when the service is full; the answer follows")
    greeting: Text = "您好！请发送一张图片，再告诉我您想知道什么。"
    help: Text = "发送一张图片，并用一句话提问，例如：订单号是多少？只发图片时，我会描述它的主要内容。"
    picture_wanted: Text = "请先发送一张图片，再提问。"
    joined: Text = "好的，请看下一条回复。"
    later: Text = "处理时间较长，结果稍后发送给您。"
    unsupported: Text = "暂时只能识别图片和文字，请发送图片。"
    help_words: tuple[Text, ...] = ("帮助", "help", "?", "？")


class Surface(Section):
    """What every surface that receives has in common."""

    pair_window_s: float = Field(8.0, ge=0, le=60, description="for so long picture and question wait for each other")
    remember_s: float = Field(600.0, ge=0, description="for so long a later question refers to the last picture")
    fallback_robot: Name | None = Field(None, description="a robot that tells what no other way could carry")


class Signed(Surface):
    """An address that WeCom calls: its Token and EncodingAESKey stand in the admin console."""

    token: Token
    encoding_aes_key: Key
    replay_window_s: float = Field(0.0, ge=0, description="callbacks signed longer ago are refused; 0: however long")


class AppSettings(Signed):
    """A self-built app: ``/wecom/app/{name}``."""

    corp_id: CorpId
    agent_id: int = Field(ge=1)
    secret: Secret
    menu: dict[str, Text] = Field({}, description="event key of a menu's button: what it answers")
    greet_on_enter: bool = Field(False, description="once a day a user, besides on subscribing")
    markdown: bool = Field(False, description="answers as markdown, which the WeChat plugin does not show")


class BotSettings(Signed):
    """An AI bot by webhook: ``/wecom/bot/{name}``."""

    bot_name: str = Field("", max_length=64, description="removed from questions as a mention")


class SocketSettings(Surface):
    """An AI bot over the long connection: it needs no public address."""

    bot_id: BotId
    secret: Secret
    bot_name: str = Field("", max_length=64, description="removed from questions as a mention")
    heartbeat_s: float = Field(30.0, gt=0, le=60, description="between heartbeats; two without an answer end it")
    retakes_per_hour: int = Field(3, ge=0, le=60, description="how often it is taken back from a foreign client")
    retake_pause_s: float = Field(30.0, gt=0, le=3600, description="before the first of them; then twice as long")
    resend_in_doubt: bool = Field(False, description="send again what a crash left in doubt; it may come twice")


class RobotSettings(Section):
    """A group's webhook: it only sends."""

    url: RobotUrl
    resend_in_doubt: bool = Field(False, description="send again what a crash left in doubt; it may come twice")


class RelaySettings(Surface):
    """``/wecom/relay/{name}``: plain JSON from a program of one's own, answered through the robots it may name."""

    key_sha256: Annotated[tuple[Sha256, ...], Field(min_length=1)]
    robots: Annotated[tuple[Name, ...], Field(min_length=1)]


class Endpoints(Section):
    """Where WeCom is; the simulator's on this machine."""

    qyapi: BaseUrl = "https://qyapi.weixin.qq.com"
    sockets: BaseUrl = "wss://openws.work.weixin.qq.com"
    proxy: ProxyUrl | None = Field(None, description="an HTTP proxy for calls of qyapi and for long connections")
    media: FetchKnobs = MEDIA


class Limits(Section):
    max_callback_bytes: int = Field(256 * 1024, ge=4096, description="of a callback's body")
    max_picture_bytes: int = Field(20 * 1024**2, ge=1024)
    answering: int = Field(32, ge=1, le=512, description="messages of one replica being answered at a time")
    lease_s: float = Field(20.0, ge=1, le=600, description="after so long without a sign of life another takes over")
    give_up_after_s: float = Field(1800.0, gt=0, description="a message not answered by then is given up")
    poll_s: float = Field(1.0, gt=0, le=60, description="how often what others left is looked for")
    stream_patience_s: float = Field(20.0, gt=0, le=300, description="a stream that nobody asks for is gone by then")
    retention_s: float = Field(7 * 86400.0, ge=60, description="rows of ended messages stay so long")
    picture_retention_s: float = Field(3600.0, ge=60, description="pictures of ended messages stay so long")


class WecomSettings(Section):
    """Surfaces by name. An empty section serves nothing."""

    apps: dict[Name, AppSettings] = {}
    bots: dict[Name, BotSettings] = {}
    sockets: dict[Name, SocketSettings] = {}
    robots: dict[Name, RobotSettings] = {}
    relays: dict[Name, RelaySettings] = {}
    texts: Texts = Texts()
    endpoints: Endpoints = Endpoints()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _robots_exist(self) -> "WecomSettings":
        named = [(f"relays.{name}", robot) for name, relay in self.relays.items() for robot in relay.robots]
        for kind in ("apps", "bots", "sockets", "relays"):
            found: dict[str, Surface] = getattr(self, kind)
            named += [(f"{kind}.{name}", one.fallback_robot) for name, one in found.items() if one.fallback_robot]
        for place, robot in named:
            if robot not in self.robots:
                known = ", ".join(self.robots) or "none"
                raise ValueError(f"{place} names the robot '{robot}', which is not configured (configured: {known})")
        ids = [one.bot_id for one in self.sockets.values()]
        if len(ids) != len(set(ids)):
            raise ValueError("sockets: two of them have the same bot_id: a bot has one connection")
        return self
