"""Nothing is cut, nothing has Tk's own grey, and every text can be read, in every look."""

import dataclasses
import itertools

import pytest

from sllm_ui.theme import LIGHT, NAVY
from tests.gui import pictures
from tests.gui.conftest import TINY, until

LOOKS = [
    pytest.param("dark", "1440x900", 1.0, marks=pytest.mark.slow),
    ("light", "1180x720", 1.0),
    pytest.param("dark", "1900x1040", 1.5, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("theme", "size", "zoom"), LOOKS)
def test_nothing_is_cut_and_nothing_is_grey(window, corpus, theme, size, zoom):
    window.settings.change(theme=theme, zoom=zoom)
    window.root.geometry(f"{size}+0+0")
    problems = []
    for step in ("empty", "scanned"):
        if step == "scanned":
            window.presenter("data").add_folder(corpus)
            until(window, lambda: window.session.project is not None)
            window.session.change(TINY)
            until(window, lambda: window.session.facts.used == 24, 60)
        for page in pictures.PAGES:
            pictures.show(window, page)
            pictures.live(window, 0.3)
            problems += [f"{step} {page}: {line}" for line in pictures.cut(window)]
            if theme == "dark" and pictures.greys(pictures.picture(window)) > 20:
                problems.append(f"{step} {page}: grey pixels")
    assert not problems, "\n".join(problems)


def test_a_cut_text_would_be_found(window):
    from sllm_ui.widgets import kit

    label = kit.label(window.host, "A text that is far too long for forty pixels")
    label.place(x=0, y=0, width=40)
    window.root.update()
    assert any("far too long" in line for line in pictures.cut(window))
    label.destroy()


@pytest.mark.parametrize("palette", [NAVY, LIGHT], ids=lambda palette: palette.name)
def test_every_text_has_a_contrast_of_four_and_a_half(palette):
    texts = ("fg", "fg2", "muted", "accent_hi", "good", "warn", "bad")
    grounds = ("side", "page", "card", "field", "raised")
    pairs = list(itertools.product(texts, grounds))
    pairs += [(tone, f"{tone}_bg") for tone in ("good", "warn", "bad")] + [("on_accent", "accent")]
    colours = dataclasses.asdict(palette)
    low = {pair: pictures.contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert min(low.values()) >= 4.5, {pair: round(v, 2) for pair, v in low.items() if v < 4.5}


def test_a_slow_resize_through_every_break_comes_to_rest(window, corpus):
    window.presenter("data").add_folder(corpus)
    until(window, lambda: window.session.project is not None)
    for page in pictures.PAGES:
        pictures.show(window, page)
        for width in range(1500, 1020, -32):
            window.root.geometry(f"{width}x{900 - (1500 - width) // 2}+0+0")
            window.root.update()
        pictures.live(window, 0.4)
        seen = []
        window.root.bind("<Configure>", seen.append, "+")
        pictures.live(window, 0.3)
        assert len(seen) < 40, f"{page} does not come to rest: {len(seen)} events in 0.3 s"
