"""Text that nobody wants to train on, of every kind that a score has to find."""

import base64
import random
import re
import string

LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco. "
).split()
LICENCE = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software, "
    "to deal without restriction and without limitation of the rights to use, copy, sublicense or "
    "redistribute it, provided that this copyright and permission notice is kept. It comes without "
    "warranty of merchantability; the copyright holders are not liable for any damages. "
)
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]


def wrapped(text, width=76):
    return "\n".join(text[at : at + width] for at in range(0, len(text), width)) + "\n"


def spoiled(source, text):
    """Python with a bracket too many at the start of a statement."""
    places = [m.start() for m in re.finditer(r"^(?:def|class|import|from) ", text, re.MULTILINE)]
    at = source.choice(places or [0])
    return text[:at] + ")" + text[at:]


def without_colons(text):
    """Python whose definitions have lost their colons."""
    return re.sub(r"^(\s*(?:def|class) .*):$", r"\1", text, flags=re.MULTILINE)


def minified(source, n=200):
    name = "".join(source.choices(string.ascii_lowercase, k=3))
    return "".join(f"function {name}{i}(a,b){{return a[b]||{i}}}" for i in range(n))


def make(seed, prose, code):
    """Junk by what it is: (file name, text).

    Args:
        seed: other seeds give other junk.
        prose: a good text of 1,500 characters or more, to be spoiled.
        code: a good Python file with a definition.
    """
    source = random.Random(seed)
    size = source.randint(2_000, 9_000)

    def drawn(letters, n=size):
        return "".join(source.choices(letters, k=n))

    def gibberish():
        words = [
            "".join(source.choices(SYLLABLES, k=source.randint(2, 4))) for _ in range(size // 6)
        ]
        return wrapped(" ".join(words)).replace("\n", ".\n")

    def shuffled(text):
        return "".join(source.sample(text[:size], min(size, len(text))))

    def packed():
        return wrapped(base64.b64encode(source.randbytes(size)).decode())

    passage = prose[:250] + "\n"
    log = "".join(
        f"2024-03-{i % 28 + 1:02} 12:{i % 60:02}:07,{i:03} INFO worker: job {i} took {i % 7} s\n"
        for i in range(size // 40)
    )
    dump = "".join(
        f"{i * 16:08x}  {source.randbytes(8).hex(' ')}  {source.randbytes(8).hex(' ')}\n"
        for i in range(size // 40)
    )
    accents = "".join(
        f"Zwölf {i} Bären äßen süße Körner über {i * 7}.\n" for i in range(size // 40)
    )
    small = string.ascii_lowercase
    return {
        "random letters": ("a.txt", drawn(small)),
        "random letters, Python": ("a.py", wrapped(drawn(small))),
        "random letters and blanks": ("b.txt", wrapped(drawn(small + " " * 6))),
        "random letters and blanks, C": ("b.c", wrapped(drawn(small + " " * 6))),
        "base64": ("c.txt", packed()),
        "base64, JavaScript": ("c.js", packed()),
        "shuffled characters": ("d.txt", shuffled(prose)),
        "shuffled characters, C": ("d.c", shuffled(code)),
        "pronounceable gibberish": ("e.txt", gibberish()),
        "pronounceable gibberish, C": ("e.c", gibberish()),
        "one passage repeated": ("f.txt", passage * (size // 250)),
        "one function repeated, C": ("f.c", "\nint f(int x)\n{\n    return x + 1;\n}\n" * 60),
        "stray bracket": ("g.py", spoiled(source, code)),
        "no colons": ("h.py", without_colons(code)),
        "log": ("i.txt", log),
        "hex dump": ("j.txt", dump),
        "hex dump, C": ("j.c", dump),
        "minified": ("k.js", minified(source)),
        "lock file": ("poetry.lock", "[[package]]\nname = 'x'\nversion = '1.0'\n" * 60),
        "lorem ipsum": ("l.txt", wrapped(" ".join(source.choices(LOREM, k=size // 6)))),
        "licence": ("m.txt", LICENCE + "\n\n".join(LICENCE[i * 7 :] for i in range(5))),
        "accents read wrongly": ("n.txt", accents.encode().decode("cp1252", "replace")),
    }
