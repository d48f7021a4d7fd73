"""Bytes a token of the split llama3 beside bare tokenizers with the same split, and GPT-2's."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from benchmarks import report
from benchmarks.encode import choose_files, usual_roots
from sllm_core.tokenizer import MAX_TOKEN_LENGTH, N_SPECIALS, PATTERNS, train, training_piece
from sllm_core.vocabulary import cut

CODE = {".py", ".pyi", ".c", ".h", ".js", ".css", ".pm"}


def library_for(texts: Sequence[str], size: int, split: str) -> tokenizers.Tokenizer:
    """By bare `tokenizers`, from whole documents."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - N_SPECIALS,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=MAX_TOKEN_LENGTH,
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return library


def count(library: tokenizers.Tokenizer, texts: Sequence[str]) -> int:
    """Tokens of the texts."""
    return sum(len(found.ids) for found in library.encode_batch_fast(texts))


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16_000, 32_000])
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--root", type=Path, action="append")
    options = parser.parse_args()
    roots = options.root or usual_roots()
    files = choose_files(roots, int(1.3e6 * options.megabytes))
    texts = [training_piece(path.read_text(encoding="utf-8")) for path in files]
    n_bytes, n = 0, 0
    for n, text in enumerate(texts):  # noqa: B007 - the number is used behind the loop
        n_bytes += len(text.encode("utf-8"))
        if n_bytes > options.megabytes * 1e6:
            break
    learn = texts[: n + 1]
    held = {
        "code": [
            t for t, p in zip(texts[n + 1 :], files[n + 1 :], strict=True) if p.suffix in CODE
        ],
        "other text": [
            t for t, p in zip(texts[n + 1 :], files[n + 1 :], strict=True) if p.suffix not in CODE
        ],
    }
    largest = max(options.sizes)
    ours = train(learn, largest)
    gpt2 = train(learn, largest, split="gpt2")
    lines = [
        "| held out | vocabulary | llama3, ours | llama3, bare tokenizers | GPT-2's split | ratios |",
        "|---|---|---|---|---|---|",
    ]
    for size in options.sizes:
        bare = library_for(learn, size, ours.split)
        merges = json.loads(bare.to_str())["model"]["merges"]
        assert merges == cut(ours, size).content["model"]["merges"]
        for name, some in held.items():
            total = sum(len(text.encode("utf-8")) for text in some)
            counts = [
                len(cut(ours, size).encode_batch(some)[0]),
                count(bare, some),
                len(cut(gpt2, size).encode_batch(some)[0]),
            ]
            mine, its, old = (total / n_tokens for n_tokens in counts)
            lines.append(
                f"| {name}, {total / 1e6:.1f} MB | {size:,} | {mine:.3f} | {its:.3f} | {old:.3f} | "
                f"{mine / its:.3f}x, {mine / old:.3f}x |"
            )
    notes = [
        f"Versions: tokenizers {tokenizers.__version__}; encoder of ours: {ours.engine}",
        f"Learnt from {n_bytes / 1e6:.1f} MB in {len(learn):,} documents, whole ones or their first "
        f"50,000 characters, below {', '.join(root.name for root in roots)}; held out: the next "
        f"{len(texts) - len(learn):,}",
        "Merges of both llama3 columns are the same, and those of smaller sizes are the beginning of "
        "the largest's",
        "No timing: one round, and nothing that could vary",
    ]
    report.save("bytes_per_token", "Bytes a token", ["\n".join(lines)], notes)


if __name__ == "__main__":
    main()
