"""LitServe with dynamic batches: one worker process, which prepares and generates.

It reads forms where ``decode_request`` asks for a ``Request``.
"""

from pathlib import Path

import litserve  # type: ignore[import-not-found]  # it lives in an environment of its own
from fastapi import Request

from benchmarks.peers.generating import BATCH, BATCH_WAIT_S, Generator, Inputs, options


class Answers(litserve.LitAPI):  # type: ignore[misc]
    """Made in the first process and sent to the worker, which loads the model itself, in ``setup``."""

    def __init__(self, checkpoint: Path, dtype: str, threads: int) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_WAIT_S, api_path="/v1/ask")
        self.asked = (checkpoint, dtype, threads)

    def setup(self, device: str) -> None:
        checkpoint, dtype, threads = self.asked
        self.generator = Generator(checkpoint, dtype, threads)

    def decode_request(self, request: Request) -> Inputs:
        return self.generator.inputs(request["image"].file.read(), request["question"])

    def batch(self, inputs: list[Inputs]) -> list[Inputs]:
        return inputs

    def predict(self, inputs: list[Inputs]) -> list[str]:
        return self.generator.answers(inputs)

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: str) -> dict[str, str]:
        return {"answer": output}


if __name__ == "__main__":
    asked = options()
    api = Answers(asked.checkpoint, asked.dtype, asked.threads)
    server = litserve.LitServer(api, accelerator="cpu", timeout=180)
    server.run(host="127.0.0.1", port=asked.port, num_api_servers=1, generate_client_file=False, log_level="warning")
