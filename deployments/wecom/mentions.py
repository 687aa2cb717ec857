"""Taking the bot's own name out of a question, and nothing else: an address such as a@b.cn stays whole."""

import re


def without_mentions(text: str, bot_name: str) -> str:
    """The text without ``@bot_name`` wherever it stands, in either width of the sign, and the blanks after it.

    Without a configured name nothing is taken out. A longer name that begins with the bot's is somebody else's.
    """
    if not bot_name:
        return text.strip()
    mention = re.compile(rf"(?<![A-Za-z0-9_.+-])[@＠]{re.escape(bot_name)}(?!\w)[\s\u2005\u00a0]*", re.IGNORECASE)
    return mention.sub("", text).strip()
