"""What several tests of the data path need: a project over a folder, and a job that remembers."""

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tokenizers

from sllm_core import project as projects
from sllm_core.config import DataConfig, ProjectConfig, SourceConfig, TokenizerConfig, with_values
from sllm_core.corpus.index import Index
from sllm_core.jobs import pipeline
from sllm_core.messages import Prepared, Scanned

ROOT = Path(__file__).parents[1]


def make_project(folder, *sources, target_vocab_size=300, **data):
    """A project in ``folder`` over some sources (paths, or ready `SourceConfig`s)."""
    folder.mkdir(exist_ok=True)
    config = ProjectConfig(
        data=DataConfig(**data),
        tokenizer=TokenizerConfig(target_vocab_size=target_vocab_size),
        sources=tuple(
            source if isinstance(source, SourceConfig) else SourceConfig(number, str(source))
            for number, source in enumerate(sources, start=1)
        ),
    )
    project = projects.Project(folder)
    project.save_config(config)
    return project


def change(project, **values):
    """Change settings of a project, by name."""
    project.save_config(with_values(project.load_config(), values))


def scan(project, job=None):
    """Scan; returns the `Scanned` message."""
    return pipeline.scan(project, project.load_config(), job or pipeline.Job(lambda _: None))


def rows(project):
    """All rows of the index by path text: (state, reason)."""
    return {path: (state, reason) for path, state, reason in select(
        project, "SELECT path_text, state, reason FROM files"
    )}  # fmt: skip


def select(project, query):
    """What a query on project.db gives, through SQLite alone."""
    with Index(project.db_path) as index:
        return index._db.execute(query).fetchall()


def prepare(project, **kwargs):
    """Prepare; returns (manifest, tokenizer, all messages)."""
    messages = []
    made = pipeline.prepare(project, project.load_config(), pipeline.Job(messages.append), **kwargs)
    return *made, messages


def prepared(messages):
    """The `Prepared` message among others."""
    return next(message for message in messages if isinstance(message, Prepared))


def scanned(messages):
    """The `Scanned` message among others."""
    return next(message for message in messages if isinstance(message, Scanned))


def run_python(program, *arguments, input_text=None, **environment):
    """A program in a child process of this Python, in the repository."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=input_text,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def library_of(folder):
    """The `tokenizers` library on a saved tokenizer.json, text taken as text."""
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.encode_special_tokens = True
    return library


def library_ids(library, text):
    """Ids of a text by the library alone."""
    return library.encode(text, add_special_tokens=False).ids


def documents(project, side):
    """(document id, its tokens without the [EOS] behind them) of a side, read with numpy alone."""
    tokens = np.load(project.data_dir / f"{side}.npy")
    places = np.load(project.data_dir / f"{side}_docs.npy")
    assert places[-1].tolist() == [len(tokens), 0]
    found = []
    for (start, number), (end, _) in itertools.pairwise(places):
        assert tokens[end - 1] == 3, "each document ends with [EOS]"
        found.append((int(number), tokens[start : end - 1].tolist()))
    return found


def data_bytes(project):
    """The bytes of the token files, and the manifest but for the version it took the place of."""
    names = [f"{side}{part}.npy" for side in ("train", "val") for part in ("", "_docs", "_texts")]
    found = {name: (project.data_dir / name).read_bytes() for name in names}
    manifest = json.loads((project.data_dir / "manifest.json").read_text(encoding="utf-8"))
    return found | {"manifest.json": {**manifest, "parent": None}}


def write_corpus(folder, n=30, words=60, name="doc"):
    """Small documents, each with its own words, with lines and blank lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        out = io.StringIO()
        for word in range(words):
            out.write(f"{name} number {number} says w{(number * 7 + word) % 97}, and ")
            out.write("\n\n" if word % 10 == 9 else "\n" if word % 3 == 2 else "")
        (folder / f"{name}{number:03d}.txt").write_text(out.getvalue(), encoding="utf-8")
