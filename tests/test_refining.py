"""Analyse, move away, leave out, take back, look for leaks: through the jobs themselves."""

import gzip
import json
import random
import shutil
import sqlite3
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from sllm_core.corpus import groups
from sllm_core.corpus import index as module
from sllm_core.corpus.index import Index
from sllm_core.errors import Cancelled, DataError
from sllm_core.jobs import pipeline, refining
from sllm_core.messages import Desired, LeakReport, Refined
from tests.helpers import (
    change,
    data_bytes,
    documents,
    make_project,
    prepare,
    prepared,
    rows,
    run_python,
    scan,
    select,
)

LIBRARY = Path(sysconfig.get_path("stdlib"))
MODULES = sorted(path for path in LIBRARY.glob("*.py") if 4000 < path.stat().st_size < 20_000)


def job() -> pipeline.Job:
    return pipeline.Job(lambda _: None)


def refine(ours) -> Refined:
    return refining.refine(ours, ours.load_config(), job())


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file: its bytes and its date."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def source(tmp_path):
    """Good code, copies of some of it, one edited copy, junk."""
    folder = tmp_path / "source"
    folder.mkdir()
    for path in MODULES[:24]:
        shutil.copy(path, folder / path.name)
    (folder / "twin").mkdir()
    shutil.copy(MODULES[0], folder / "twin" / "exact.py")
    lines = MODULES[1].read_text(encoding="utf-8").split("\n")
    lines.insert(len(lines) // 2, "# one more line in the middle")
    (folder / "twin" / "near.py").write_text("\n".join(lines), encoding="utf-8")
    letters = random.Random(1)
    junk = "".join(letters.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6000))
    (folder / "junk.txt").write_text(junk)
    return folder


@pytest.fixture
def ours(tmp_path, source):
    return make_project(tmp_path / "project", source, target_vocab_size=400)


def test_junk_falls_copies_are_found_and_good_code_stays(ours, source):
    said = refine(ours)
    assert (said.files, said.failed, said.exact, said.near) == (27, 0, 1, 1)
    scores = dict(select(ours, "SELECT path_text, score FROM files"))
    assert scores["junk.txt"] < 50 <= min(v for k, v in scores.items() if k != "junk.txt")
    ((kind, similarity, keeper),) = select(
        ours,
        "SELECT a.dup_kind, a.similarity, b.path_text FROM files a JOIN files b "
        "ON a.duplicate_of = b.id WHERE a.dup_kind = 'near'",
    )
    assert kind == "near" and similarity > 0.9
    assert {keeper} <= {MODULES[1].name, "twin/near.py"}
    (reasons,) = select(ours, "SELECT reasons FROM files WHERE path_text = 'junk.txt'")[0]
    for reason in json.loads(reasons):
        assert set(reason) == {"code", "value", "limit"}


def test_what_was_measured_is_not_measured_again(ours, source):
    assert refine(ours).analysed == 26  # the exact copy shares its result
    assert refine(ours).analysed == 0
    (source / MODULES[2].name).rename(source / "renamed.py")
    shutil.copy(MODULES[30], source / "added.py")
    said = refine(ours)
    assert said.analysed == 1
    assert dict(select(ours, "SELECT path_text, score FROM files"))["renamed.py"] is not None


def test_moving_and_undo_bring_every_byte_and_date_back(ours, source):
    refine(ours)
    before = snapshot(source)
    moved = refining.remove(ours, ours.load_config(), job(), {"kind": "trash"})
    assert moved.files == 3
    assert not (source / "junk.txt").exists()
    assert "junk.txt" not in rows(ours)
    assert Path(moved.folder).is_dir()
    said = scan(ours)
    assert (said.listed, said.used) == (24, 24)  # nothing of the trash is listed
    back = refining.restore(ours, ours.load_config(), job(), {"batch": moved.batch})
    assert (back.files, back.kept) == (3, {})
    assert snapshot(source) == before
    assert rows(ours)["junk.txt"] == ("used", "")
    with pytest.raises(DataError) as caught:
        refining.restore(ours, ours.load_config(), job(), {})
    assert caught.value.code == "E-DATA-BATCH"


def test_a_file_that_changed_after_the_analysis_stays_where_it_is(ours, source):
    refine(ours)
    (source / "junk.txt").write_text("it is another text now\n")
    moved = refining.remove(ours, ours.load_config(), job(), {"verdicts": ["drop"]})
    assert (moved.files, moved.kept) == (0, {"changed": 1})
    assert (source / "junk.txt").read_text() == "it is another text now\n"


