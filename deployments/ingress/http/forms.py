"""Multipart forms, read strictly: every field known and given once, every text decoded as its sender declared it.

Built on Starlette's parser, which writes files to disk above a size; it would guess at a text it cannot decode.
"""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from tempfile import SpooledTemporaryFile

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from deployments.errors import ImageMissing, RequestError, UnsupportedMediaType
from deployments.ingress.http.content import demand_unpacked
from deployments.ingress.uploads import SPOOL_BYTES, Upload

MAX_TEXT_BYTES = 64 * 1024
"""Of one field: more than any question that is answered."""
MAX_PARTS = 16
CHARSET_FIELD = "_charset_"
"""The field by which a form says how its texts are encoded (RFC 7578, 4.6)."""

# By Python's own names: single pass, no state that a text could be smuggled in. Neither punycode and idna, whose
# decoders are quadratic, nor UTF-7 and the 7-bit ISO 2022 ones.
SAFE_CHARSETS = frozenset((
    "utf-8", "ascii", "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "shift_jis", "cp932", "euc_jp", "euc_kr",
    "cp949", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """A form's texts by field, and its files."""

    texts: Mapping[str, str]
    files: Mapping[str, Upload]


async def read_form(request: Request, texts: frozenset[str], files: frozenset[str] = frozenset()) -> Form:
    """The request's form, which may have these fields and no others.

    Raises UnsupportedMediaType for another kind of body, ImageMissing for a text where a file belongs, RequestError for
    all else: an unknown field, one given twice, a text that is not in the charset that it should be in.
    """
    demand_unpacked(request)
    header = request.headers.get("content-type", "")
    kind, options = parse_options_header(header.encode("latin-1"))
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType(f"send multipart/form-data (got {kind.decode('latin-1') or 'no content type'})")
    parser = _Parser(request)
    try:
        await parser.parse()
    except MultiPartException as fault:
        raise RequestError(f"the form cannot be read ({fault.message.rstrip('.')}): send multipart/form-data") from None
    try:
        return _sorted(parser, options.get(b"charset", b"utf-8").decode("latin-1"), texts, files)
    except RequestError:
        parser.close()
        raise


class _Parser(MultiPartParser):
    """Keeps a text's bytes and the charset that its part declares, instead of decoding it."""

    spool_max_size = SPOOL_BYTES

    def __init__(self, request: Request) -> None:
        super().__init__(request.headers, request.stream(), max_fields=MAX_PARTS, max_files=MAX_PARTS)
        self.texts: list[tuple[str, bytes, str]] = []

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > MAX_TEXT_BYTES:
            raise MultiPartException(f"the field `{_printable(part.field_name)}` has more than {MAX_TEXT_BYTES} bytes")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is not None:
            super().on_part_end()
            return
        content_type = dict(part.item_headers).get(b"content-type", b"")
        declared = parse_options_header(content_type)[1].get(b"charset", b"").decode("latin-1")
        self.texts.append((part.field_name, bytes(part.data), declared))

    def close(self) -> None:
        for file in self._files_to_close_on_error:
            file.close()


def _sorted(parser: _Parser, charset: str, texts: frozenset[str], files: frozenset[str]) -> Form:
    """What was parsed, by field, once every name has been found fit."""
    names = [name for name, _, _ in parser.texts] + [name for name, _ in parser.items]
    for name in names:
        if name not in texts | files | {CHARSET_FIELD}:
            unknown = f"there is no field `{_printable(name)}` here{_hint(name, texts | files)}"
            is_picture = name in dict(parser.items) and files.isdisjoint(names)
            raise ImageMissing(unknown) if is_picture else RequestError(unknown)
        if names.count(name) > 1:
            raise RequestError(f"the field `{name}` is given {names.count(name)} times: send it once")
    for name, _, _ in parser.texts:
        if name in files:
            raise RequestError(
                f"the field `{name}` came without a file name, and so as text: send a file "
                f"(curl: -F {name}=@picture.png)"
            )
    for name, _ in parser.items:
        if name not in files:
            raise RequestError(f"the field `{name}` holds a file, not a text")
    own = next((value.decode("latin-1") for name, value, _ in parser.texts if name == CHARSET_FIELD), charset)
    return Form(
        {name: _decoded(name, value, told or own) for name, value, told in parser.texts if name != CHARSET_FIELD},
        {name: Upload(_spool(value)) for name, value in parser.items},
    )


def _decoded(name: str, value: bytes, charset: str) -> str:
    """The text; browsers send every line break of a field as CRLF, and a question must not differ by its sender."""
    try:
        codec = codecs.lookup(charset.strip()[:40]).name
    except (LookupError, ValueError):
        codec = ""
    if codec not in SAFE_CHARSETS:
        raise RequestError(f"the charset `{_printable(charset)}` is not taken: send UTF-8")
    try:
        return value.decode(codec).replace("\r\n", "\n")
    except UnicodeDecodeError:
        hint = "send UTF-8, or declare its charset" if codec == "utf-8" else "send UTF-8"
        raise RequestError(f"the field `{name}` is not {codec.upper()}: {hint}") from None


def _spool(value: str | UploadFile) -> "SpooledTemporaryFile[bytes]":
    assert isinstance(value, UploadFile), "texts are kept apart"
    return value.file  # type: ignore[return-value]


def _hint(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name[:64], sorted(known), n=1)
    return f": did you mean `{near[0]}`?" if near else f": it takes {', '.join(f'`{one}`' for one in sorted(known))}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:64])
