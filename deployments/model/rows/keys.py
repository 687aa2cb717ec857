"""By what pictures, and prompts up to their picture, are known again."""

from collections.abc import Sequence
from hashlib import blake2b

from deployments.contract import Pixels
from deployments.model.prompt import Prompt


def picture_key(picture: Pixels) -> bytes:
    """The picture itself: its size and every byte."""
    digest = blake2b(repr(picture.shape).encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.digest()


def prefix_tokens(prompt: Prompt) -> int:
    """How many tokens of a prompt stand up to the end of its last picture; 0 without one."""
    pictured = prompt.mm_token_type_ids[0].nonzero()
    return int(pictured[-1]) + 1 if len(pictured) else 0


def prefix_key(prompt: Prompt, tokens: int, pictures: Sequence[bytes]) -> bytes:
    """Everything that the KV of the first ``tokens`` tokens depends on."""
    digest = blake2b(prompt.input_ids[0, :tokens].numpy().tobytes(), digest_size=16)
    for key in pictures:
        digest.update(key)
    return digest.digest()
