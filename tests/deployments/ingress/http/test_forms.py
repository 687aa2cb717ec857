"""Forms as browsers, programs and attackers write them: what is taken, and what is refused by the field's name."""

import asyncio

import pytest
from starlette.requests import Request

from deployments.errors import RequestError
from deployments.ingress.http.forms import MAX_TEXT_BYTES, SAFE_CHARSETS, Form, read_form

from ..conftest import Service, served
from .asgi import ASKING, BOUNDARY, FORM, PICTURE, QUESTION, body_of, call, form, part, receiving, scope_of

TEXTS = frozenset(("question", "image_url", "max_new_tokens"))
FILES = frozenset(("image",))


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


def read(body: bytes, content_type: str = FORM[1], piece: int = 64 * 1024) -> Form:
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]
    scope = scope_of("POST", "/v1/ask", [("Content-Type", content_type)])
    return asyncio.run(read_form(Request(scope, receiving(body_of(*pieces))), TEXTS, FILES))


def content(form_: Form) -> dict[str, bytes]:
    return {name: asyncio.run(upload.read()) for name, upload in form_.files.items()}


def text(name: str, value: bytes, *headers: str) -> bytes:
    return part(f'name="{name}"', value, *headers)


@pytest.mark.parametrize("piece", [1, 7, 64 * 1024])
def test_a_form_is_its_texts_and_its_files_however_it_arrives(piece):
    found = read(ASKING, piece=piece)
    assert (found.texts, content(found)) == ({"question": "what is it?"}, {"image": b"picture bytes"})


GBK = "这张图片是什么？".encode("gbk")
RARE = "囧镕".encode("gbk")  # the second one is in GBK and not in GB 2312

