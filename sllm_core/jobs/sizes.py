"""Vocabulary sizes side by side, measured on the project's own text; a child that ends at once."""

import time
from collections.abc import Callable
from dataclasses import replace

from sllm_core import estimate, tokenizer, vocabulary
from sllm_core.config import ProjectConfig
from sllm_core.errors import DataError
from sllm_core.jobs.look import Looker
from sllm_core.messages import Message, Progress, VocabularySizes
from sllm_core.project import Project

LEARN_BYTES = 16_000_000  # of text that the vocabularies are learnt from
HELD_BYTES = 2_000_000  # on which they are measured
HELD_EVERY = 8  # without a division, one file in so many is kept for measuring
LARGEST = 50_000
BYTES_PER_TOKEN = 200  # of all text: a larger vocabulary could not be filled (see `advice`)


def compare_sizes(
    project: Project, number: int, emit: Callable[[Message], None]
) -> VocabularySizes:
    """Learn from one part of the text, measure on another, and say which size is advised.

    Raises:
        DataError: there is no text, or too little.
    """
    begun = time.monotonic()
    looker, config = Looker(project), project.load_config()
    learn, held = _texts(looker, config, emit, begun)
    n_held = sum(len(text.encode("utf-8", "replace")) for text in held)
    if not learn or not held:
        raise DataError("EMPTY", "There is too little text to compare vocabularies on.")
    total = sum(row.text_bytes or 0 for row in looker.used_rows())
    largest = max(tokenizer.BYTE_VOCAB_SIZE + 64, min(LARGEST, total // BYTES_PER_TOKEN))
    n = estimate.count_parameters(replace(config.model, vocab_size=largest))
    width = config.model.d_model * (1 if config.model.tied_head else 2)

    def tell(done: int, of: int) -> None:
        emit(Progress("comparing", done, of, "bytes", elapsed_s=time.monotonic() - begun))

    rows = vocabulary.compare(
        learn,
        held,
        vocabulary.sizes_for(largest),
        split=config.tokenizer.split,
        min_frequency=config.tokenizer.min_frequency,
        d_model=width,
        other_parameters=n.total - n.embedding - n.head,
        text_bytes=total,
        on_progress=tell,
    )
    best = next((row for row in rows if row.is_advised), None)
    return VocabularySizes(
        request=number,
        rows=tuple(
            (r.vocab_size, r.bytes_per_token, r.embedding_share, r.never_share, r.rare_share)
            for r in rows
        ),
        advised=best.vocab_size if best else 0,
        reason=best.reason if best else "",
        sample_bytes=n_held,
        elapsed_s=round(time.monotonic() - begun, 3),
    )


def _texts(
    looker: Looker, config: ProjectConfig, emit: Callable[[Message], None], begun: float
) -> tuple[list[str], list[str]]:
    """Texts to learn from and others to measure on; a single text is cut in two.

    Where the data is prepared, those that are measured on are of its validation side.
    """
    rows = looker.used_rows()
    kept = looker.held_out()
    total = min(LEARN_BYTES + HELD_BYTES, sum(row.text_bytes or 0 for row in rows))
    learn: list[str] = []
    held: list[str] = []
    n_learn = n_held = 0
    for i, (row, text) in enumerate(looker.texts(config, rows)):
        n_bytes = len(text.encode("utf-8", "replace"))
        is_held = row.id in kept if kept else i % HELD_EVERY == HELD_EVERY - 1
        if is_held and n_held < HELD_BYTES:
            held.append(text)
            n_held += n_bytes
        elif not is_held and n_learn < LEARN_BYTES:
            learn.append(text)
            n_learn += n_bytes
        elif n_learn >= LEARN_BYTES and n_held >= HELD_BYTES:
            break
        elapsed_s = time.monotonic() - begun
        emit(Progress("reading", min(total, n_learn + n_held), total, "bytes", elapsed_s=elapsed_s))
    if learn and not held:
        learn, held = _cut(learn)
    return learn, held


def _cut(texts: list[str]) -> tuple[list[str], list[str]]:
    """The last eighth of each text is kept for measuring."""
    places = [len(text) - len(text) // HELD_EVERY for text in texts]
    learn = [text[:place] for text, place in zip(texts, places, strict=True)]
    return learn, [text[place:] for text, place in zip(texts, places, strict=True)]
