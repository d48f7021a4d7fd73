"""The help: its pages hold together, its search finds, its history goes back."""

import dataclasses
import re

import pytest

from sllm_core import config, errors
from sllm_ui import actions, paths, runstate
from sllm_ui.tabs.data import figures
from sllm_ui.tabs.help import pages, presenter
from sllm_ui.tabs.help.pages import Block, Row, Span

BLOCKS = {name: presenter.blocks_of(name) for name in presenter.NAMES}


@pytest.fixture
def reader():
    made = presenter.Presenter()
    made.open("index")
    return made


# --- the pages


def test_every_file_of_help_is_in_the_list_and_every_page_has_a_file():
    files = {path.stem for path in paths.HELP.glob("*.md")}
    assert files == set(presenter.NAMES) - {"keys"}


def test_every_page_opens_with_a_title():
    assert [name for name, blocks in BLOCKS.items() if blocks[0].kind != "h1"] == []


def test_every_tab_has_its_page():
    assert {*actions.TABS, "window"} <= set(presenter.NAMES)


@pytest.mark.parametrize("name", presenter.NAMES)
def test_every_link_leads_somewhere(name):
    for target in pages.targets(BLOCKS[name]):
        page, _, anchor = target.partition("#")
        where = BLOCKS.get(page.removesuffix(".md") or name)
        assert where is not None, target
        assert page == "" or page.endswith(".md"), target
        assert anchor == "" or anchor in pages.anchors(where), target


@pytest.mark.parametrize("name", presenter.NAMES)
def test_no_anchor_is_there_twice(name):
    found = [block.anchor for block in BLOCKS[name] if block.anchor]
    found += [row.anchor for block in BLOCKS[name] for row in block.rows if row.anchor]
    assert sorted(found) == sorted(set(found))


def test_every_code_opens_at_its_anchor(reader):
    known = pages.anchors(BLOCKS["troubleshooting"])
    for code in errors.CODES:
        reader.open("troubleshooting", code)
        assert reader.store.state.place.anchor in known, code


def test_every_setting_has_its_anchor():
    assert set(config.FIELD_SECTION) <= pages.anchors(BLOCKS["settings"])


def test_every_action_has_a_line_with_its_key():
    rows = [row for block in BLOCKS["keys"] for row in block.rows]
    lines = {pages.plain(row.cells[0]): row for row in rows}
    for action in actions.ACTIONS:
        assert pages.plain(lines[action.label].cells[1]) == (action.shown_keys or "-")
        assert pages.plain(lines[action.label].cells[2]) == action.help


def test_the_pages_use_the_words_of_the_screen():
    data, train = presenter.source_of("data"), presenter.source_of("train")
    assert [title for title, _ in figures.REASONS.values() if title not in data] == []
    assert [title for title in figures.TILES if f"**{title}**" not in data] == []
    assert [label for label in runstate.STEPS.values() if label not in train] == []


def test_nothing_that_is_not_there_yet_is_promised():
    text = "\n".join(presenter.source_of(name) for name in presenter.NAMES)
    assert not re.search(r"\b(DPO|GGUF|ONNX|LoRA|Chat mode|drag and drop)\b", text)


def test_a_page_that_cannot_be_read_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "HELP", tmp_path)
    (tmp_path / "data.md").write_bytes(b"# \xff\xfe")
    assert "cannot be read" in presenter.source_of("data")
    assert "cannot be read" in presenter.source_of("train")


# --- Markdown


