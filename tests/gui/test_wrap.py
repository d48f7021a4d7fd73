"""A text that breaks its lines is nowhere wider than the place for it."""

from sllm_ui.widgets import kit
from tests.gui.conftest import until


def test_a_wrapped_text_loses_no_letter_at_the_end_of_its_lines(window):
    box = kit.Box(window.root)
    box.place(x=0, y=0, width=300, height=100)
    alone = kit.label(box, "x", "caption")
    made = kit.wrap(kit.label(box, "It must be one of many words " * 4, "caption", width=1))
    made.pack(fill="x")
    until(window, lambda: made.winfo_width() == 300)
    edges = alone.winfo_reqwidth() - kit.skin().fonts["caption"].measure("x")
    assert edges > 0
    assert int(str(made.cget("wraplength"))) + edges <= made.winfo_width()
    box.destroy()
