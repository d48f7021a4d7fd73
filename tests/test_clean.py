"""What the options of cleaning change, and that nothing else changes."""

import ast
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.config import CleanConfig
from sllm_core.corpus import clean
from sllm_core.corpus.clean import PLAIN, apply, apply_whole, clean_key

NAMES = [field.name for field in dataclasses.fields(CleanConfig)]


def cleaned(text: str, kind: str = "prose", lang: str = "", **on: bool) -> str:
    return apply_whole(text, CleanConfig(**on), kind, lang)


@given(st.text())
def test_without_options_a_text_stays_as_it_is(text):
    assert "".join(apply([text[:3], text[3:]], PLAIN, "code", "python")) == text


def test_every_option_has_its_own_key():
    keys = {clean_key(CleanConfig(**{name: True})) for name in NAMES} | {clean_key()}
    assert len(keys) == len(NAMES) + 1


def test_blanks_and_lines():
    assert cleaned("a  \n\t\nb \n", trailing_blanks=True) == "a\n\nb\n"
    assert cleaned("a\n\n\n\n\nb\n\nc", blank_lines=True) == "a\n\nb\n\nc"
    assert cleaned("\tx\n", tabs_to_spaces=True) == "    x\n"
    assert cleaned("e\u0301", unicode_nfc=True) == "é"
    assert cleaned("e\u0301", kind="code", lang="python", unicode_nfc=True) == "e\u0301"


def test_a_licence_at_the_top_goes_and_other_comments_stay():
    code = "#!/usr/bin/env python\n# Copyright 2020 A. Body\n# Licensed under X.\n\nimport os\n"
    assert cleaned(code, "code", "python", drop_licence=True) == (
        "#!/usr/bin/env python\nimport os\n"
    )
    c = "/*\n * SPDX-License-Identifier: MIT\n */\nint x; /* copyright */\n"
    assert cleaned(c, "code", "c", drop_licence=True) == "int x; /* copyright */\n"
    plain = "# How this works\nimport os\n# Copyright\n"
    assert cleaned(plain, "code", "python", drop_licence=True) == plain
    assert cleaned(code, "prose", "", drop_licence=True) == code


PYTHON = '''#!/usr/bin/env python
# a comment
x = "# no comment"  # one
y = """
# inside a text
"""
url = 'http://x/#y'  # two


def f():  # three
    # alone
    return "'" # four
'''


def test_comments_go_and_texts_that_look_like_them_stay():
    found = cleaned(PYTHON, "code", "python", strip_comments=True)
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(PYTHON))
    assert [line for line in found.split("\n") if "#" in line] == [
        "#!/usr/bin/env python", 'x = "# no comment"', "# inside a text", "url = 'http://x/#y'",
    ]  # fmt: skip
    c = 'int a; // one\nchar *s = "// no /* no */"; /* two\n lines */ int b;\n/* alone */\nint c;\n'
    assert cleaned(c, "code", "c", strip_comments=True) == (
        'int a;\nchar *s = "// no /* no */";  int b;\nint c;\n'
    )
    assert cleaned(c, "code", "brainfuck", strip_comments=True) == c


def test_docstrings_go_and_the_code_stays_the_same():
    code = (
        '"""Module."""\nimport os\n\n\nclass A:\n    """Class ä."""\n\n    x = 1\n\n'
        '    def f(self):\n        """Several\n        lines."""\n        return 1\n\n'
        '    def g(self):\n        """Only this."""\n\n\ndef h(): "d"; return 2\n'
    )
    found = cleaned(code, "code", "python", strip_docstrings=True)
    for gone in ("Module", "Class", "Several"):
        assert gone not in found
    assert "Only this" in found
    ast.parse(found)
    broken = '"""Doc."""\ndef f(:\n'
    assert cleaned(broken, "code", "python", strip_docstrings=True) == broken


def test_the_front_matter_of_a_book_goes():
    book = (
        "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n"
        "Chapter 1\ntext\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence\n"
    )
    assert cleaned(book, strip_front_matter=True) == "Chapter 1\ntext\n\n"
    assert cleaned("no mark\n", strip_front_matter=True) == "no mark\n"


def test_masks():
    text = "mail jane.doe@corp.org now\n"
    assert cleaned(text, mask_emails=True) == "mail <email> now\n"
    assert cleaned(text, mask_secrets=True) == text


LINES = st.lists(st.sampled_from(["a  ", "\tx", "", " ", "b", "c@d.org "]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(LINES, st.lists(st.integers(1, 40), max_size=20))
def test_a_long_text_in_pieces_is_cleaned_like_a_short_one(lines, cuts):
    text = "\n".join(["start", *lines, "end"])
    options = CleanConfig(
        trailing_blanks=True, blank_lines=True, tabs_to_spaces=True, mask_emails=True
    )
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(text[at : at + cut])
        at += cut
    pieces.append(text[at:])
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(clean, "WHOLE_CHARS", 30)
        in_pieces = "".join(apply(pieces, options, "prose", ""))
    assert in_pieces == apply_whole(text, options, "prose", "")
