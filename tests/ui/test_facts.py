"""The facts of a project's data are counted as one would count them by hand."""

import json

import numpy as np
import pytest

from sllm_core.corpus.index import FileRow, Index
from sllm_core.errors import ProjectError
from sllm_ui.facts import Facts, read_facts
from tests.helpers import library_of, make_project, prepare, scan, select, write_corpus


@pytest.fixture
def mixed(tmp_path):
    """Two sources: prose and code, a broken file, an empty one and one in an old encoding."""
    prose, code = tmp_path / "prose", tmp_path / "code"
    write_corpus(prose, 20)
    write_corpus(code, 5, words=300, name="mod")
    for path in list(code.glob("*.txt")):
        path.rename(path.with_suffix(".py"))
    (prose / "blob.txt").write_bytes(bytes(range(256)) * 40)
    for number in range(3):
        (prose / f"empty{number}.txt").write_bytes(b"")
    (prose / "old.txt").write_bytes("Grüße aus der Küche, schöne Bücher. ".encode("cp1252") * 30)
    return make_project(tmp_path / "p", prose, code)


def test_a_project_without_anything_knows_nothing(tmp_path):
    facts = read_facts(make_project(tmp_path / "p"))
    assert facts == Facts()
    assert (facts.tokens, facts.bytes_per_token, facts.vocab_size) == (None, None, None)
    assert not (tmp_path / "p" / "project.db").exists()  # looking makes nothing


def test_counts_of_a_scan_add_up_to_the_files_on_the_disk(mixed, tmp_path):
    told = scan(mixed)
    facts = read_facts(mixed)
    on_disk = [p for name in ("prose", "code") for p in (tmp_path / name).iterdir()]
    assert facts.is_scanned
    assert facts.listed == len(on_disk) == facts.used + facts.skipped + facts.failed
    assert (facts.used, facts.skipped, facts.failed) == (told.used, told.skipped, told.failed)
    assert sum(n for _, _, n in facts.reasons) == facts.skipped + facts.failed
    assert [n for _, _, n in facts.reasons] == sorted((n for *_, n in facts.reasons), reverse=True)
    assert facts.reasons[0][2] == 3
    assert {r for _, r, _ in facts.reasons} == set(told.reasons)
    rows = select(mixed, "SELECT source_id, COUNT(*) FROM files WHERE state='used' GROUP BY 1")
    assert {(number, n) for number, n, _ in facts.sources} == set(rows)
    assert sum(size for *_, size in facts.kinds) == facts.text_bytes == told.used_bytes
    assert {kind for kind, *_ in facts.kinds} >= {".txt", ".py"}
    assert facts.converted == 1
    assert (facts.tokens, facts.dataset_id) == (None, "")


def test_tokens_are_those_in_the_token_files(mixed, tmp_path):
    manifest, tokenizer, _ = prepare(mixed)
    facts = read_facts(mixed)
    train, val = (np.load(mixed.data_dir / f"{side}.npy") for side in ("train", "val"))
    assert (facts.train_tokens, facts.val_tokens) == (len(train), len(val))
    assert facts.tokens == len(train) + len(val)
    assert facts.dataset_id == manifest.dataset_id
    assert facts.vocab_size == library_of(mixed.tokenizer_dir).get_vocab_size()
    assert facts.tokenizer_sha256 == facts.data_tokenizer == tokenizer.sha256
    assert facts.bytes_per_token == pytest.approx(facts.prepared_bytes / facts.tokens)
    assert 1.0 < facts.bytes_per_token < 9.0
    assert facts.unencoded == 0
    assert not facts.is_tokenizer_imported
    assert dict(facts.tokenizer_wish)["target_vocab_size"] == 300
    # Each document ends with one [EOS], which no source has; duplicates are left out of the data.
    assert sum(n for _, n in facts.source_tokens) <= facts.tokens
    assert {number for number, _ in facts.source_tokens} == {1, 2}

    write_corpus(tmp_path / "prose", 3, name="later")
    scan(mixed)
    later = read_facts(mixed)
    assert later.unencoded == 3
    assert later.tokens == facts.tokens  # what was prepared is still there


