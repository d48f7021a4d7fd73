"""Vocabulary sizes are compared on the project's own text, on a part that was not learnt from."""

import random

import pytest

from sllm_core.errors import DataError
from sllm_core.jobs import sizes
from sllm_core.jobs.look import Looker
from sllm_core.messages import Progress
from tests.helpers import make_project, prepare, scan


@pytest.fixture
def project(tmp_path):
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(3, 8))) for _ in range(1500)]
    (tmp_path / "src").mkdir()
    for n in range(24):
        text = " ".join(draw.choices(words, k=2500))
        (tmp_path / "src" / f"{n:02d}.txt").write_text(text)
    made = make_project(tmp_path / "project", tmp_path / "src", target_vocab_size=400)
    scan(made)
    return made


def compare(project):
    told = []
    return sizes.compare_sizes(project, 7, told.append), told


def test_rows_go_up_in_size_and_never_need_more_tokens(project):
    found, told = compare(project)
    rows = found.rows
    assert found.request == 7
    assert [size for size, *_ in rows] == sorted({size for size, *_ in rows})
    assert len(rows) >= 2
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert [row[2] for row in rows] == sorted(row[2] for row in rows), "a larger table"
    assert all(0 <= share <= 1 for row in rows for share in row[2:])
    assert found.advised in [size for size, *_ in rows]
    assert found.reason
    assert {type(message) for message in told} == {Progress}
    assert {message.step_name for message in told} == {"reading", "comparing"}
    assert all(message.done <= message.total for message in told)


def test_what_is_measured_on_is_not_learnt_from(project):
    config = project.load_config()
    learn, held = sizes._texts(Looker(project), config, lambda _: None, 0.0)
    assert not set(learn) & set(held)
    assert len(learn) + len(held) == 24
    prepare(project)
    looker = Looker(project)
    kept = looker.held_out()
    assert kept
    _, held = sizes._texts(looker, config, lambda _: None, 0.0)
    texts = {row.id: text for row, text in looker.texts(config, looker.used_rows())}
    assert sorted(held) == sorted(texts[number] for number in kept)


def test_one_long_text_is_cut_in_two(tmp_path):
    (tmp_path / "book.txt").write_text("It was a dark and stormy night. " * 3000)
    made = make_project(tmp_path / "project", tmp_path / "book.txt")
    scan(made)
    learn, held = sizes._texts(Looker(made), made.load_config(), lambda _: None, 0.0)
    assert len(learn) == len(held) == 1
    assert len(held[0]) * 6 < len(learn[0])


def test_without_text_it_says_so(tmp_path):
    with pytest.raises(DataError):
        compare(make_project(tmp_path / "project", tmp_path))
