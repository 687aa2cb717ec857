"""The preprocessor as a Serve deployment."""

import time
from hashlib import blake2b
from typing import Any

import ray

from deployments.contract import Prepared
from deployments.errors import TuwenError
from deployments.preprocess.picture import prepare
from deployments.preprocess.settings import PreprocessKnobs


class Preprocessor:
    """Decodes and resizes pictures. Stateless: any replica can prepare any picture, again if need be."""

    def __init__(self) -> None:
        self._knobs = PreprocessKnobs()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._knobs = PreprocessKnobs.model_validate(user_config)

    def prepare(self, data: bytes) -> Prepared | TuwenError:
        """Put the picture's tiles into the object store and return where; a picture's fault comes back as a value.

        A plain method: Serve runs it in a thread, so that decoding never blocks the replica's loop.
        """
        began = time.perf_counter()
        try:
            tiles = prepare(data, self._knobs)
        except TuwenError as error:
            return error
        return Prepared(
            tiles=ray.put(tiles.pixels),
            picture=blake2b(data, digest_size=16).hexdigest(),
            sizes=tiles.sizes,
            places=tiles.places,
            source_format=tiles.source_format,
            source_size=tiles.source_size,
            preprocess_ms=(time.perf_counter() - began) * 1e3,
        )