@pytest.mark.parametrize("body", ["", "{", "[1]", "null", '"x"', "[" * 9999])
@pytest.mark.parametrize("name", ["encoded_data/manifest.json", "tokenizer/report.json"])
def test_a_broken_file_beside_the_index_is_unknown_and_no_accident(tmp_path, name, body):
    project = make_project(tmp_path / "p")
    for folder in (project.data_dir, project.tokenizer_dir):
        folder.mkdir()
    (project.tokenizer_dir / "tokenizer.json").write_text("{}")
    (project.root / name).write_text(body)
    assert read_facts(project) == Facts()


def test_a_number_of_the_wrong_type_is_unknown(tmp_path):
    project = make_project(tmp_path / "p")
    project.data_dir.mkdir()
    body = {"train_tokens": "12", "val_tokens": True, "train_text_bytes": None}
    (project.data_dir / "manifest.json").write_text(json.dumps(body))
    facts = read_facts(project)
    assert (facts.train_tokens, facts.val_tokens, facts.tokens) == (None, None, None)
    assert facts.bytes_per_token is None


def test_a_report_without_its_tokenizer_counts_for_nothing(tmp_path):
    project = make_project(tmp_path / "p")
    project.tokenizer_dir.mkdir()
    (project.tokenizer_dir / "report.json").write_text('{"vocab_size": 500}')
    assert read_facts(project).vocab_size is None


def test_a_damaged_index_is_an_error_in_words(tmp_path):
    project = make_project(tmp_path / "p")
    project.db_path.write_bytes(b"this is no database, whatever its name says" * 50)
    with pytest.raises(ProjectError) as caught:
        read_facts(project)
    assert len(caught.value.text.splitlines()) <= 3


def test_tables_scores_copies_and_the_cache_are_counted_by_source(tmp_path):
    project = make_project(tmp_path / "p", tmp_path)
    rows = [
        FileRow(1, b"a.csv", "a.csv", 9, 1, 1, 1, "used", text_hash=b"a", records=70),
        FileRow(1, b"b.csv", "b.csv", 9, 1, 1, 2, "skipped", "columns"),
        FileRow(2, b"c.txt", "c.txt", 9, 1, 1, 3, "used", text_hash=b"c"),
        FileRow(2, b"d.txt", "d.txt", 9, 1, 1, 4, "used", text_hash=b"d"),
        FileRow(2, b"e.txt", "e.txt", 9, 1, 1, 5, "used", text_hash=b"e"),
    ]
    with Index(project.db_path) as index:
        index.put_files(rows, 1)
        index.write(
            "UPDATE files SET score = ?, dup_kind = ? WHERE path_text = ?",
            [(40, "", "c.txt"), (40, "near", "d.txt"), (90, "exact", "e.txt"), (9, "", "b.csv")],
        )
    for folder, size in (("cache", 100), ("texts", 20)):
        (project.data_dir / folder).mkdir(parents=True)
        (project.data_dir / folder / "x").write_bytes(b"0" * size)
    facts = read_facts(project)
    assert facts.documents == ((1, 70), (2, 3))
    assert facts.tables == ((1, 1, 1),)
    assert facts.scores == ((2, 40, 2), (2, 90, 1)), "of used files only"
    assert facts.copies == ((2, 2),)
    assert facts.cache_bytes == 120


def test_a_prepared_table_is_the_text_of_the_files(tmp_path):
    (tmp_path / "src").mkdir()
    rows = "".join(json.dumps({"text": f"Row {n} has {n * n} words."}) + "\n" for n in range(200))
    (tmp_path / "src" / "rows.jsonl").write_text(rows)
    (tmp_path / "src" / "a.txt").write_text("Beside it some plain text. " * 40)
    project = make_project(tmp_path / "p", tmp_path / "src")
    prepare(project)
    facts = read_facts(project)
    assert facts.joints == 200
    assert facts.is_same_text
    (tmp_path / "src" / "b.txt").write_text("More text. " * 40)
    scan(project)
    assert not read_facts(project).is_same_text
