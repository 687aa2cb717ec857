"""What a message asks for: a fixed text, or an answer about pictures, its own or those it refers to. Pure decisions."""

from dataclasses import dataclass

from deployments.store.rows import Message
from deployments.wecom.inbound import Inbound
from deployments.wecom.settings import Texts


@dataclass(frozen=True, slots=True)
class Say:
    """A fixed text. ``note`` goes into the record."""

    text: str
    note: str


@dataclass(frozen=True, slots=True)
class AskAbout:
    """A question about the pictures of a message, ``source``."""

    source: int
    question: str


def fixed_text(inbound: Inbound, texts: Texts) -> Say | None:
    """What is said whatever is in any picture; None where there is something to look at."""
    if inbound.canned:
        return Say(inbound.canned, "canned")
    if inbound.unsupported:
        return Say(texts.unsupported, f"unsupported: {inbound.unsupported}")
    if not inbound.pictures and inbound.words.lower() in texts.help_words:
        return Say(texts.help, "help")
    return None


def is_immediate(inbound: Inbound, texts: Texts) -> bool:
    """Whether the message waits neither for a picture nor for words."""
    return fixed_text(inbound, texts) is not None


def asked(
    message: Message, inbound: Inbound, earlier_words: str, last_picture: int | None, texts: Texts
) -> Say | AskAbout:
    """What to do about it. ``earlier_words`` are those of the question that its picture has answered the wait of."""
    fixed = fixed_text(inbound, texts)
    if fixed is not None:
        return fixed
    if inbound.pictures:
        return AskAbout(message.id, inbound.question or earlier_words or texts.default_question)
    source = message.picture_of or last_picture
    return Say(texts.picture_wanted, "no picture") if source is None else AskAbout(source, inbound.question)


def joined_answers(answers: list[str]) -> str:
    """One text of the answers about several pictures, in their order."""
    if len(answers) == 1:
        return answers[0]
    return "\n".join(f"图{number}：{answer}" for number, answer in enumerate(answers, 1))