def test_markdown_becomes_blocks():
    blocks = pages.parse(
        "# Title\n\nA **bold** word,\n[a link](x.md#y) and `code`.\n\n1. one\n   - inner\n\n"
        "     more\n2. two\n\n> note\n\n```\nx = 1\n\ny\n```\n"
    )
    kinds = [(b.kind, b.depth, b.marker, pages.plain(b.spans)) for b in blocks]
    assert kinds == [
        ("h1", 0, "", "Title"),
        ("text", 0, "", "A bold word, a link and code."),
        ("text", 1, "1.", "one"),
        ("text", 2, "•", "inner"),
        ("text", 2, "", "more"),
        ("text", 1, "2.", "two"),
        ("note", 0, "", "note"),
        ("code", 0, "", "x = 1\n\ny"),
    ]
    assert Span("a link", frozenset(), "x.md#y") in blocks[1].spans
    assert Span("bold", frozenset({"strong"})) in blocks[1].spans
    assert Span("code", frozenset({"code"})) in blocks[1].spans


def test_a_row_that_opens_with_a_name_has_an_anchor():
    (table,) = pages.parse("| a | b |\n|---|---|\n| `seq_len` | Window |\n| plain | x |\n")
    assert [row.anchor for row in table.rows] == ["", "seq_len", ""]


@pytest.mark.parametrize(
    ("text", "anchor"),
    [
        ("E-CKPT-HASH", "e-ckpt-hash"),
        ("Bits per byte", "bits-per-byte"),
        ("Pause, stop and resume", "pause-stop-and-resume"),
        ("GPU, VRAM", "gpu-vram"),
        ("seq_len", "seq_len"),
    ],
)
def test_anchors_are_made_from_words(text, anchor):
    assert pages.slug(text) == anchor


# --- tables


def width(span: Span) -> int:
    return 10 * len(span.text)


def cells(*texts: str) -> Row:
    return Row(tuple((Span(text),) for text in texts))


def test_a_table_that_fits_takes_what_it_needs():
    assert pages.column_widths([cells("ab", "abcd")], 1000, width) == [38, 58]


def test_a_wide_table_keeps_to_the_page_and_no_word_is_cut_where_it_need_not_be():
    rows = [cells("name", "word " * 40, "longword"), cells("other", "x", "y")]
    widths = pages.column_widths(rows, 400, width)
    assert sum(widths) <= 400
    assert widths[0] >= 50 + 18
    assert widths[2] >= 80 + 18


def test_lines_break_at_blanks_and_only_too_long_words_are_cut():
    spans = (Span("one two "), Span("three", frozenset({"strong"})), Span(" abcdefghijklmnop"))
    lines = [pages.plain(line).rstrip() for line in pages.wrap(spans, 80, width)]
    assert lines == ["one two", "three", "abcdefgh", "ijklmnop"]
    assert pages.wrap((), 80, width) == [()]


def test_a_row_has_as_many_lines_as_its_longest_cell():
    lines = pages.lay_row(cells("a", "bb cc dd"), [50, 38], width)
    assert [pages.plain(line[0]) for line in lines] == ["a", "", ""]
    assert [pages.plain(line[1]).strip() for line in lines] == ["bb", "cc", "dd"]


# --- history


def test_history_goes_back_and_forward_to_where_one_was(reader):
    reader.note_top((3, 17))
    reader.open("train", "validation")
    reader.follow("glossary.md#perplexity")
    assert reader.store.state.place == presenter.Place("glossary", "perplexity")
    reader.go_back()
    assert reader.store.state.place == presenter.Place("train", "validation")
    reader.go_back()
    assert reader.store.state.place == presenter.Place("index", "", (3, 17))
    reader.go_back()
    assert reader.store.state.place.page == "index"
    reader.go_forward()
    reader.go_forward()
    assert reader.store.state.place.page == "glossary"
    reader.go_back()
    reader.open("data")
    assert reader.store.state.forward == ()
    assert [place.page for place in reader.store.state.back] == ["index", "train"]


def test_opening_the_place_in_view_jumps_again_but_leaves_no_trace(reader):
    before = reader.store.state.jumps
    reader.note_top((9, 0))
    reader.open("index")
    assert reader.store.state.jumps == before + 1
    assert reader.store.state.place.top is None
    assert reader.store.state.back == ()


