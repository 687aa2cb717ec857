"""Chat requests as clients send them."""

import base64
import json

import pytest

URI = "data:image/png;base64," + base64.b64encode(b"picture bytes").decode()


def asking(text="多少钱？", url=URI):
    """The user's message with a picture and a question."""
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"role": "user", "content": parts}


def posted(client, body):
    """Posts any JSON, half surrogate pairs included, which the client's own encoder refuses."""
    headers = {"Content-Type": "application/json"}
    return client.post("/v1/chat/completions", content=json.dumps(body).encode(), headers=headers)


@pytest.fixture
def chat(service):
    """Posts a chat request of these fields, with a picture and a question unless other messages are given."""

    def post(**fields):
        body = {"model": "tuwen-test", "messages": [asking()]} | fields
        return posted(service.client, body)

    return post