def test_what_is_left_out_stays_out_until_it_is_taken_back(ours, source):
    refine(ours)
    before = snapshot(source)
    ids = [row[0] for row in select(ours, "SELECT id FROM files WHERE path_text = 'junk.txt'")]
    out = refining.remove(ours, ours.load_config(), job(), {"kind": "exclude", "ids": ids})
    assert out.files == 1
    for _ in range(2):
        scan(ours)
        assert rows(ours)["junk.txt"] == ("skipped", "excluded")
    prepare(ours)
    trained = {number for side in ("train", "val") for number, _ in documents(ours, side)}
    assert not trained & set(ids)
    assert refining.restore(ours, ours.load_config(), job(), {}).files == 1
    assert rows(ours)["junk.txt"] == ("used", "")
    scan(ours)
    assert rows(ours)["junk.txt"] == ("used", "")
    assert snapshot(source) == before


def test_a_masked_address_is_not_trained_on_but_still_counted(ours, source):
    (source / "mail.txt").write_text("Write to jane.doe@corp.org about the house. " * 40)
    change(ours, mask_emails=True)
    refine(ours)
    ((flags,),) = select(ours, "SELECT flags FROM files WHERE path_text = 'mail.txt'")
    assert json.loads(flags)["emails"] == 40
    prepare(ours)
    config = ours.load_config()
    with Index(ours.db_path) as index:
        (row,) = (row for row in index.used_files() if row.path == b"mail.txt")
        text = groups.Texts.of(ours, config).small(row).decode()
    assert "jane.doe" not in text and "<email>" in text


def words(name: str, first: int, last: int) -> str:
    return " ".join(f"{name}{n}" for n in range(first, last)) + "\n"


def sides_of(ours) -> dict[str, str]:
    return dict(select(ours, "SELECT path_text, split FROM files"))


