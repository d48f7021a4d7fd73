"""One text cleaner for everything: what it returns is what is hashed, tokenized and trained on."""

import re

CLEAN_VERSION = 1
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str, *, is_start: bool = True) -> str:
    """Text with line feeds only and no byte-order mark; nothing is invented or left out.

    Lone surrogates (they cannot be stored as UTF-8) become U+FFFD.

    Args:
        text: a whole text, or a piece of one that does not end within a CR LF pair.
        is_start: whether a byte-order mark may stand here.
    """
    if is_start:
        text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("\ufffd", text) if not text.isascii() else text


def clean_key() -> str:
    """Changes whenever `clean` would give another text for the same file."""
    return f"clean-{CLEAN_VERSION}"
