"""What the simulated WeCom knows: who its apps, bots and robots are, its bad habits, and who has seen what."""

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_app.wecom_sim.cipher import Seal

MODES = (
    "lost-acknowledgement", "lost-first-reply", "early-event", "clean-close", "req-ids-die", "token-kills-old",
    "unlicensed-user", "picture-expired", "raw-newlines", "busy", "over-frequency",
    "untrusted-address",
)  # fmt: skip
DEFAULT_MODES = frozenset(("req-ids-die",))


@dataclass(frozen=True)
class SimApp:
    corp_id: str
    agent_id: int
    secret: str = field(repr=False)
    seal: Seal


@dataclass(frozen=True)
class SimBot:
    """A bot by webhook; ``name`` is what groups mention it by."""

    seal: Seal
    name: str


@dataclass(frozen=True)
class SimSocket:
    bot_id: str
    secret: str = field(repr=False)
    name: str


@dataclass(frozen=True)
class Seen:
    """A text that somebody sees. ``kind``: ``say`` (a user's own), ``stream``, ``message``, ``robot``.

    ``about`` is the msgid that it answers, where WeCom knows; an unfinished stream's text is seen, and replaced.
    """

    at: float
    surface: str
    chat: str
    kind: str
    text: str
    about: str = ""
    finished: bool = True
    picture: str = ""


@dataclass
class World:
    """``patience_s`` is how long a callback may take, after which it is repeated ``retries`` times.

    Where nobody answers, or with another status than 200, the next attempt comes after ``retry_pause_s``.
    """

    clock: Callable[[], float] = time.time
    apps: dict[str, SimApp] = field(default_factory=dict)
    bots: dict[str, SimBot] = field(default_factory=dict)
    sockets: dict[str, SimSocket] = field(default_factory=dict)
    robots: dict[str, str] = field(default_factory=dict)
    modes: set[str] = field(default_factory=lambda: set(DEFAULT_MODES))
    unlicensed: set[str] = field(default_factory=set)
    patience_s: float = 5.0
    retries: int = 3
    retry_pause_s: float = 0.0
    poll_s: float = 0.5
    picture_lasts_s: float = 300.0
    quotas: bool = True
    seen: list[Seen] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    response_codes: dict[str, tuple[str, str, str, float]] = field(default_factory=dict)
    used_codes: set[str] = field(default_factory=set)
    acknowledged_s: list[float] = field(default_factory=list)
    polled_s: list[float] = field(default_factory=list)
    _sent: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _texts: dict[tuple[str, str], float] = field(default_factory=dict)

    def see(self, surface: str, chat: str, kind: str, text: str, **more: object) -> None:
        self.seen.append(Seen(self.clock(), surface, chat, kind, text, **more))  # type: ignore[arg-type]
        self.counts[f"seen {kind}"] += 1

    def over_quota(self, key: str, quota: tuple[tuple[int, float], ...]) -> bool:
        """Whether one more would be too many; if not, it is counted."""
        now, sent = self.clock(), self._sent[key]
        if self.quotas and any(sum(at > now - window for at in sent) >= number for number, window in quota):
            self.counts["over quota"] += 1
            return True
        sent.append(now)
        return False

    def is_repeated(self, key: str, text: str, interval_s: float) -> bool:
        """Whether an equal text went to the same receiver within the interval."""
        now, last = self.clock(), self._texts.get((key, text))
        self._texts[key, text] = now
        return last is not None and last > now - interval_s

    def new_token(self, app: str, lasts_s: float = 7200.0) -> str:
        """With the habit of killing the old one, only the newest is valid."""
        if "token-kills-old" in self.modes:
            self.tokens = {token: known for token, known in self.tokens.items() if known[0] != app}
        token = secrets.token_urlsafe(48)
        self.tokens[token] = (app, self.clock() + lasts_s)
        return token

    def app_of(self, token: str) -> tuple[str, int]:
        """The app that the token is of, and the errcode if it is none."""
        known = self.tokens.get(token)
        if known is None:
            return "", 40014 if token else 41001
        return (known[0], 0) if known[1] > self.clock() else ("", 42001)

    def new_response_code(self, surface: str, chat: str, msgid: str) -> str:
        code = secrets.token_urlsafe(24)
        self.response_codes[code] = (surface, chat, msgid, self.clock() + 3600)
        return code