def test_near_copies_lie_on_one_side_and_added_ones_follow(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.txt").write_text(words(f"w{number}x", 0, 400))
    ours = make_project(tmp_path / "project", folder, target_vocab_size=300, val_split=0.3)
    prepare(ours)
    before = sides_of(ours)
    assert set(before.values()) == {"train", "val"}
    for number in range(40):
        (folder / f"copy{number:02d}.txt").write_text(words(f"w{number}x", 0, 401))
    prepare(ours)
    after = sides_of(ours)
    assert {name: after[name] for name in before} == before
    for number in range(40):
        assert after[f"copy{number:02d}.txt"] == after[f"{number:02d}.txt"]


def test_a_text_between_the_sides_waits_outside_until_one_of_them_is_gone(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}a.txt").write_text(words(f"w{number}x", 0, 1000))
        (folder / f"{number:02d}b.txt").write_text(words(f"w{number}x", 600, 1600))
    ours = make_project(tmp_path / "project", folder, target_vocab_size=300, val_split=0.4)
    change(ours, near_threshold=0.5)
    prepare(ours)
    sides = sides_of(ours)
    number = next(n for n in range(20) if sides[f"{n:02d}a.txt"] != sides[f"{n:02d}b.txt"])
    (folder / "between.txt").write_text(words(f"w{number}x", 300, 1300))
    prepare(ours)
    assert rows(ours)["between.txt"] == ("skipped", "would-leak")
    assert {name: side for name, side in sides_of(ours).items() if side} == sides
    assert scan(ours).reasons == {"would-leak": 1}
    (folder / f"{number:02d}b.txt").unlink()
    prepare(ours)
    assert rows(ours)["between.txt"] == ("used", "")
    assert sides_of(ours)["between.txt"] == sides[f"{number:02d}a.txt"]


def test_leaks_are_found_in_files_that_are_named(ours, source, tmp_path):
    prepare(ours)
    trained = next(
        name for name, side in select(ours, "SELECT path_text, split FROM files") if side == "train"
    )
    test_file = tmp_path / "test.txt"
    test_file.write_bytes((source / trained).read_bytes())
    fresh = tmp_path / "fresh.txt"
    fresh.write_text(" ".join(f"word{n * 7919 % 1009}" for n in range(3000)))
    options = {"files": [str(test_file), str(fresh)]}
    said = refining.find_leaks(ours, ours.load_config(), job(), options)
    assert isinstance(said, LeakReport)
    assert (said.documents, said.leaking, said.identical) == (2, 1, 1)
    assert said.rows[0][:2] == ("test.txt", 1.0)
    own = refining.find_leaks(ours, ours.load_config(), job(), {})
    assert (own.identical, own.shared_clusters) == (0, 0)


def test_stop_ends_the_analysis_and_keeps_what_was_measured(ours):
    wishes = iter([Desired()] * 60)
    work = pipeline.Job(lambda _: None, lambda: next(wishes, Desired(state="stop")))
    with pytest.raises(Cancelled):
        refining.refine(ours, ours.load_config(), work)
    assert refine(ours).files == 27


# Formats that are not plain text, through the whole road


def test_texts_of_other_formats_are_extracted_once_and_trained_on(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    texts = [
        f"Record {n} tells of {n * n} things that happened in the year {n}.\n" for n in range(40)
    ]
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    (folder / "z.txt.gz").write_bytes(gzip.compress(b"packed text that is long enough\n" * 50))
    (folder / "page.html").write_text("<html><body><p>One &amp; two</p><script>no</script></body>")
    (folder / "damaged.docx").write_bytes(b"PK\x03\x04 nothing of a document")
    ours = make_project(tmp_path / "project", folder, target_vocab_size=272)
    said = scan(ours)
    assert (said.listed, said.used, said.failed) == (4, 3, 1)
    assert rows(ours)["damaged.docx"] == ("failed", "parse")
    assert scan(ours).read_files == 0
    _, used, _ = prepare(ours)
    found = {}
    for side in ("train", "val"):
        for number, ids in documents(ours, side):
            found.setdefault(number, []).append(used.decode(ids))
    names = dict(select(ours, "SELECT id, path_text FROM files"))
    by_name = {names[number]: parts for number, parts in found.items()}
    assert sorted(by_name["t.jsonl"]) == sorted(texts)
    assert "".join(by_name["z.txt.gz"]) == "packed text that is long enough\n" * 50
    assert "".join(by_name["page.html"]).strip() == "One & two"
    assert dict(select(ours, "SELECT path_text, records FROM files"))["t.jsonl"] == 40
    before = data_bytes(ours)
    refining.clear(ours, job())
    assert not [*(ours.data_dir / "texts").iterdir(), *(ours.data_dir / "cache").iterdir()]
    assert scan(ours).read_files == 3
    assert len(list((ours.data_dir / "texts").glob("*.txt"))) == 3
    _, _, messages = prepare(ours)
    assert (prepared(messages).cached_docs, prepared(messages).encoded_docs) == (0, 42)
    assert data_bytes(ours) == before


def test_another_column_gives_another_text(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    lines = [json.dumps({"a": f"left side {n} of it", "b": f"right side {n}"}) for n in range(30)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    ours = make_project(tmp_path / "project", folder, target_vocab_size=272)
    config = ours.load_config()
    source = config.sources[0]
    for column, word in (("b", "right"), ("a", "left")):
        ours.save_config(replace(config, sources=(replace(source, columns=(column,)),)))
        _, used, _ = prepare(ours)
        text = "".join(used.decode(ids) for _, ids in documents(ours, "train"))
        assert text.count(word) == text.count("side") > 20


def test_an_index_of_the_first_schema_is_brought_along_with_a_copy(tmp_path):
    path = tmp_path / "project.db"
    with sqlite3.connect(path) as db:
        db.executescript(f"{module._SCHEMA_1}PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO files (source_id, path, path_text, size, mtime_ns, dev, inode, state, "
            "reason, scan_id, text_hash) VALUES (1, ?, 'a', 1, 1, 1, 1, 'used', '', 1, ?)",
            (b"a", b"h" * 16),
        )
    db.close()
    with Index(path) as index:
        assert [row.path for row in index.used_files()] == [b"a"]
        index.put_files([], 1)
        assert next(index.read("SELECT COUNT(*) FROM analysis"))[0] == 0
    with sqlite3.connect(path.with_suffix(".db.schema1")) as old:
        assert old.execute("PRAGMA user_version").fetchone()[0] == 1
    old.close()


def test_work_on_the_data_needs_no_torch():
    program = (
        "import sys, sllm_core.jobs.refining, sllm_core.jobs.pipeline\nprint(sorted(sys.modules))"
    )
    done = run_python(program)
    assert "'sllm_core.encode'" in done.stdout
    assert "'torch'" not in done.stdout
