"""The row engine against a loop that computes everything anew for each token, by the independent implementation.

All that the engine does besides is asked of this family in ``../rows``, against ``generate(inputs_embeds=…)``.
"""

import pytest
import torch

from deployments.model.rows.engine import RowEngine
from deployments.model.settings import RowSettings

from . import independent
from .asking import picture, request_to
from .test_numbers import normalised


def greedy_loop(config, weights, request, count):
    """The most probable token after prompt and answer so far, again and again."""
    table = weights["transformer.embedding.word_embeddings.weight"]
    ids = request.prompt.input_ids[0].tolist()
    place = ids.index(config["boi_token_id"])
    features = independent.vision_features(config, weights, normalised(request.pictures[0]))
    end = place + len(features)
    said = []
    for _ in range(count):
        embeddings = torch.cat([table[ids[:place]], features, table[[*ids[end:], *said]]])
        after = range(place + 3, place + 3 + len(ids) - end + len(said))
        positions = [*range(place + 1), *[place + 1] * (len(features) - 2), place + 2, *after]
        token = int(independent.text_logits(config, weights, embeddings, positions)[-1].argmax())
        if token in config["eos_token_id"]:
            break
        said.append(token)
    return tuple(said)


@pytest.mark.parametrize("prefill_tokens", [2048, 16])
@torch.inference_mode()
def test_greedy_answers_are_those_of_a_plain_loop(loaded, config, weights, prefill_tokens):
    """Together, by chunks, and a second question about a picture whose prefix is known."""
    engine = RowEngine(loaded, RowSettings(rows=8, length=128, prefill_tokens=prefill_tokens))
    asked = [("图片是什么？", 0), ("abc 123", 1), ("another question about it", 0), ("?", 2)]
    requests = [request_to(loaded, text, (picture(seed),), max_new_tokens=10) for text, seed in asked]
    beams = engine.submit(request_to(loaded, "beside them", (picture(3),), beam_width=4, max_new_tokens=10))
    futures = [engine.submit(request) for request in requests]
    told = [future.result(timeout=60).token_ids for future in futures]
    assert beams.result(timeout=60).token_ids
    again = engine.submit(requests[0]).result(timeout=60).token_ids
    assert engine.batch.prefiller.prefixes.hits >= 1
    engine.close()
    assert told == [greedy_loop(config, weights, request, 10) for request in requests]
    assert again == told[0]
