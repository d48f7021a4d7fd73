"""What a person looks at is there at once, whatever the file is; and the numbers are the truth."""

import json
import os
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core import messages
from sllm_core.errors import DataError, TokenizerError
from sllm_core.jobs import look
from sllm_core.jobs.look import Looker
from sllm_core.tokenizer import byte_tokenizer, train
from tests.helpers import make_project, prepare, run_python, scan, write_corpus

USED = train(["the cat sat on the mat, the cat ran. " * 50, "def f(x):\n    return x\n" * 50], 400)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared project over thirty small documents."""
    folder = tmp_path_factory.mktemp("look")
    write_corpus(folder / "src")
    project = make_project(folder / "project", folder / "src", target_vocab_size=400)
    prepare(project)
    return project


@pytest.fixture
def bare(tmp_path):
    return make_project(tmp_path / "project", tmp_path)


def preview(project, what, limit=200, **more):
    return Looker(project).answer({"request": 4, "preview": what, "limit": limit, **more})


def pieces(shown):
    starts = (0, *shown.ends)
    return [shown.text[a:b] for a, b in zip(starts, shown.ends, strict=False)]


# previews


def test_a_preview_is_the_text_that_training_reads_with_its_tokens(prepared):
    path = prepared.root.parent / "src" / "doc003.txt"
    shown = preview(prepared, str(path), limit=50)
    assert shown.request == 4
    assert shown.name == "doc003.txt"
    assert shown.text == path.read_text()[:50]
    assert (shown.encoding, shown.is_converted, shown.is_cut) == ("utf-8", False, True)
    assert "".join(pieces(shown)) == shown.text
    assert shown.n_tokens == len(shown.ends) == len(Looker(prepared).tokenizer().encode(shown.text))
    assert shown.n_bytes == path.stat().st_size


def test_a_listed_file_is_named_by_its_source_and_path_bytes(prepared):
    what = {"source_id": 1, "path": b"doc003.txt".hex()}
    by_path = preview(prepared, str(prepared.root.parent / "src" / "doc003.txt"))
    assert preview(prepared, what) == by_path
    with pytest.raises(DataError):
        preview(prepared, {"source_id": 9, "path": "61"})


def test_a_listed_file_is_shown_in_the_encoding_that_the_scan_found(tmp_path):
    text = "Größe und Übermut, ärgerlich schön. " * 200
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "alt.txt").write_bytes(text.encode("cp1252"))
    project = make_project(tmp_path / "project", tmp_path / "src")
    scan(project)
    shown = preview(project, {"source_id": 1, "path": b"alt.txt".hex()})
    assert shown.text == text[:200]
    assert shown.is_converted
    assert shown.encoding not in {"", "utf-8"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x00\x01\x02" * 100, "binary"),
        (b"text\0text", "binary"),
        (bytes(range(1, 256)) * 40, "encoding"),
        ("über".encode()[:-3] + b"\xff\xfe\xfd" + "ü".encode() * 900, "encoding"),
        (b"\xff\xfe\x00\xd8\x00", "encoding"),  # UTF-16 with half a pair
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
    ],
    ids=["elf", "nul", "all bytes", "damaged", "half pair", "empty", "mark"],
)
def test_a_file_without_text_is_named_with_its_reason_and_shows_nothing(bare, data, reason):
    path = bare.root / "x.txt"
    path.write_bytes(data)
    shown = preview(bare, str(path))
    assert (shown.text, shown.reason, shown.ends) == ("", reason, ())
    assert shown.note.endswith(".")


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_what_is_no_file_never_hangs(bare):
    os.mkfifo(bare.root / "pipe")
    for name, reason in (
        ("pipe", "not-regular"),
        ("gone", "changed"),
        ("/dev/zero", "not-regular"),
    ):
        assert preview(bare, name).reason == reason
        assert preview(bare, name, raw=True).reason == reason
    assert preview(bare, str(bare.root)).reason in {"not-regular", "unreadable"}


def test_of_a_huge_file_only_the_beginning_is_read(bare):
    path = bare.root / "huge.txt"
    with path.open("wb") as file:
        file.write(b"line of text\n" * 20_000)
        file.truncate(50 << 30)  # sparse: reading it whole would take minutes
    shown = preview(bare, str(path), limit=100)
    assert shown.text == ("line of text\n" * 20)[:100]
    assert shown.n_bytes == 50 << 30
    assert "50" in shown.note


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-8-sig"])
def test_a_beginning_never_ends_inside_a_character(bare, encoding):
    text = "a😀ü語\r\n" * 40_000
    path = bare.root / "x.txt"
    path.write_bytes(text.encode(encoding))
    shown = preview(bare, str(path), limit=10**9)
    assert shown.text == text.replace("\r\n", "\n")[: look.MOST_CHARS]


def test_raw_bytes_are_shown_as_bytes(bare):
    (bare.root / "x").write_bytes(b"\x00ABC\xff" + b"z" * 9000)
    shown = preview(bare, "x", raw=True)
    assert shown.text.startswith("00000000  00 41 42 43 ff 7a")
    assert shown.text.splitlines()[0].endswith("|.ABC.zzzzzzzzzzz|")
    assert shown.is_cut
    assert shown.encoding == "bytes"


@pytest.mark.parametrize("letter", ["\x01", "😀", "語", '"', "a"])
def test_the_longest_preview_fits_one_line_of_a_message(prepared, tmp_path, letter):
    path = tmp_path / "x.txt"
    path.write_text(letter * 100_000, encoding="utf-8")
    shown = preview(prepared, str(path), limit=10**9)
    assert len(shown.text) == look.MOST_CHARS
    line = messages.encode(shown, 0)
    assert messages.decode(line.encode()) == (shown, 0)


@given(st.text(max_size=60))
@settings(deadline=None)
@pytest.mark.parametrize("used", [USED, byte_tokenizer()], ids=["bpe", "bytes"])
def test_the_pieces_of_a_text_are_its_tokens(used, text):
    text = text.encode("utf-8", "replace").decode()
    ids = used.encode(text)
    ends = look.token_ends(text, ids, used)
    assert len(ends) == len(ids)
    assert list(ends) == sorted(ends)
    assert (not ends and not text) or ends[-1] == len(text)
    for n in range(len(ids)):  # a token that ends at a character ends there
        whole = used.decode_bytes(ids[: n + 1])
        assert ends[n] == len(whole.decode("utf-8", errors="ignore"))


# how a file is shown


@pytest.fixture
def formats(tmp_path):
    """A project over a table, a page, code and a table without a text, scanned."""
    src = tmp_path / "src"
    src.mkdir()
    rows = [{"id": n, "text": f"Körper number {n}, " + "long text " * n} for n in range(5)]
    (src / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (src / "b.html").write_text("<html><body><p>Seen</p><script>hidden()</script></body></html>")
    (src / "c.py").write_text('"""Doc."""\n\n\ndef f():\n    return 1  # why\t\n')
    (src / "d.csv").write_text("n,m\n1,2\n3,4\n")
    project = make_project(tmp_path / "project", src)
    scan(project)
    return project


def listed(project, name, **more):
    return preview(project, {"source_id": 1, "path": name.encode().hex()}, limit=5000, **more)


def test_a_record_of_a_table_is_shown_by_its_number(formats):
    shown = [listed(formats, "a.jsonl", record=n, mode="extracted") for n in (0, 3, 99, -1)]
    assert [text.text.split(",")[0] for text in shown] == [
        "Körper number 0", "Körper number 3", "Körper number 4", "Körper number 0",
    ]  # fmt: skip
    assert shown[1].n_bytes == len(shown[1].text.encode())
    cut = preview(formats, {"source_id": 1, "path": b"a.jsonl".hex()}, limit=3, record=2)
    assert (cut.text, cut.is_cut) == ("Kör", True)


def test_raw_is_the_file_extracted_its_text_cleaned_what_is_trained_on(formats):
    byte_tokenizer().save(formats.tokenizer_dir)
    raw, text, cleaned = (
        listed(formats, "b.html", mode=mode) for mode in ("raw", "extracted", "cleaned")
    )
    assert raw.text.splitlines()[0].startswith("00000000  3c 68 74 6d 6c")
    assert text.text.strip() == cleaned.text.strip() == "Seen"
    assert (text.ends, text.n_tokens) == ((), None)
    assert cleaned.n_tokens == len(cleaned.ends) == len(cleaned.text)


def test_cleaned_is_what_the_options_leave_and_a_wish_is_only_tried(formats):
    before = listed(formats, "c.py", mode="extracted").text
    assert listed(formats, "c.py", mode="cleaned").text == before
    wish = {"strip_docstrings": True, "strip_comments": True, "trailing_blanks": True, "odd": True}
    tried = listed(formats, "c.py", mode="cleaned", clean=wish).text
    assert tried.strip() == "def f():\n    return 1"
    assert listed(formats, "c.py", mode="extracted", clean=wish).text == before
    config = formats.load_config()
    formats.save_config(replace(config, clean=replace(config.clean, strip_comments=True)))
    assert "why" not in listed(formats, "c.py").text
    assert '"""Doc."""' in listed(formats, "c.py").text


def test_a_table_without_its_column_says_so_and_shows_its_columns(formats):
    shown = listed(formats, "d.csv")
    assert (shown.text, shown.reason) == ("", "columns")
    assert "columns" in shown.note
    what = {"source_id": 1, "path": b"d.csv".hex()}
    found = Looker(formats).answer({"request": 9, "columns": what})
    assert (found.request, found.name, found.columns) == (9, "d.csv", (("n", "1"), ("m", "2")))
    assert found.chosen == ()
    what["path"] = b"a.jsonl".hex()
    assert Looker(formats).answer({"request": 9, "columns": what}).chosen == ("text",)
    config = formats.load_config()
    formats.save_config(replace(config, sources=(replace(config.sources[0], columns=("id",)),)))
    assert Looker(formats).answer({"request": 9, "columns": what}).chosen == ("id",)


def test_columns_of_what_is_no_table_are_an_error_in_words(formats):
    for name in ("c.py", "b.html", "gone.csv"):
        with pytest.raises(DataError):
            Looker(formats).answer(
                {"request": 9, "columns": {"source_id": 1, "path": name.encode().hex()}}
            )


def test_a_file_that_changed_since_the_scan_is_not_shown_as_it_was(formats):
    path = formats.root.parent / "src" / "b.html"
    path.write_text("<p>Another text</p>")
    shown = listed(formats, "b.html")
    assert (shown.text, shown.reason) == ("", "changed")
    assert listed(formats, "b.html", mode="raw").text.startswith("00000000")


def test_a_text_store_that_was_emptied_is_said(formats):
    for path in (formats.data_dir / "texts").iterdir():
        path.unlink()
    for name in ("a.jsonl", "b.html"):
        shown = listed(formats, name)
        assert (shown.text, shown.reason) == ("", "changed")
        assert shown.note.endswith(".")


# counts


def test_a_count_is_that_of_the_tokenizer_and_none_without_one(prepared, bare):
    count = Looker(prepared).answer({"request": 1, "count": "a täxt"})
    assert count.n_tokens == len(Looker(prepared).tokenizer().encode("a täxt"))
    assert count.n_bytes == 7
    assert Looker(bare).answer({"request": 1, "count": "abc"}).n_tokens is None


def test_a_new_tokenizer_is_noticed_and_a_broken_one_said(bare):
    looker = Looker(bare)
    assert looker.tokenizer() is None
    byte_tokenizer().save(bare.tokenizer_dir)
    assert looker.answer({"request": 1, "count": "abc"}).n_tokens == 3
    (bare.tokenizer_dir / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError):
        looker.answer({"request": 1, "count": "abc"})


# the report


def test_the_report_counts_what_is_there(prepared):
    report = Looker(prepared).answer({"request": 3, "report": True})
    used = Looker(prepared).tokenizer()
    assert (report.vocab_size, report.n_special) == (used.vocab_size, 16)
    assert report.sample_files > 0
    assert report.bytes_per_token == pytest.approx(
        report.sample_bytes / report.sample_tokens, abs=1e-3
    )
    assert report.by_type == {".txt": report.bytes_per_token}
    assert report.longest_bytes == used.token_bytes().max()
    assert report.longest_text.encode() in {used.decode_bytes([n]) for n in range(used.vocab_size)}
    assert 0 < report.embedding_share < 1
    assert report.line.startswith("doc number")
    assert report.line_ends[-1] == len(report.line)
    assert report.advice


def test_never_and_rare_are_counted_on_the_prepared_data(prepared):
    import numpy as np

    used = Looker(prepared).tokenizer()
    uses = np.bincount(np.load(prepared.data_dir / "train.npy"), minlength=used.vocab_size)
    report = Looker(prepared).answer({"request": 3, "report": True})
    assert report.counted_tokens == uses.sum()
    assert report.n_rare == int(((uses[16:] > 0) & (uses[16:] < 10)).sum())
    possible = [n for n in range(16, used.vocab_size) if not _impossible(used.decode_bytes([n]))]
    assert report.n_never == sum(uses[n] == 0 for n in possible)


def _impossible(part):
    return len(part) == 1 and (part[0] in {0xC0, 0xC1} or part[0] >= 0xF5)


def test_gpt2s_split_is_measured_on_the_same_text(tmp_path, monkeypatch):
    monkeypatch.setattr(look, "_LEAST_COMPARED", 10_000)
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(900)]
    (tmp_path / "src").mkdir()
    for n in range(4):
        text = "".join(f"\n\n    {draw.choice(words)} {draw.randint(0, 9999)}" for _ in range(1200))
        (tmp_path / "src" / f"{n}.txt").write_text(text)
    project = make_project(tmp_path / "project", tmp_path / "src", target_vocab_size=600)
    prepare(project)
    report = Looker(project).answer({"request": 3, "report": True})
    assert "GPT-2" in report.gpt2_note
    assert report.gpt2_bytes_per_token != report.bytes_per_token
    plain = Looker(project).answer({"request": 3, "report": True, "compare": False})
    assert plain.gpt2_bytes_per_token is None


def test_a_report_needs_a_tokenizer(bare):
    with pytest.raises(DataError):
        Looker(bare).answer({"request": 3, "report": True})


def test_a_report_lets_quicker_requests_go_first(prepared):
    breaths = []
    Looker(prepared, lambda: breaths.append(1)).answer({"request": 3, "report": True})
    assert len(breaths) >= 3


# the process


def test_the_child_answers_each_request_by_its_number_without_torch(prepared):
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from sllm_core.jobs.worker import main\n"
        "main(['look', sys.argv[1]])\n"
    )
    requests = [
        {"request": 1, "report": True},
        {"request": 2, "count": "abc"},
        {"request": 3, "preview": "gone"},
        {"request": 4, "preview": {"source_id": 7, "path": ""}},
        {"request": 5, "preview": {"path": "zz"}},
        {"request": 6, "nonsense": 1},
    ]
    text = "not json\n[]\n" + "".join(json.dumps(body) + "\n" for body in requests)
    done = run_python(program, prepared.root, input_text=text)
    found = [messages.decode(line)[0] for line in done.stdout.splitlines()]
    kinds = {message.request: message.type for message in found if hasattr(message, "request")}
    assert kinds[1] == "tokenizer_report"
    assert kinds[2] == "token_count"
    assert kinds[3] == "preview"
    assert kinds[4] == kinds[5] == "failed"
    assert done.returncode == 0, done.stderr
