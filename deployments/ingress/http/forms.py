"""Multipart forms, read strictly: every field known and given once, every text decoded as its sender declared it.

Built on Starlette's parser, which writes files to disk above a size; it would guess at a text it cannot decode.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from encodings import normalize_encoding
from encodings.aliases import aliases

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
MAX_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
CHARSET_FIELD = "_charset_"
"""The field by which a form says how its texts are encoded (RFC 7578, 4.6)."""

# By Python's own names: single pass, no state that a text could be smuggled in. Neither punycode and idna, whose
# decoders are quadratic, nor UTF-7 and the 7-bit ISO 2022 ones.
SAFE_CHARSETS = frozenset((
    "utf_8", "ascii", "gb18030", "big5", "big5hkscs", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "latin_1",
    "iso8859_15", "cp1252", "utf_16", "utf_16_le", "utf_16_be",
))  # fmt: skip
# Whoever says so means all of it, as browsers read it (WHATWG Encoding).
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}
NOT_ENCODED = frozenset((b"7bit", b"8bit", b"binary"))
_EXTENDED_FILENAME = re.compile(rb"(?i)(;[ \t]*filename)\*=")


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
        got = _printable(kind.decode("latin-1")) or "no content type"
        raise UnsupportedMediaType(f"send multipart/form-data (got {got})")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    _codec(charset)  # before Starlette, which would look up whatever it says
    if not 0 < len(options.get(b"boundary", b"")) <= MAX_BOUNDARY_BYTES:
        raise _unreadable(f"its Content-Type names no boundary of 1 to {MAX_BOUNDARY_BYTES} characters")
    parser = _Parser(request, files)
    try:
        await parser.parse()
        if not parser.ended:
            raise MultiPartException("it ends before its last boundary")
        _check_names(parser, texts, files)
        return _sorted(parser, charset)
    except MultiPartException as fault:
        parser.close()
        raise _unreadable(fault.message.rstrip(".")) from None
    except RequestError:
        parser.close()
        raise


class _Parser(MultiPartParser):
    """Keeps a text's bytes and the charset that its part declares, instead of decoding it."""

    spool_max_size = SPOOL_BYTES

    def __init__(self, request: Request, files: frozenset[str]) -> None:
        super().__init__(request.headers, request.stream(), max_fields=MAX_PARTS, max_files=MAX_PARTS)
        self._files = files
        self.texts: list[tuple[str, bytes, str]] = []
        self.ended = False

    @property
    def _charset(self) -> str:
        """Of field names, which are ASCII here; Starlette sets what the form's header says."""
        return "utf-8"

    @_charset.setter
    def _charset(self, _: str) -> None: ...

    def on_headers_finished(self) -> None:
        part = self._current_part
        headers = dict(part.item_headers)
        if len(headers) < len(part.item_headers):
            raise MultiPartException("a part gives a header twice")
        if headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in NOT_ENCODED:
            raise MultiPartException("a part is in a Content-Transfer-Encoding: send its bytes as they are")
        if part.content_disposition is not None:  # how some programs name a file whose name is not ASCII
            part.content_disposition = _EXTENDED_FILENAME.sub(rb"\1=", part.content_disposition)
        super().on_headers_finished()
        if part.file is None and part.field_name in self._files:
            name = part.field_name
            raise RequestError(
                f"the field `{name}` came without a file name, and so as text: send a file "
                f"(curl: -F {name}=@picture.png)"
            )

    def on_end(self) -> None:
        self.ended = True

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


def _check_names(parser: _Parser, texts: frozenset[str], files: frozenset[str]) -> None:
    """Raises RequestError for a field that is unknown, given twice, or of the other kind."""
    of_texts, of_files = [name for name, _, _ in parser.texts], [name for name, _ in parser.items]
    names = of_texts + of_files
    for name in names:
        if name not in texts | files | {CHARSET_FIELD}:
            unknown = f"there is no field `{_printable(name)}` here{_hint(name, texts | files)}"
            is_picture = name in of_files and files.isdisjoint(names)
            raise ImageMissing(unknown) if is_picture else RequestError(unknown)
        if names.count(name) > 1:
            raise RequestError(f"the field `{name}` is given {names.count(name)} times: send it once")
    for name in set(of_files) - files:
        raise RequestError(f"the field `{name}` holds a file, not a text")


def _sorted(parser: _Parser, charset: str) -> Form:
    """What was parsed, by field."""
    own = next((value.decode("latin-1") for name, value, _ in parser.texts if name == CHARSET_FIELD), "") or charset
    texts = {name: _decoded(name, value, told or own) for name, value, told in parser.texts if name != CHARSET_FIELD}
    files = {name: file for name, file in parser.items if isinstance(file, UploadFile)}
    # A browser sends a nameless empty file for an input in which none was chosen.
    unchosen = {name for name, file in files.items() if not file.filename and not file.size}
    for name in unchosen:
        files.pop(name).file.close()
    return Form(texts, {name: Upload(file.file) for name, file in files.items()})  # type: ignore[arg-type]


def _decoded(name: str, value: bytes, charset: str) -> str:
    """The text; browsers send every line break of a field as CRLF, and a question must not differ by its sender."""
    codec = _codec(charset)
    try:
        return value.decode(codec).removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError:
        hint = "send UTF-8, or declare its charset" if codec == "utf_8" else "send UTF-8"
        raise RequestError(f"the field `{name}` is not {_printable(charset).upper()}: {hint}") from None


def _codec(charset: str) -> str:
    """Python's name for a charset that is decoded here. Raises RequestError for another.

    Found in tables: ``codecs.lookup`` tries to import what it does not know, and remembers it for good.
    """
    name = normalize_encoding(charset.strip()[:40].lower())
    name = aliases.get(name, name)
    codec = SUPERSETS.get(name, name)
    if codec not in SAFE_CHARSETS:
        raise RequestError(f"the charset `{_printable(charset)}` is not taken: send UTF-8")
    return codec


def _unreadable(why: str) -> RequestError:
    return RequestError(f"the form cannot be read ({why}): send multipart/form-data")


def _hint(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name[:64], sorted(known), n=1)
    return f": did you mean `{near[0]}`?" if near else f": it takes {', '.join(f'`{one}`' for one in sorted(known))}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:64])
