"""What comes out of a search that is done: ids, text, level, and where the time went."""

from deployments.contract import Level, Usage
from deployments.model.engine import Generation, ended
from deployments.model.loading import Loaded
from deployments.model.rows.beams import Beams, token_ids
from deployments.model.rows.sequence import Sequence


def generation_of(sequence: Sequence, loaded: Loaded, now: float) -> Generation:
    """The answer of a search that is done at ``now``."""
    prompt, waited_s = sequence.request.prompt, sequence.admitted - sequence.arrived
    seeing_s = min(sequence.seeing_s, waited_s)  # somebody else may have had it begun earlier
    ids = token_ids(sequence.search.best)
    ids, finish_reason = ended(ids, loaded.eos_token_ids)
    return Generation(
        token_ids=ids,
        text=loaded.tokenizer.decode(ids, skip_special_tokens=True),
        level=level_of(sequence),
        finish_reason=finish_reason,
        usage=Usage(prompt.tokens, prompt.image_tokens, len(ids)),
        queue_ms=(waited_s - seeing_s) * 1e3,
        generate_ms=(now - sequence.admitted + seeing_s) * 1e3,
    )


def level_of(sequence: Sequence) -> Level:
    """``full`` only of a search as wide as was asked for: a narrower one may have found less."""
    search = sequence.search
    is_whole = isinstance(search, Beams) and search.width == sequence.request.decoding.beam_width
    return Level.FULL if is_whole else Level.FAST
