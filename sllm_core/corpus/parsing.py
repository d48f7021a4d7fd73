"""Whether a file is what it says: Python, JSON, TOML and XML that a parser accepts."""

import json
import re
import symtable
import tomllib
import warnings
from xml.parsers import expat

# Statements of Python 2 that Python 3 refuses, at the beginning of a line.
_PYTHON_2 = re.compile(
    r"^[ \t]*(?:print[ \t]+[^\s(=,.\[]|print[ \t]*$|print[ \t]*>>|exec[ \t]+[\"'\w]"
    r"|except[ \t]+[\w.()]{1,80}[ \t]*,[ \t]*\w+[ \t]*:"
    r"|raise[ \t]+[\w.]{1,80}[ \t]*,[ \t]*\S|[^\n#]{0,200}[^\w]ur[\"']|[^\n#\"']{0,200} <> )",
    re.MULTILINE,
)


_LONG_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]{1,60}[ \t]{0,4}\.[ \t]{0,4}){50}")


class _RefusedError(ValueError):
    """A parser would need time or memory without bound, or look outside."""


def parse_state(text: str, lang: str) -> dict[str, float]:
    """{"parses": 0 or 1}, or {"python_2": 1}, where a parser is at hand; else nothing.

    Run it on the main thread of a process: deep nesting needs a stack of the usual size.
    """
    parser = _PARSERS.get(lang)
    if parser is None or not text.strip():
        return {}
    try:
        parser(text)
    except _FAULTS:
        is_old = lang == "python" and _PYTHON_2.search(text) is not None
        return {"python_2": 1} if is_old else {"parses": 0}
    return {"parses": 1}


# Python's parser says MemoryError for what is nested too deeply. It is no lack of memory.
_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, expat.ExpatError)


def _python(text: str) -> None:
    """The symbol table needs the whole grammar, and is built without a tree of Python objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symtable.symtable(text, "file", "exec")


def _json(text: str) -> None:
    json.loads(text)


def _toml(text: str) -> None:
    """A key of many parts costs the square of their number; nobody writes one."""
    if _LONG_KEY.search(text):
        raise _RefusedError("a key of very many parts")
    tomllib.loads(text)


def _xml(text: str) -> None:
    parser = expat.ParserCreate("utf-8")
    parser.EntityDeclHandler = _refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.Parse(text.encode("utf-8"), True)


def _refuse(*_: object) -> None:
    raise _RefusedError("it declares entities")


_PARSERS = {"python": _python, "json": _json, "toml": _toml, "xml": _xml}
