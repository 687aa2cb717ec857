"""The XML of self-built apps: the envelope around the ciphertext, the message inside, and the passive reply.

The envelope is read before anybody has proved to be WeCom, so that it is bounded, and may declare nothing.
"""

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from deployments.errors import RequestError
from deployments.wecom.crypto import Sealed

UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, however it is escaped."""


def read_xml(data: bytes) -> dict[str, str]:
    """The texts of an element's children, by name; nested ones by dotted names. Raises RequestError."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as fault:
        raise RequestError("the XML declares a document type: WeCom's never does") from fault
    except (ParseError, ValueError, LookupError) as fault:  # LookupError: an encoding that nobody knows
        raise RequestError("the body is not XML") from fault
    return dict(_texts(root, ""))


def _texts(parent: Element, prefix: str) -> list[tuple[str, str]]:
    found = []
    for child in parent:
        name = prefix + child.tag
        found.append((name, (child.text or "").strip() if len(child) else child.text or ""))
        found += _texts(child, f"{name}.")
    return found


def ciphertext_of_xml(data: bytes) -> str:
    """What the envelope encloses. Raises RequestError."""
    fields = read_xml(data)
    encrypt = fields.get("Encrypt") or fields.get("encrypt") or ""
    if not encrypt.strip():
        raise RequestError("the envelope has no Encrypt")
    return encrypt.strip()


def reply_xml(sealed: Sealed) -> str:
    """A passive reply as an app's callback returns it."""
    fields = {"Encrypt": sealed.encrypt, "MsgSignature": sealed.signature}
    return f"<xml>{elements(fields)}<TimeStamp>{sealed.timestamp}</TimeStamp>{elements({'Nonce': sealed.nonce})}</xml>"


def elements(fields: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{cdata(text)}</{name}>" for name, text in fields.items())


def cdata(text: str) -> str:
    """The text as one or more CDATA sections: its own ``]]>`` ends none of them."""
    return f"<![CDATA[{UNPRINTABLE.sub('', text).replace(']]>', ']]]]><![CDATA[>')}]]>"
