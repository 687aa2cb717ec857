"""OpenAPI's promises against what the service does: bodies, statuses, the shape of failures, and who needs a key."""

from hashlib import sha256

import jsonschema
import pytest

from deployments.errors import (
    DeadlineExceeded,
    EmptyAnswer,
    ImageTruncated,
    Overloaded,
    TooManyPixels,
    TuwenError,
    Unavailable,
    UnsupportedFormat,
)
from deployments.ingress.http.openai.parameters import PARAMETERS
from deployments.ingress.http.openai.schema import CHAT_REQUEST
from tests.deployments.ingress.http.openai.conftest import asking, posted
from tests.deployments.ingress.http.openai.test_messages import CONTENTS, CONVERSATIONS
from tests.deployments.ingress.http.openai.test_parameters import NEUTRAL, REFUSED

CHAT = jsonschema.Draft202012Validator(CHAT_REQUEST)
PLAIN = {"model": "tuwen-test", "messages": [asking()]}
PICTURE = {"image": ("a.png", b"picture bytes", "image/png")}


@pytest.fixture
def schema(service):
    return service.client.get("/openapi.json").json()


def test_the_chat_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(CHAT_REQUEST)


@pytest.mark.parametrize("fields", NEUTRAL.values(), ids=NEUTRAL.keys())
def test_the_schema_allows_the_parameters_that_are_taken(fields):
    CHAT.validate(PLAIN | fields)


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}={value}" for name, value in REFUSED])
def test_the_schema_forbids_the_parameters_that_are_refused(name, value):
    assert not CHAT.is_valid(PLAIN | {name: value})


@pytest.mark.parametrize("before", [row[0] for row in CONVERSATIONS.values()], ids=CONVERSATIONS.keys())
def test_the_schema_allows_conversations(before):
    CHAT.validate(PLAIN | {"messages": [*before, asking()]})


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_the_schema_allows_every_way_to_write_the_picture(content):
    CHAT.validate(PLAIN | {"messages": [{"role": "user", "content": content}]})


SAMPLES = [
    None,
    0,
    1,
    -1,
    0.5,
    2,
    3,
    True,
    False,
    "",
    "x",
    "none",
    "auto",
    "medium",
    [],
    ["text"],
    {},
    {"type": "text"},
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_s_schema_and_its_check_agree(name):
    parameter = PARAMETERS[name]
    validator = jsonschema.Draft202012Validator(parameter.schema)
    for value in SAMPLES:
        assert validator.is_valid(value) == (value is None or parameter.takes(value)), value


BAD_MESSAGES = [
    [],
    "hello",
    ["hello"],
    [{"role": "user", "content": "x"}],
    [{"role": "tool", "content": "x"}, asking()],
    [{"role": "user", "content": [{"type": "video"}]}],
    [{"role": "user", "content": [asking()["content"][0]]}],
    [asking(" ")],
    [asking("\u200b\ufe0f")],
    [asking("a\x00")],
    [{"role": "system", "content": "\x1b[1m"}, asking()],
    [asking(url="ftp://a/b")],
    [asking(url="data:image/png;base64,abc")],
]


@pytest.mark.parametrize("messages", BAD_MESSAGES, ids=lambda messages: str(messages)[:60])
def test_the_schema_forbids_messages_that_are_refused(messages):
    assert not CHAT.is_valid(PLAIN | {"messages": messages})


FAULTS = [Overloaded("x"), Unavailable("x"), EmptyAnswer("x"), DeadlineExceeded("x"), ImageTruncated("x"),
          TooManyPixels("x"), UnsupportedFormat("x"), TuwenError("x"), RuntimeError("x")]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_every_failure_of_an_answer_is_documented_in_its_shape(service, schema, fault):
    shape = {"$ref": "#/components/schemas/Failure", "components": schema["components"]}
    asked = [
        (
            "/v1/ask",
            lambda: service.client.post("/v1/ask", files=PICTURE, data={"question": "x", "on_overload": "error"}),
        ),
        ("/chat", lambda: service.client.post("/chat", files=PICTURE, data={"text": "x"})),
        ("/v1/chat/completions", lambda: posted(service.client, PLAIN)),
    ]
    for path, ask in asked:
        service.model.faults = [fault, fault]
        response = ask()
        documented = schema["paths"][path]["post"]["responses"]
        assert str(response.status_code) in documented, path
        if response.status_code != 200:  # /chat answers an overload with the holding reply
            jsonschema.validate(response.json(), shape)


def test_refusals_before_any_work_are_documented(service, schema):
    seen = {
        ("/v1/ask", "post"): [
            {"data": {}},
            {"json": {}},
            {"files": PICTURE},
            {"headers": {"Content-Encoding": "gzip"}},
        ],
        ("/chat", "post"): [{"data": {}}, {"files": PICTURE}],
        ("/v1/chat/completions", "post"): [{"json": []}, {"data": {}}, {"json": PLAIN | {"model": "x"}}],
        ("/v1/requests/x", "get"): [{}],
        ("/v1/models/x", "get"): [{}],
    }
    for (path, method), requests in seen.items():
        template = path.replace("requests/x", "requests/{request_id}").replace("models/x", "models/{name}")
        for request in requests:
            status = service.client.request(method, path, **request).status_code
            assert str(status) in schema["paths"][template][method]["responses"], (path, request)


PUBLIC = {"/healthz", "/health", "/version"}


def test_the_routes_that_need_a_key_are_told(service, schema):
    scheme = schema["components"]["securitySchemes"]["apiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    service.knobs(api_key_sha256=(sha256(b"key").hexdigest(),))
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            closed = service.client.request(method, path.format(request_id="x", name="x")).status_code == 401
            assert closed == ("security" in operation) == ("401" in operation["responses"]) == (path not in PUBLIC)


def test_nothing_of_the_framework_s_own_error_shape_is_left(schema):
    assert "HTTPValidationError" not in str(schema)
    assert not {"422", "502"} & set(schema["paths"]["/v1/requests/{request_id}"]["get"]["responses"])