def test_a_link_within_the_page_stays_on_it(reader):
    reader.open("train")
    assert reader.follow("#validation") == ""
    assert reader.store.state.place == presenter.Place("train", "validation")


def test_an_address_is_given_back_and_nothing_moves(reader):
    before = reader.store.state
    assert reader.follow("https://pytorch.org") == "https://pytorch.org"
    assert reader.store.state == before


def test_an_unknown_page_is_the_first_one(reader):
    reader.open("train")
    reader.open("no such page", "x")
    assert reader.store.state.place.page == "index"


def test_history_is_bounded(reader):
    for _ in range(presenter.MAX_HISTORY):
        reader.open("data")
        reader.open("train")
    assert len(reader.store.state.back) == presenter.MAX_HISTORY


def test_a_long_page_lists_its_parts(reader):
    reader.open("train")
    title, contents, *_ = reader.store.state.blocks
    assert (title.kind, contents.kind) == ("h1", "contents")
    wanted = [f"#{block.anchor}" for block in BLOCKS["train"] if block.kind == "h2"]
    assert list(pages.targets([contents])) == wanted
    reader.open("test")
    assert len([b for b in BLOCKS["test"] if b.kind == "h2"]) >= presenter.MIN_PARTS


# --- search


def test_search_finds_a_setting_by_its_name_and_its_label(reader):
    reader.search("seq_len")
    assert ("settings", "seq_len") in {(hit.page, hit.anchor) for hit in reader.store.state.hits}
    reader.search("micro-batch")
    assert reader.store.state.hits[0].title == "Micro-batch"


def test_a_title_comes_before_a_mention(reader):
    reader.search("perplexity")
    hits = reader.store.state.hits
    assert (hits[0].page, hits[0].anchor) == ("glossary", "perplexity")
    assert [hit.title for hit in hits[1:]] != []


def test_every_word_must_be_there(reader):
    reader.search("computer sleep")
    assert reader.store.state.hits
    reader.search("computer xylophone")
    assert reader.store.state.hits == ()


def test_an_empty_search_shows_the_pages_again(reader):
    reader.search("loss")
    reader.search("  ")
    assert reader.store.state.hits == ()
    assert reader.store.state.words == ()


def test_hits_lead_to_anchors_that_exist(reader):
    for word in ("loss", "checkpoint", "memory", "a"):
        reader.search(word)
        for hit in reader.store.state.hits:
            assert hit.anchor in pages.anchors(BLOCKS[hit.page])


def test_hits_are_links_to_their_places(reader):
    reader.search("perplexity")
    state = reader.store.state
    blocks = presenter.hit_blocks(state.hits, state.words)
    assert next(iter(pages.targets(blocks))) == "glossary.md#perplexity"
    assert reader.follow("glossary.md#perplexity") == ""
    assert reader.store.state.hits == state.hits


def test_a_snippet_shows_the_word_in_its_line_and_marks_it():
    text = "lead " * 60 + "the Needle is here " + "tail " * 60
    spans = pages.snippet(text, ["needle"])
    assert [span.text for span in spans if "hit" in span.styles] == ["Needle"]
    assert len(pages.plain(spans)) < 130
    assert pages.plain(spans).startswith("… ")
    assert pages.plain(spans).endswith(" …")


def test_marking_changes_no_text():
    spans = (
        Span("Loss and loss", frozenset({"strong"})),
        Span("gloss val_loss too", target="x.md"),
    )
    marked = pages.mark(spans, ["loss"])
    assert pages.plain(marked) == pages.plain(spans)
    assert [span.text for span in marked if "hit" in span.styles] == ["Loss", "loss", "loss"]
    assert marked[-1].target == "x.md"


def test_the_state_holds_nothing_that_can_change(reader):
    reader.search("loss")
    assert hash(reader.store.state)
    assert dataclasses.is_dataclass(Block)
