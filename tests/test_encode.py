"""What lies in the token files is the text of the used files, whole, in order, on one side."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sllm_core import dataset, encode, project
from sllm_core.config import SourceConfig
from sllm_core.corpus import extract
from sllm_core.corpus.division import TRAIN
from sllm_core.corpus.index import Index
from sllm_core.corpus.store import Texts
from sllm_core.errors import Cancelled, DataError, DiskError
from sllm_core.jobs import pipeline
from sllm_core.messages import Desired
from sllm_core.tokenizer import Tokenizer, byte_tokenizer
from tests.helpers import (
    ROOT,
    change,
    data_bytes,
    documents,
    library_ids,
    library_of,
    make_project,
    prepare,
    prepared,
    rows,
    scan,
    scanned,
    select,
    write_corpus,
)

FASTEST = "gigatoken" if importlib.util.find_spec("gigatoken") else "tiktoken"
SPECIAL = "The words [EOS] and <|end|> and [PAD] are text here.\r\nSo is </s>.\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    write_corpus(folder, 30)
    (folder / "special.txt").write_text(SPECIAL, newline="")
    (folder / "old.txt").write_text("El niño comió en el jardín mañana.\n", encoding="cp1252")
    return folder


@pytest.fixture
def ours(tmp_path, source):
    return make_project(tmp_path / "project", source, target_vocab_size=400)


def text_of(path: Path) -> str:
    """A file as anybody would read it."""
    encoding = "cp1252" if path.name == "old.txt" else "utf-8"
    return path.read_text(encoding=encoding)


def expected_documents(folder: Path, library) -> dict[str, list[int]]:
    """Name -> ids, in the order of the bytes of their names."""
    paths = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    return {path.name: library_ids(library, text_of(path)) for path in paths}


def by_name(ours, side: str) -> dict[str, list[int]]:
    names = dict(select(ours, "SELECT id, path_text FROM files"))
    return {names[number]: ids for number, ids in documents(ours, side)}


@pytest.mark.parametrize(("words", "engine"), [(60, "bytes"), (200, None)])
def test_every_document_is_what_the_library_makes_of_its_text_in_order(ours, source, words, engine):
    write_corpus(source, 30, words)
    manifest, used, messages = prepare(ours)
    assert used.engine == manifest.engine == (engine or FASTEST)
    expected = expected_documents(source, library_of(ours.tokenizer_dir))
    train, val = by_name(ours, "train"), by_name(ours, "val")
    assert train | val == expected
    assert list(train) == [name for name in expected if name in train]
    assert list(val) == [name for name in expected if name in val]
    assert not set(train) & set(val)
    assert manifest.train_tokens == sum(len(ids) + 1 for ids in train.values())
    assert manifest.val_tokens == sum(len(ids) + 1 for ids in val.values())
    assert (manifest.train_docs, manifest.val_docs) == (len(train), len(val))
    assert prepared(messages).text_bytes == sum(
        len(text_of(path).encode()) for path in source.iterdir()
    )
    for name, side, tokens in select(ours, "SELECT path_text, split, tokens FROM files"):
        assert tokens == len(expected[name])
        assert name in (train if side == "train" else val)


def test_the_manifest_tells_the_truth_about_the_files(ours):
    manifest, used, _ = prepare(ours)
    for name, mark in manifest.files.items():
        array = np.load(ours.data_dir / name, allow_pickle=False)
        assert mark.n_items == len(array)
        assert mark.size_bytes == (ours.data_dir / name).stat().st_size
        assert mark.sha256 == project.file_sha256(ours.data_dir / name)
    tokens = np.load(ours.data_dir / "train.npy")
    assert tokens.dtype == np.dtype("<u2")
    assert tokens.max() < manifest.vocab_size == used.vocab_size
    assert set(np.unique(tokens[tokens < 16])) == {3}
    assert dataset.load_manifest(ours) == manifest
    assert not (ours.data_dir / ".building").exists()


# Sides


def test_equal_texts_are_on_one_side(tmp_path):
    for number in range(40):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / f"{number:02d}.txt").write_text(f"text {number % 10} " * 20)
    ours = make_project(tmp_path / "project", tmp_path / "source", val_split=0.3)
    prepare(ours)
    train, val = documents(ours, "train"), documents(ours, "val")
    assert len(train) + len(val) == 40
    assert val
    assert not {tuple(ids) for _, ids in train} & {tuple(ids) for _, ids in val}


def test_sides_stay_when_files_are_added(tmp_path):
    folder = tmp_path / "source"
    write_corpus(folder, 60, words=12)
    ours = make_project(tmp_path / "project", folder)
    prepare(ours)
    before = {name: side for side in ("train", "val") for name in by_name(ours, side)}
    write_corpus(folder, 60, words=12, name="added")
    prepare(ours)
    after = {name: side for side in ("train", "val") for name in by_name(ours, side)}
    assert {name: after[name] for name in before} == before
    assert set(before.values()) == {"train", "val"}
    assert len(after) == 120


# A few documents: sections


def test_few_documents_are_divided_by_sections_and_no_text_is_lost(tmp_path):
    write_corpus(tmp_path / "source", 5, words=1500)
    ours = make_project(tmp_path / "project", tmp_path / "source", target_vocab_size=400)
    manifest, _, _ = prepare(ours)
    library = library_of(ours.tokenizer_dir)
    names = dict(select(ours, "SELECT id, path_text FROM files"))
    assert manifest.val_tokens > 0
    parts: dict[str, list[str]] = {}
    for side in ("train", "val"):
        for number, ids in documents(ours, side):
            parts.setdefault(names[number], []).append(library.decode(ids))
    train_text = {tuple(ids) for _, ids in documents(ours, "train")}
    assert not train_text & {tuple(ids) for _, ids in documents(ours, "val")}
    for path in (tmp_path / "source").iterdir():
        text, found = path.read_text(), parts[path.name]
        assert sorted("".join(found)) == sorted(text)
        assert all(part in text for part in found)
        assert sum(map(len, found)) == len(text)
    sides = dict(select(ours, "SELECT path_text, split FROM files"))
    assert "both" in sides.values()
    total = sum(n for (n,) in select(ours, "SELECT tokens FROM files"))
    assert total == sum(len(i) for s in ("train", "val") for _, i in documents(ours, s))


@pytest.mark.parametrize("number", range(30))
def test_one_short_text_is_always_trained_on(tmp_path, number):
    (tmp_path / "a.txt").write_text(f"one short text, number {number}\n")
    ours = make_project(tmp_path / "project", tmp_path / "a.txt")
    manifest, _, _ = prepare(ours)
    assert manifest.train_docs == 1


# Changes between scan and encoding


def strike_after_scan(monkeypatch, action):
    real = pipeline.scan

    def scan_then(*args, **kwargs):
        result = real(*args, **kwargs)
        action()
        return result

    monkeypatch.setattr(pipeline, "scan", scan_then)


@pytest.mark.parametrize("how", ["rewritten", "same size and time", "gone"])
def test_a_file_that_changes_after_the_scan_is_left_out_whole(ours, source, monkeypatch, how):
    prepare(ours)
    victim = source / "doc007.txt"
    os.utime(victim, ns=(5, 5))  # known to the scan, but not the same as in the dataset
    victim.write_text(victim.read_text() + "new end\n")

    def action() -> None:
        info = victim.stat()
        if how == "gone":
            victim.unlink()
        elif how == "rewritten":
            victim.write_text("quite another text\n")
        else:
            with victim.open("r+b") as file:
                file.write(b"D0C")
            os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))

    strike_after_scan(monkeypatch, action)
    manifest, _, _ = prepare(ours)
    everything = by_name(ours, "train") | by_name(ours, "val")
    assert "doc007.txt" not in everything
    assert len(everything) == 31 == manifest.train_docs + manifest.val_docs
    assert rows(ours)["doc007.txt"] == ("failed", "changed")
    monkeypatch.undo()
    if how == "rewritten":
        prepare(ours)
        assert "doc007.txt" in by_name(ours, "train") | by_name(ours, "val")


def test_a_long_file_that_fails_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SECTION_CHARS", 2000)
    monkeypatch.setattr(extract, "_READ_BYTES", 4096)
    folder = tmp_path / "source"
    write_corpus(folder, 30, words=20)
    write_corpus(folder, 1, words=4000, name="long")
    ours = make_project(tmp_path / "project", folder, target_vocab_size=400)
    _, _, messages = prepare(ours)
    assert prepared(messages).encoded_docs > 40
    whole = data_bytes(ours)
    real = Texts.pieces
    blocks = []

    def read(self, found):
        for text in real(self, found):
            if found.path.startswith(b"long"):
                blocks.append(text)
                if len(blocks) >= 6:
                    raise extract.SkipFile("changed")
            yield text

    with monkeypatch.context() as patch:
        patch.setattr(Texts, "pieces", read)
        with Index(ours.db_path) as index:
            index.forget_cache()
        (ours.data_dir / "manifest.json").unlink()
        prepare(ours)
    assert len(blocks) >= 6
    assert rows(ours)["long000.txt"] == ("failed", "changed")
    everything = by_name(ours, "train") | by_name(ours, "val")
    library = library_of(ours.tokenizer_dir)
    expected = expected_documents(folder, library)
    del expected["long000.txt"]
    assert everything == expected
    prepare(ours)  # what failed is tried again
    assert data_bytes(ours) == whole


# Incremental


def test_a_second_prepare_encodes_nothing_and_gives_the_same_bytes(ours):
    prepare(ours)
    before = data_bytes(ours)
    _, _, messages = prepare(ours)
    assert (prepared(messages).encoded_docs, prepared(messages).cached_docs) == (0, 0)
    assert scanned(messages).read_files == 0
    assert data_bytes(ours) == before
    (ours.data_dir / "manifest.json").unlink()
    _, _, messages = prepare(ours)
    assert (prepared(messages).encoded_docs, prepared(messages).cached_docs) == (0, 32)
    assert data_bytes(ours) == before


def test_adding_one_file_encodes_one(ours, source):
    prepare(ours)
    (source / "new.txt").write_text("a new text\n" * 9)
    _, _, messages = prepare(ours)
    assert (prepared(messages).encoded_docs, prepared(messages).cached_docs) == (1, 32)
    expected = expected_documents(source, library_of(ours.tokenizer_dir))
    assert by_name(ours, "train") | by_name(ours, "val") == expected


def test_removing_and_renaming_files_gives_another_dataset(ours, source):
    first = prepare(ours)[0].dataset_id
    (source / "doc001.txt").rename(source / "zzz.txt")
    second = prepare(ours)[0].dataset_id
    (source / "doc002.txt").unlink()
    third = prepare(ours)[0].dataset_id
    assert len({first, second, third}) == 3
    expected = expected_documents(source, library_of(ours.tokenizer_dir))
    assert by_name(ours, "train") | by_name(ours, "val") == expected


# Damage, full disks, kills


@pytest.mark.parametrize("damage", ["flip", "truncate", "gone"])
def test_a_damaged_cache_is_noticed_and_encoded_again(ours, damage):
    prepare(ours)
    before = data_bytes(ours)
    (segment,) = (ours.data_dir / "cache").glob("*.tokens")
    data = bytearray(segment.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
    elif damage == "truncate":
        segment.write_bytes(data[: len(data) // 2])
    else:
        segment.unlink()
    (ours.data_dir / "manifest.json").unlink()
    _, _, messages = prepare(ours)
    wanted = {"flip": 1, "truncate": 16, "gone": 32}[damage]
    assert prepared(messages).encoded_docs > 0
    assert abs(prepared(messages).encoded_docs - wanted) < 6
    assert data_bytes(ours) == before


@pytest.mark.parametrize("name", ["train.npy", "train_docs.npy", "val.npy", "val_docs.npy"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "gone"])
def test_damaged_token_files_are_refused_and_written_again(ours, name, damage):
    manifest, _, _ = prepare(ours)
    before = data_bytes(ours)
    path = ours.data_dir / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    if damage == "flip":
        path.write_bytes(data)
    elif damage == "truncate":
        os.truncate(path, len(data) - 2)
    else:
        path.unlink()
    with pytest.raises(DataError, match=name) as caught:
        dataset.check_files(ours, manifest)
    assert caught.value.code == "E-DATA-CHANGED"
    prepare(ours)
    assert data_bytes(ours) == before
    dataset.check_files(ours, manifest)


@pytest.mark.parametrize(
    "body", ["", "[]", "{", "null", '{"format_version": 2}', '{"format_version": 1}', "[" * 9999]
)
def test_a_damaged_manifest_means_no_dataset(ours, body):
    prepare(ours)
    before = data_bytes(ours)
    (ours.data_dir / "manifest.json").write_text(body)
    assert dataset.load_manifest(ours) is None
    prepare(ours)
    assert data_bytes(ours) == before


def test_a_full_disk_at_any_write_leaves_the_dataset_of_before(ours, source, arm, monkeypatch):
    monkeypatch.setattr(encode, "BATCH_PARTS", 8)
    prepare(ours)
    before = data_bytes(ours)
    passages = []
    monkeypatch.setattr(encode.faults, "passage", lambda point: passages.append(point) or "")
    (source / "new.txt").write_text("a new text\n" * 9)
    prepare(ours)
    after = data_bytes(ours)
    assert after != before
    monkeypatch.undo()
    monkeypatch.setattr(encode, "BATCH_PARTS", 8)
    (source / "new.txt").unlink()
    prepare(ours)
    assert data_bytes(ours) == before
    n = passages.count("encode.write")
    (source / "new.txt").write_text("a new text\n" * 9)
    for number in [*range(1, 6), *range(6, n - 4, 17), *range(n - 4, n + 1)]:
        arm(f"encode.write:{number}:enospc")
        with pytest.raises(DiskError) as caught:
            prepare(ours)
        assert caught.value.code == "E-DISK-FULL"
        assert data_bytes(ours) == before, number
        assert not (ours.data_dir / ".building").exists()
    arm("")
    prepare(ours)
    assert by_name(ours, "train") | by_name(ours, "val") == expected_documents(
        source, library_of(ours.tokenizer_dir)
    )


def test_a_full_disk_in_the_cache_is_one_disk_error(ours, arm):
    scan(ours)
    arm("db.commit:1:enospc")
    with pytest.raises(DiskError):
        prepare(ours)
    arm("")
    prepare(ours)


def test_a_data_folder_that_cannot_be_made_is_a_disk_error(ours):
    ours.data_dir.write_text("a file in the way")
    with pytest.raises(DiskError):
        prepare(ours)


@pytest.mark.parametrize("at", [1, 10, 20, 30])
def test_a_kill_while_encoding_costs_nothing_but_time(ours, monkeypatch, at):
    manifest, _, _ = prepare(ours)
    before = data_bytes(ours)
    (ours.data_dir / "manifest.json").unlink()
    with Index(ours.db_path) as index:
        index.forget_cache()
    program = (
        "import pathlib, sys; from tests.helpers import prepare; from sllm_core import encode\n"
        "encode.BATCH_PARTS = 4\n"
        "from sllm_core.project import Project; prepare(Project(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ours.root], cwd=ROOT, capture_output=True, check=False,
        env={**os.environ, "SLLM_FAULT": f"encode.write:{at}:kill"},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert dataset.load_manifest(ours) is None
    _, _, messages = prepare(ours)
    assert data_bytes(ours) == before
    assert manifest == dataset.load_manifest(ours)
    assert bool(prepared(messages).cached_docs) == (at > 3)


def test_stop_keeps_what_was_encoded(ours, monkeypatch):
    monkeypatch.setattr(encode, "BATCH_PARTS", 2)
    scan(ours)
    wishes = []

    def desired() -> Desired:
        wishes.append(None)
        return Desired(state="stop" if len(wishes) > 12 else "run")

    prepare(ours)
    (ours.data_dir / "manifest.json").unlink()
    with Index(ours.db_path) as index:
        index.forget_cache()
    with pytest.raises(Cancelled):
        pipeline.prepare(ours, ours.load_config(), pipeline.Job(lambda _: None, desired))
    assert dataset.load_manifest(ours) is None
    _, _, messages = prepare(ours)
    assert prepared(messages).cached_docs > 0
    assert prepared(messages).encoded_docs < 32


def test_other_options_make_another_dataset(ours):
    first = prepare(ours)[0]
    change(ours, val_split=0.4)
    second, _, messages = prepare(ours)
    assert first.dataset_id != second.dataset_id
    assert prepared(messages).encoded_docs == 0
    assert second.val_docs > first.val_docs


def test_an_encoder_is_proven_once_and_again_when_it_is_another(ours, source, monkeypatch):
    asked = []

    def prove(self, texts):
        asked.append(list(texts))
        return self.engine_version != "liar"

    monkeypatch.setattr(Tokenizer, "prove_engine", prove)
    write_corpus(source, 30, words=200)
    prepare(ours)
    (source / "new.txt").write_text("one more text\n" * 20)
    prepare(ours)
    assert len(asked) == 1 and len(asked[0]) > 10
    monkeypatch.setattr(Tokenizer, "engine_version", "liar")
    for n in range(2):  # what was not proven is asked again
        (source / f"newer{n}.txt").write_text(f"another text {n}\n" * 20)
        prepare(ours)
    assert len(asked) == 3


def test_nothing_to_train_on_is_said(tmp_path):
    (tmp_path / "a.exe").write_text("x")
    (tmp_path / "source").mkdir()
    ours = make_project(tmp_path / "project", tmp_path / "source")
    with pytest.raises(DataError) as caught:
        prepare(ours)
    assert caught.value.code == "E-DATA-EMPTY"


def builder(ours, index, tokenizer, **more) -> encode.Builder:
    """One of the scanned files of a project."""
    config = ours.load_config()
    units, division = pipeline.divide(index, config)
    rest = {"threads": 2, "on_progress": lambda *_: None, "check": lambda: None} | more
    return encode.Builder(
        ours, index, tokenizer, texts=Texts.of(ours, config), units=units, division=division, **rest
    )


def test_weights_of_progress_are_bytes_of_text_and_end_at_the_total(ours, source):
    scan(ours)
    told = []
    with Index(ours.db_path) as index:
        builder(
            ours, index, byte_tokenizer(), on_progress=lambda *numbers: told.append(numbers)
        ).build()
    total = sum(len(text_of(path).encode()) for path in source.iterdir())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_large_vocabulary_is_stored_in_four_bytes(ours, source, monkeypatch):
    scan(ours)
    made = byte_tokenizer()
    made.vocab_size = 70_000
    with Index(ours.db_path) as index:
        manifest = builder(ours, index, made, threads=1).build()
    assert np.load(ours.data_dir / "train.npy").dtype == np.dtype("<u4")
    assert dataset.open_tokens(ours, manifest, "train").shape == (manifest.train_tokens,)


# What the tokenizer learns from


def test_the_tokenizer_learns_from_training_texts_only_and_not_more_than_asked(ours, source):
    change(ours, val_split=0.3)
    scan(ours)
    reader = Texts.of(ours, ours.load_config())
    with Index(ours.db_path) as index:
        units, division = pipeline.divide(index, ours.load_config())
        used = list(index.used_files())
        texts = list(encode.sample_texts(index, reader, units, division, 1 << 30))
        few = list(encode.sample_texts(index, reader, units, division, 5000))
    train = [x for x, side in zip(used, division.sides, strict=True) if side == TRAIN]
    assert len(train) < len(used)
    assert Counter(texts) == Counter(text_of(source / x.path_text) for x in train)
    assert 5000 <= sum(len(text.encode()) for text in few) < 5000 + len(max(texts, key=len))
    assert few == texts[: len(few)]


def test_two_sources_keep_their_order_and_their_both_sides(tmp_path):
    write_corpus(tmp_path / "b", 12, words=12, name="b")
    write_corpus(tmp_path / "a", 12, words=12, name="a")
    ours = make_project(
        tmp_path / "project",
        SourceConfig(1, str(tmp_path / "b")),
        SourceConfig(2, str(tmp_path / "a")),
    )
    prepare(ours)
    train, val = list(by_name(ours, "train")), list(by_name(ours, "val"))
    for names in (train, val):
        assert {name[0] for name in names} == {"a", "b"}
        assert names == sorted(names, key=lambda name: (name[0] == "a", name))
