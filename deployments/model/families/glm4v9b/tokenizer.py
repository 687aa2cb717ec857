"""From tiktoken's ranks, as GLM-4V-9B is published with, to a fast tokenizer; none of the published code is run."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from deployments.checkpoints import AGAIN, CheckpointError, read_json
from deployments.model.families.glm4v9b.files import RANKS, TOKENIZER_CONFIG

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where the published tokenizer splits a text before it puts pairs together."""
END = "<|endoftext|>"

Ranks = dict[bytes, int]


def published(ranks: Path, config: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that ``tokenizer.model`` and ``tokenizer_config.json`` describe. Raises CheckpointError."""
    words, control = read_ranks(ranks), _control(read_json(config))
    if clash := sorted(set(control) & set(words.values())):
        raise CheckpointError(f"token {clash[0]} of {TOKENIZER_CONFIG} is a word of {RANKS}: they are of two models")
    return fast(words, control)


def stored(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that was converted before, and saved."""
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token=END, eos_token=END, padding_side="left"
    )
    return tokenizer


def fast(ranks: Ranks, control: Mapping[int, str]) -> PreTrainedTokenizerBase:
    """Puts pairs together in the order of the ranks, and keeps every control token in one piece."""
    spelled = {word: "".join(LETTERS[byte] for byte in word) for word in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in merges_of(ranks)]
    model = models.BPE(vocab={spelled[word]: rank for word, rank in ranks.items()}, merges=merges, ignore_merges=True)
    tokenizer = Tokenizer(model)
    pieces = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, spelling])
    tokenizer.decoder = decoders.ByteLevel()
    for number, text in sorted(control.items()):
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
        if tokenizer.token_to_id(text) != number:
            raise CheckpointError(
                f"{TOKENIZER_CONFIG} says that {text} is token {number}, and after {RANKS} it would be "
                f"{tokenizer.token_to_id(text)}: they are of two models"
            )
    whole: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=END, eos_token=END, padding_side="left"
    )
    return whole


def read_ranks(path: Path) -> Ranks:
    """By word its rank. Raises CheckpointError for a line that is not a word in base64 and a number."""
    ranks: Ranks = {}
    try:
        for line in path.read_bytes().splitlines():
            if line:
                word, rank = line.split()
                ranks[base64.b64decode(word, validate=True)] = int(rank)
    except (OSError, ValueError, binascii.Error) as fault:
        raise CheckpointError(f"{path} is not in tiktoken's format ({fault}): {AGAIN}") from fault
    if lacking := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise CheckpointError(f"{path} has no word for byte {lacking[0]}: it is cut off, {AGAIN}")
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise CheckpointError(f"{path} leaves a rank out or gives one twice: {AGAIN}")
    return ranks


def merges_of(ranks: Ranks) -> Iterator[tuple[bytes, bytes]]:
    """Every pair of words that makes another one, in the order in which tiktoken puts pairs together."""
    for word in sorted(ranks, key=lambda word: ranks[word]):
        halves = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
        known = [(left, right) for left, right in halves if left in ranks and right in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def _control(told: Mapping[str, Any]) -> dict[int, str]:
    """Control tokens by number."""
    try:
        return {int(number): str(token["content"]) for number, token in told["added_tokens_decoder"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise CheckpointError(f"{TOKENIZER_CONFIG} names no control tokens (added_tokens_decoder): {AGAIN}") from fault


def _letters() -> dict[int, str]:
    """The letter that byte-level tokenizers write a byte as: its own if it can be seen, else one above Latin-1."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(others)}


LETTERS = _letters()
