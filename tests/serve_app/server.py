"""A small real HTTP server that answers each path as a test says, and what a service of ours answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEALTH = {"ready": True, "model": "m", "device": "cpu", "quantization": "none", "level": "full"}
ANSWER = {
    "answer": "¥12", "level": "full", "request_id": "r-1", "usage": {"prompt_tokens": 30, "image_tokens": 20, "completion_tokens": 3},
    "timing_ms": {"fetch": 0, "preprocess": 5, "queue": 1, "generate": 50, "total": 56},
}  # fmt: skip
HOLDING = ANSWER | {"answer": "请稍候", "level": "holding", "usage": None, "retry_after_s": 5}


class Server:
    """Answers each path with what ``replies`` holds, and remembers what it was sent."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server.received.append((self.path, dict(self.headers), body))
                status, reply, headers = server.replies.get(self.path, (404, b"{}", {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, path: str, body: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies[path] = (status, content, headers or {})
