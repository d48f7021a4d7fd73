"""Text comes out of a file as its author wrote it, or not at all."""

import codecs
import os
import random
import string
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tokenizers
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sllm_core.corpus import extract
from sllm_core.corpus.clean import clean
from sllm_core.corpus.extract import FileId, SkipFile, decode_file, examine, examine_small
from sllm_core.tokenizer import PATTERNS
from tests.helpers import ROOT

PROSE = {
    "fr": "Les élèves français étaient déjà arrivés à l'école où l'été s'achève, même à Noël.\n",
    "de": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Früh übt sich, wer.\n",
    "es": "El niño comió en el jardín; mañana también volverá. ¿Quién sabe qué pasó aquí?\n",
    "sv": "Flygande bäckasiner söka hwila på mjuka tuvor. Det är också mycket kallt på vintern.\n",
    "pl": "Zażółć gęślą jaźń. Późną nocą chłopiec poszedł do źródła, żeby nabrać świeżej wody.\n",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy. Včera večer jsme šli do města pro ovoce.\n",
    "hu": "Árvíztűrő tükörfúrógép. A könyvtárban sok érdekes könyv található, őszintén szólva.\n",
    "tr": "Pijamalı hasta yağız şoföre çabucak güvendi. Öğretmen çocuklara bir hikâye anlattı.\n",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Η γλώσσα αυτή είναι πολύ παλιά και όμορφη.\n",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю. В чащах юга жил бы цитрус.\n",
    "ja": "日本語の文章を正しく読み込めるか確かめるための試験です。吾輩は猫である。名前は無い。\n",
    "zh": "今天天气很好，我们去公园散步。这是一个测试文件，用来检查编码是否正确。\n",
    "ko": "오늘 날씨가 아주 좋아서 우리는 공원에 산책하러 갔습니다. 이것은 시험 문서입니다.\n",
    "he": "היום מזג האוויר יפה מאוד ואנחנו הולכים לטייל בפארק. זהו קובץ בדיקה קטן.\n",
    "code": "/* written by Jürgen Müller at the café */\nint main(void) { return 0; /* déjà vu */ }\n",
}
LEGACY = [
    ("fr", "latin-1"), ("fr", "cp1252"), ("de", "latin-1"), ("de", "cp1252"), ("es", "latin-1"),
    ("sv", "cp1252"), ("pl", "cp1250"), ("cs", "cp1250"), ("cs", "iso8859-2"),
    ("hu", "cp1250"), ("tr", "cp1254"), ("el", "cp1253"), ("ru", "koi8-r"), ("ru", "cp1251"),
    ("ru", "cp866"), ("ja", "shift-jis"), ("ja", "euc-jp"), ("zh", "gbk"), ("ko", "cp949"),
    ("he", "cp1255"), ("code", "latin-1"),
]  # fmt: skip


def read(path: Path, data: bytes) -> str:
    """The text that extract makes of these bytes, or the reason for none."""
    path.write_bytes(data)
    try:
        return decode_file(path)
    except SkipFile as skip:
        return f"<{skip.reason}>"


def facts(path: Path, function=examine_small):
    try:
        return function(path, FileId.of(path.stat()))
    except SkipFile as skip:
        return skip.reason


@pytest.mark.parametrize(("language", "encoding"), LEGACY)
@pytest.mark.parametrize("times", [1, 30])
def test_legacy_text_is_converted_exactly_or_left_out(tmp_path, language, encoding, times):
    text = PROSE[language] * times
    got = read(tmp_path / "a.txt", text.encode(encoding))
    assert got == text or (times == 1 and got == "<encoding>")  # one line may be too little


def test_a_legacy_letter_late_in_a_long_file_is_found(tmp_path):
    text = "all plain letters here\n" * 20_000 + PROSE["es"] * 3
    assert read(tmp_path / "a.txt", text.encode("cp1252")) == text


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le+bom", "utf-16-be+bom", "utf-32-be+bom"],
)
def test_unicode_encodings_with_their_marks_are_read_exactly(tmp_path, encoding):
    text = "".join(PROSE.values()) + "🙂 ends without newline"
    name, _, mark = encoding.partition("+")
    boms = {
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-be": codecs.BOM_UTF32_BE,
    }
    data = (boms[name] if mark else b"") + text.encode(name)
    assert read(tmp_path / "a.txt", data) == text
    assert facts(tmp_path / "a.txt").chars == len(text)