TAKEN = [
    ("as UTF-8", text("question", "什么？".encode()), "什么？"),
    ("a byte order mark", text("question", b"\xef\xbb\xbf" + "什么？".encode()), "什么？"),
    ("line breaks", text("question", b"a\r\nb\rc\nd"), "a\nb\rc\nd"),
    ("GBK by its part", text("question", GBK, "Content-Type: text/plain; charset=GBK"), "这张图片是什么？"),
    ("GBK in quotes", text("question", GBK, 'content-type: text/plain; charset="gbk"'), "这张图片是什么？"),
    ("GBK by the form", text("_charset_", b"GBK") + text("question", GBK), "这张图片是什么？"),
    ("GBK by the form, said last", text("question", GBK) + text("_charset_", b" gbk "), "这张图片是什么？"),
    ("more than GB 2312 by that name", text("question", RARE, "Content-Type: text/plain; charset=gb2312"), "囧镕"),
    ("a part before its form", text("_charset_", b"gbk") + text("question", "é".encode(), "Content-Type: text/plain; charset=utf-8"), "é"),
    ("an empty word on it", text("_charset_", b"") + text("question", b"x"), "x"),
    ("Big5", text("question", "圖".encode("big5"), "Content-Type: text/plain; charset=Big5"), "圖"),
    ("Shift JIS", text("question", "図".encode("cp932"), "Content-Type: text/plain; charset=Shift_JIS"), "図"),
    ("EUC-KR", text("question", "그림".encode("euc-kr"), "Content-Type: text/plain; charset=EUC-KR"), "그림"),
    ("UTF-16", text("question", "图".encode("utf-16"), "Content-Type: text/plain; charset=utf-16"), "图"),
    ("Latin 1", text("question", "é".encode("latin-1"), "Content-Type: text/plain; charset=iso-8859-1"), "é"),
    ("8bit", text("question", "é".encode(), "Content-Transfer-Encoding: 8bit"), "é"),
    ("names in single case", b"--" + BOUNDARY.encode() + b'\r\ncontent-disposition: FORM-DATA; name=question\r\n\r\nx\r\n', "x"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "question"), [row[1:] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_a_text_is_what_its_sender_wrote(body, question):
    assert read(form(body)).texts == {"question": question}


def test_a_charset_in_the_form_s_own_header_holds_for_its_texts_and_not_for_its_names():
    for charset, value in (("gbk", GBK), ("utf-16-le", "这张图片是什么？".encode("utf-16-le"))):
        assert read(form(text("question", value)), f"{FORM[1]}; charset={charset}").texts == {
            "question": "这张图片是什么？"
        }


FILES_TAKEN = [
    ("a plain name", 'name="image"; filename="a.png"'),
    ("no name chosen, yet bytes", 'name="image"; filename=""'),
    ("a path", 'name="image"; filename="C:\\pictures\\a.png"'),
    ("a name in Chinese", 'name="image"; filename="图.png"'),
    ("only an extended name", "name=\"image\"; filename*=utf-8''%E5%9B%BE.png"),
    ("both names", 'name="image"; filename="a.png"; filename*=utf-8\'\'%E5%9B%BE.png'),
    ("the extended name first", "filename*=utf-8''%E5%9B%BE.png; name=\"image\""),
    ("without quotes", "name=image; filename=a.png"),
    ("a name with quotes in it", 'name="image"; filename="a\\"; name=\\"b.png"'),
    ("a browser's escapes", 'name="image"; filename="a%22%0D%0Ab.png"'),
    ("a very long name", f'name="image"; filename="{"a" * 4000}"'),
]


@pytest.mark.parametrize("disposition", [row[1] for row in FILES_TAKEN], ids=[row[0] for row in FILES_TAKEN])
def test_a_file_is_known_by_its_part_and_not_by_its_name(disposition):
    assert content(read(form(part(disposition, b"bytes")))) == {"image": b"bytes"}


@pytest.mark.parametrize("kind", ["multipart/mixed; boundary=inner", "text/plain; charset=punycode", "no/such; thing"])
def test_a_file_s_own_type_is_not_believed(kind):
    assert content(read(form(part('name="image"; filename="a"', b"--inner--", f"Content-Type: {kind}"))))


def test_an_input_without_a_file_is_not_there():
    none_chosen = part('name="image"; filename=""', b"", "Content-Type: application/octet-stream")
    assert read(form(none_chosen, QUESTION)).files == {}


REFUSED = [
    ("two questions", form(QUESTION, QUESTION), "`question` is given 2 times"),
    ("two pictures", form(PICTURE, PICTURE), "`image` is given 2 times"),
    ("two charsets", form(text("_charset_", b"gbk"), text("_charset_", b"gbk")), "`_charset_` is given 2 times"),
    ("a misspelt field", form(text("qestion", b"x")), "there is no field `qestion` here: did you mean `question`?"),
    ("an unknown field", form(PICTURE, text("zzz", b"x")), "no field `zzz` here: it takes `image`, `image_url`"),
    ("a misspelt file", form(part('name="imag"; filename="a"', b"x")), "did you mean `image`?"),
    ("another case", form(text("Question", b"x")), "did you mean `question`?"),
    ("a field with brackets", form(text("image[]", b"x")), "did you mean `image`?"),
    ("a nameless field", form(text("", b"x")), "there is no field ``"),
    ("a file as a text", form(part('name="question"; filename="q.txt"', b"x")), "`question` holds a file, not a text"),
    ("a large file without a name", form(text("image", b"x" * 100_000)), "`image` came without a file name, and so as text"),
    ("a text as a file", form(text("image", b"x")), "`image` came without a file name"),
    ("a charset as a file", form(part('name="_charset_"; filename="a"', b"gbk")), "`_charset_` holds a file"),
    ("GBK undeclared", form(text("question", GBK)), "`question` is not UTF-8: send UTF-8, or declare its charset"),
    ("GBK as UTF-8", form(text("question", GBK, "Content-Type: text/plain; charset=utf-8")), "is not UTF-8"),
    ("UTF-8 cut in the middle", form(text("question", "图".encode()[:2])), "`question` is not UTF-8"),
    ("a surrogate", form(text("question", b"\xed\xa0\x80")), "`question` is not UTF-8"),
    ("a surrogate in UTF-16", form(text("question", b"\x00\xd8", "Content-Type: a/b; charset=utf-16-le")), "is not UTF-16-LE"),
    ("an overlong form", form(text("question", b"\xc0\xaf")), "`question` is not UTF-8"),
    ("base64", form(text("question", b"eA==", "Content-Transfer-Encoding: base64")), "Content-Transfer-Encoding"),
    ("a file in base64", form(part('name="image"; filename="a"', b"eA==", "Content-Transfer-Encoding: BASE64")), "Content-Transfer-Encoding"),
    ("quoted-printable", form(text("question", b"=41", "content-transfer-encoding: quoted-printable")), "Content-Transfer-Encoding"),
    ("a header twice", form(text("question", b"x", 'Content-Disposition: form-data; name="image"')), "a header twice"),
    ("no name", form(part('filename="a"', b"x")), 'field "name" must be provided'),
    ("no disposition", f"--{BOUNDARY}\r\nContent-Type: a/b\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), 'field "name" must be provided'),
    ("no last boundary", PICTURE + QUESTION, "it ends before its last boundary"),
    ("an unfinished part", ASKING[: len(ASKING) // 2], "it ends before its last boundary"),
    ("nothing", b"", "it ends before its last boundary"),
    ("another boundary", form(QUESTION).replace(BOUNDARY.encode(), b"other"), "Invalid multipart data"),
    ("no multipart", b"question=x", "Invalid multipart data"),
    ("a header folded", form(text("question", b"x", "Content-Type: text/plain;\r\n charset=gbk")), "Invalid multipart data"),
    ("a huge header", form(text("question", b"x", "X: " + "y" * 5000)), "Invalid multipart data"),
    ("many headers", form(text("question", b"x", *(f"X{n}: y" for n in range(50)))), "Invalid multipart data"),
    ("17 texts", form(*[text(f"a{n}", b"x") for n in range(17)]), "Too many fields"),
    ("17 files", form(*[part(f'name="a{n}"; filename="a"', b"x") for n in range(17)]), "Too many files"),
    ("a text of 1 MB", form(text("question", b"x" * 2**20)), f"`question` has more than {MAX_TEXT_BYTES} bytes"),
    ("an odd name", form(text('a\\"b\x01', b"x")), "there is no field `a"),
]  # fmt: skip


@pytest.mark.parametrize("piece", [64 * 1024, 5000])
@pytest.mark.parametrize(("body", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_would_have_to_be_guessed_at_is_refused_by_its_name(body, says, piece):
    with pytest.raises(RequestError) as refusal:
        read(body, piece=piece)
    assert says in refusal.value.message
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize(
    "charset",
    [
        "punycode", "idna", "utf-7", "iso-2022-jp", "iso2022_kr", "hz", "rot13", "zip", "bz2", "base64", "hex", "uu",
        "quopri", "unicode_escape", "raw_unicode_escape", "undefined", "utf-32", "utf-8-sig; x", "nonesuch", "mbcs",
        "aliases", "os", "../x", "a" * 60_000, "é", "\x7f", "utf-8\t\x0b8", "charmap", "oem",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["part", "form", "header"])
def test_a_charset_that_is_not_safe_is_refused_wherever_it_is_said(charset, where):
    word = f'"{charset}"'
    body, header = form(QUESTION), FORM[1]
    if where == "part":
        body = form(text("question", b"x", f"Content-Type: text/plain; charset={word[:4000]}"))
    elif where == "form":
        body = form(text("_charset_", charset.encode("latin-1")), QUESTION)
    else:
        header = f"{header}; charset={word}"
    with pytest.raises(RequestError, match=r"the charset .* is not taken: send UTF-8|cannot be read") as refusal:
        read(body, header)
    assert len(refusal.value.message) < 200


def test_every_safe_charset_is_one_of_python_s():
    assert all("".encode(name) in (b"", b"\xff\xfe") for name in SAFE_CHARSETS)


@pytest.mark.parametrize(
    "header",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"],
)
def test_a_form_needs_a_boundary(header):
    with pytest.raises(RequestError, match="boundary"):
        read(ASKING, header)


@pytest.mark.parametrize(
    "header",
    ["", "application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "é;;;=", "a" * 9],
)
def test_another_kind_of_body_is_415(service, header):
    scope = scope_of("POST", "/v1/ask", [("Content-Type", header)])
    sent = asyncio.run(call(service.client.app, scope, receiving(body_of(ASKING))))
    assert sent.refusal == (415, "unsupported_media_type")


def test_no_file_stays_open_after_a_refusal(monkeypatch):
    files = []
    from starlette import formparsers

    real = formparsers.SpooledTemporaryFile
    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", lambda **how: files.append(real(**how)) or files[-1])
    for _, body, _ in REFUSED:
        with pytest.raises(RequestError):
            read(body)
    assert files
    assert all(file.closed for file in files)


ASKED = [
    ("no file chosen", form(part('name="image"; filename=""', b""), QUESTION), 400, "image_missing"),
    ("none chosen and an address left empty", form(part('name="image"; filename=""', b""), text("image_url", b""), QUESTION), 400, "image_missing"),
    ("a picture and an address left empty", form(PICTURE, text("image_url", b""), QUESTION), 200, None),
    ("a picture and an address", form(PICTURE, text("image_url", b"http://a/b.png"), QUESTION), 400, "invalid_request"),
    ("a picture under a wrong name", form(part('name="file"; filename="a"', b"x"), QUESTION), 400, "image_missing"),
    ("only a byte order mark", form(PICTURE, text("question", b"\xef\xbb\xbf")), 400, "question_empty"),
    ("a number that is none", form(PICTURE, QUESTION, text("max_new_tokens", b"x")), 400, "invalid_request"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_forms_of_careless_clients(service, body, status, code):
    sent = asyncio.run(call(service.client.app, scope_of("POST", "/v1/ask", [FORM]), receiving(body_of(body))))
    assert sent.status == status
    assert code is None or sent.error["code"] == code


def test_an_address_beside_an_input_without_a_file_is_fetched(service):
    service.downloader.files["http://a/b.png"] = b"picture"
    body = form(part('name="image"; filename=""', b""), text("image_url", b"http://a/b.png"), QUESTION)
    sent = asyncio.run(call(service.client.app, scope_of("POST", "/v1/ask", [FORM]), receiving(body_of(body))))
    assert sent.status == 200
