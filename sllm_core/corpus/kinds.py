"""What kind of document a file is, told from its name alone."""

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """The kind of a document, and the programming language of code."""

    kind: str  # code, prose, table, notebook, book, page, pdf or data
    lang: str


_CODE = {
    "python": "py pyw pyi pyx pxd sage",
    "javascript": "js mjs cjs jsx",
    "typescript": "ts tsx mts cts",
    "c": "c h",
    "cpp": "cc cpp cxx c++ hh hpp hxx h++ ipp inl tcc cu cuh ino",
    "csharp": "cs csx",
    "java": "java",
    "kotlin": "kt kts",
    "scala": "scala sc",
    "groovy": "groovy gradle",
    "go": "go",
    "rust": "rs",
    "swift": "swift",
    "objective-c": "m mm",
    "dart": "dart",
    "zig": "zig",
    "ruby": "rb rake gemspec",
    "perl": "pl pm t",
    "php": "php phtml",
    "lua": "lua",
    "r": "r",
    "julia": "jl",
    "matlab": "mat",
    "shell": "sh bash zsh ksh fish",
    "powershell": "ps1 psm1 psd1",
    "batch": "bat cmd",
    "sql": "sql",
    "haskell": "hs lhs",
    "ocaml": "ml mli",
    "fsharp": "fs fsx fsi",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "clojure": "clj cljs cljc edn",
    "lisp": "lisp el scm ss rkt",
    "fortran": "f f77 f90 f95 f03 f08 for",
    "pascal": "pas pp dpr",
    "ada": "adb ads",
    "assembly": "s asm",
    "verilog": "v sv svh",
    "vhdl": "vhd vhdl",
    "tcl": "tcl",
    "css": "css scss sass less",
    "vue": "vue svelte",
    "make": "mk mak",
    "cmake": "cmake",
    "docker": "dockerfile",
    "proto": "proto",
    "tex": "cls sty",
    "vim": "vim",
    "awk": "awk",
    "nim": "nim",
    "solidity": "sol",
    "terraform": "tf",
    "glsl": "glsl vert frag hlsl wgsl",
}
_DATA = {
    "json": "json geojson webmanifest",
    "yaml": "yaml yml",
    "toml": "toml",
    "xml": "xml xsd xsl xslt svg plist xaml rss atom wsdl",
    "ini": "ini cfg conf properties",
    "lock": "lock sum",
}
_OTHERS = {
    "prose": "txt text md markdown mdown rst adoc asciidoc org tex bib pod log nfo rtf srt vtt"
    " 1 2 3 4 5 6 7 8 info texi texinfo roff man diff patch po pot",
    "table": "csv tsv jsonl ndjson parquet",
    "notebook": "ipynb",
    "book": "epub docx odt fb2",
    "page": "html htm xhtml xht mhtml",
    "pdf": "pdf",
}
_BY_ENDING = {
    ending: Kind(kind, lang)
    for kind, table in (("code", _CODE), ("data", _DATA))
    for lang, endings in table.items()
    for ending in endings.split()
} | {ending: Kind(kind, "") for kind, endings in _OTHERS.items() for ending in endings.split()}
_BY_NAME = {
    "makefile": Kind("code", "make"),
    "gnumakefile": Kind("code", "make"),
    "kbuild": Kind("code", "make"),
    "dockerfile": Kind("code", "docker"),
    "containerfile": Kind("code", "docker"),
    "cmakelists.txt": Kind("code", "cmake"),
    "rakefile": Kind("code", "ruby"),
    "gemfile": Kind("code", "ruby"),
    "vagrantfile": Kind("code", "ruby"),
    "jenkinsfile": Kind("code", "groovy"),
    "sconstruct": Kind("code", "python"),
    "sconscript": Kind("code", "python"),
    "configure": Kind("code", "shell"),
    "pipfile": Kind("data", "toml"),
    "package-lock.json": Kind("data", "lock"),
    "npm-shrinkwrap.json": Kind("data", "lock"),
    "pnpm-lock.yaml": Kind("data", "lock"),
    "pipfile.lock": Kind("data", "lock"),
}
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_VENDORED = re.compile(
    r"(?:^|/)(?:vendor|vendored|_vendor|third_?party|3rdparty|node_modules|bower_components"
    r"|extern(?:al)?s?|deps)/",
    re.IGNORECASE,
)
_GENERATED = re.compile(
    r"(?:_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h)|\.g\.dart|\.designer\.cs|\.generated\.\w+"
    r"|_generated\.\w+)$",
    re.IGNORECASE,
)
_MINIFIED = re.compile(r"[.-]min\.(?:js|mjs|css|html)$", re.IGNORECASE)
_LICENCE = re.compile(
    r"^(?:licen[cs]es?|copying|copyright|unlicense|eula)(?:[._-].*)?$", re.IGNORECASE
)


def _name(path_text: str) -> str:
    """The name of the file without the folder, in small letters, seen through compression."""
    name = path_text.replace("\\", "/").rpartition("/")[2].lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name


def classify(path_text: str) -> Kind:
    """Kind and programming language from the name; what is not known is taken for prose."""
    name = _name(path_text)
    if found := _BY_NAME.get(name):
        return found
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem:
        return Kind("prose", "")
    return _BY_ENDING.get(ending, Kind("prose", ""))


def name_flags(path_text: str) -> dict[str, int]:
    """What the name says of a file: generated, minified, vendored, lock, licence_file; only what is so."""
    path = path_text.replace("\\", "/")
    name = _name(path)
    flags = {
        "generated": _GENERATED.search(name),
        "minified": _MINIFIED.search(name),
        "vendored": _VENDORED.search(path),
        "lock": classify(name).lang == "lock",
        "licence_file": _LICENCE.match(name),
    }
    return {flag: 1 for flag, found in flags.items() if found}