@pytest.mark.parametrize("language", list(PROSE))
@pytest.mark.parametrize("times", [1, 30])
def test_damaged_utf8_is_never_read_as_something_else(tmp_path, language, times):
    data = (PROSE[language] * times).encode()
    cut = data[: max(i for i, byte in enumerate(data) if byte >= 0xC0) + 1]  # a lead byte alone
    assert read(tmp_path / "a.txt", cut) == "<encoding>"
    assert read(tmp_path / "a.txt", data + b"caf\xe9\n") == "<encoding>"
    mixed = data + PROSE["de"].encode("cp1252") * times
    assert read(tmp_path / "a.txt", mixed) == "<encoding>"
    overlong = data + b"\xc0\xaf and \xe0\x80\xaf\n"
    assert read(tmp_path / "a.txt", overlong) == "<encoding>"


def test_a_byte_that_a_code_page_does_not_have_is_not_left_out(tmp_path):
    text = (PROSE["es"] * 3000).encode("cp1252")  # longer than what the detection looks at
    assert read(tmp_path / "a.txt", text) == PROSE["es"] * 3000
    assert read(tmp_path / "a.txt", text + b"\x81\n" + text) == "<encoding>"


def test_letters_that_fit_several_code_pages_are_not_guessed(tmp_path):
    assert read(tmp_path / "a.txt", "naïve\n".encode("cp1252")) == "<encoding>"


@pytest.mark.parametrize("size", [1, 100, 5000, 200_000])
def test_random_bytes_are_never_text(tmp_path, size):
    rng = random.Random(size)
    data = bytes(rng.randrange(128, 256) for _ in range(size))
    assert read(tmp_path / "a.txt", data) == "<encoding>"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("at", [0, 100, 3 << 20])
def test_a_nul_anywhere_means_binary(tmp_path, mark, at):
    data = b"a line of text\n" * 300_000
    (tmp_path / "a.txt").write_bytes(mark + data[:at] + b"\0" + data[at:])
    assert facts(tmp_path / "a.txt") == "binary"
    short = b"caf\xe9 " * 40
    (tmp_path / "a.txt").write_bytes(mark + short + b"\0" + short)
    assert facts(tmp_path / "a.txt") in {"binary", "encoding"}


def test_a_mark_inside_a_text_stays(tmp_path):
    for size in (10, (1 << 20) - 3, 1 << 20):  # the mark at a border of blocks too
        text = "x" * size + "\ufeff\ufeff tail"
        assert read(tmp_path / "a.txt", text.encode()) == text
        (tmp_path / "a.txt").write_bytes(text.encode())
        assert facts(tmp_path / "a.txt").chars == len(text)


@pytest.mark.parametrize("shift", range(3))
def test_line_ends_become_line_feeds_across_block_borders(tmp_path, shift):
    text = "x" * shift + "ab\r\ncd\re\r\r\n" * 130_000 + "\r"
    assert read(tmp_path / "a.txt", text.encode()) == text.replace("\r\n", "\n").replace("\r", "\n")


@given(st.text(alphabet=st.sampled_from("ab\r\n \ufeff\ud800\udfffé"), max_size=40))
def test_cleaning_keeps_all_but_line_ends_the_mark_and_surrogates(text):
    expected = text[1:] if text[:1] == "\ufeff" else text
    expected = expected.replace("\r\n", "\n").replace("\r", "\n")
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in expected)
    assert clean(text) == expected


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(alphabet=st.sampled_from("ab é\r\n\ufeff日🙂"), min_size=1, max_size=400),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_reading_in_tiny_blocks_gives_the_same_facts(tmp_path_factory, text, encoding):
    path = tmp_path_factory.mktemp("x") / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        whole = facts(path)
        patch.setattr(extract, "_READ_BYTES", 5)
        pieces = facts(path, examine)
    assert whole == pieces
    if not isinstance(whole, str):
        decoded = text.encode(encoding).decode("utf-8-sig" if "8" in encoding else encoding)
        kept = decoded.replace("\r\n", "\n").replace("\r", "\n")
        assert whole.text_hash == xxhash.xxh3_128_digest(kept.encode())
        assert (whole.chars, whole.text_bytes) == (len(kept), len(kept.encode()))
        assert whole.lines == len(kept.removesuffix("\n").split("\n"))
        assert whole.raw_hash == xxhash.xxh3_128_digest(path.read_bytes())
        assert whole.is_converted == encoding.startswith(("utf-16", "utf-32"))


def test_only_the_file_that_was_listed_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    listed = FileId.of(path.stat())
    for field, other in [("size", 7), ("mtime_ns", 1), ("dev", -1), ("inode", 1)]:
        with pytest.raises(SkipFile) as caught:
            examine(path, listed._replace(**{field: other}))
        assert caught.value.reason == "changed"
    path.unlink()
    with pytest.raises(SkipFile, match="vanished"):
        examine(path, listed)


def test_a_file_that_shrinks_while_it_is_read_is_changed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    blocks = extract.read_blocks(path, FileId.of(path.stat()))
    next(blocks)
    os.truncate(path, 1 << 20)
    with pytest.raises(SkipFile) as caught:
        list(blocks)
    assert caught.value.reason == "changed"


def test_a_file_that_grows_is_read_to_the_length_it_was_listed_with(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    blocks = extract.read_blocks(path, FileId.of(path.stat()))
    first = next(blocks)
    with path.open("ab") as file:
        file.write(b"y" * 10)
    assert first + b"".join(blocks) == b"x" * (3 << 20)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_never_blocks_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    done = []
    thread = threading.Thread(target=lambda: done.append(facts(tmp_path / "pipe.txt")), daemon=True)
    thread.start()
    thread.join(10)
    assert done == ["not-regular"]


def test_stopping_ends_the_reading_of_a_long_file_between_blocks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"word\n" * 2_000_000)
    calls = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyError

    with pytest.raises(KeyError):
        examine(path, FileId.of(path.stat()), check)
    assert len(calls) == 3


def test_a_giant_line_is_examined_in_little_memory(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        for _ in range(40):
            file.write(("é" * (1 << 19)).encode())
    program = (
        "import sys, resource; from pathlib import Path; from sllm_core.corpus.extract import *;"
        "from sllm_core.corpus.extract import sections, read_text\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "path = Path(sys.argv[1]); found = examine(path, FileId.of(path.stat()))\n"
        "n = sum(map(len, sections(read_text(path, FileId.of(path.stat()), 'utf-8'))))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(found.chars, n, (after - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    chars, joined, extra_mib = map(int, done.stdout.split())
    assert chars == joined == 40 << 19
    assert extra_mib < 100


# sections

PIECES = st.lists(
    st.text(alphabet=st.sampled_from("abIL's12 \n\n\r\t.é日\u00a0\u2028\x1c(=🙂"), max_size=60),
    max_size=12,
)


@given(PIECES, st.integers(1, 30))
def test_sections_joined_are_the_text(pieces, length):
    assert "".join(extract.sections(iter(pieces), length)) == "".join(pieces)


@pytest.mark.parametrize("split", ["llama3", "qwen2"])
@settings(max_examples=300, deadline=None)
@given(PIECES, st.integers(4, 60))
def test_words_never_span_a_cut(split, pieces, length):
    """So section by section gives the tokens of the whole, whatever the merges."""
    cut = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERNS[split]), "isolated")
    text = "".join(pieces)
    parts = list(extract.sections(iter(pieces), length))
    assume(len(text) <= 8 * length)  # longer lines are cut anywhere
    words = [word for part in parts for word, _ in cut.pre_tokenize_str(part)]
    assert words == [word for word, _ in cut.pre_tokenize_str(text)]


def test_sections_are_near_the_length_asked_for():
    text = "".join(random.Random(1).choices(string.ascii_letters + " \n", k=100_000))
    lengths = [len(part) for part in extract.sections(iter([text]), 1000)]
    assert min(lengths[:-1]) > 1000
    assert max(lengths) < 2500
    assert len(next(extract.sections(iter(["x" * 100_000]), 1000))) == 8000
