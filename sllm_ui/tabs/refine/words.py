"""What the Refine tab says of files, jobs and settings. Pure functions."""

import math

from sllm_core import fmt
from sllm_core.corpus.rules import explain
from sllm_core.corpus.table import COPY, DROP, HELD, KEEP, MASK, NEAR, OUT, Rows
from sllm_ui.runstate import RunState
from sllm_ui.tabs.refine.state import JobView

BADGES = {
    KEEP: ("Keep", "good"),
    DROP: ("Drop", "bad"),
    COPY: ("Copy", "warn"),
    MASK: ("Mask", "warn"),
    OUT: ("Out", "muted"),
}
KINDS = {
    "prose": "Prose", "book": "Book", "page": "Page", "pdf": "PDF", "table": "Table",
    "data": "Data", "notebook": "Notebook", "code": "Code",
}  # fmt: skip
# Code languages whose name is not their code with a capital.
CODE = {
    "c": "C", "cpp": "C++", "csharp": "C#", "css": "CSS", "html": "HTML", "javascript": "JavaScript",
    "typescript": "TypeScript", "php": "PHP", "sql": "SQL", "json": "JSON", "yaml": "YAML",
    "toml": "TOML", "xml": "XML", "tex": "TeX", "latex": "LaTeX", "r": "R", "ini": "INI",
    "powershell": "PowerShell", "cmake": "CMake", "objective-c": "Objective-C", "ocaml": "OCaml",
}  # fmt: skip
LANGUAGES = {
    "": "Not sure", "en": "English", "de": "German", "fr": "French", "es": "Spanish",
    "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "sv": "Swedish", "da": "Danish",
    "no": "Norwegian", "nb": "Norwegian", "fi": "Finnish", "pl": "Polish", "cs": "Czech",
    "sk": "Slovak", "hu": "Hungarian", "ro": "Romanian", "tr": "Turkish", "el": "Greek",
    "ru": "Russian", "uk": "Ukrainian", "bg": "Bulgarian", "sr": "Serbian", "hr": "Croatian",
    "sl": "Slovene", "et": "Estonian", "lv": "Latvian", "lt": "Lithuanian", "zh": "Chinese",
    "ja": "Japanese", "ko": "Korean", "ar": "Arabic", "fa": "Persian", "he": "Hebrew",
    "hi": "Hindi", "bn": "Bengali", "ta": "Tamil", "th": "Thai", "vi": "Vietnamese",
    "id": "Indonesian", "ms": "Malay", "ca": "Catalan", "eu": "Basque", "gl": "Galician",
    "la": "Latin", "eo": "Esperanto", "is": "Icelandic", "ga": "Irish", "ka": "Georgian",
    "hy": "Armenian",
}  # fmt: skip
FINDINGS = {
    "secrets": ("key or password", "keys or passwords"),
    "emails": ("e-mail address", "e-mail addresses"),
    "phones": ("phone number", "phone numbers"),
    "ips": ("IP address", "IP addresses"),
}
FLAGS = {
    "generated": "generated file", "minified": "minified", "vendored": "of another project",
    "lock": "lock file", "licence": "licence text",
}  # fmt: skip
MAX_REASONS = 2  # said in the table
SPEED = 1.0e6  # bytes of text analysed a second, about
NEAR_LINE = 10  # points below the lowest score that are still shown as nearly good enough


def kind(rows: Rows, i: int) -> str:
    """What a file is: the language of code, else the kind of text."""
    name, lang = rows.kinds[rows.kind[i]], rows.langs[rows.lang[i]]
    if name == "code" and lang:
        return CODE.get(lang, lang.capitalize())
    return KINDS.get(name, name.capitalize() or "-")


def language(code: str) -> str:
    """The name of a language that people speak."""
    return LANGUAGES.get(code, code)


def why(rows: Rows, i: int, verdict: int) -> str:
    """Why a file has its verdict, and what else was found in it."""
    if verdict == OUT:
        return "would be in both sides of the split" if rows.state[i] == HELD else "left out by you"
    if verdict == COPY:
        if rows.duplicate[i] == NEAR:
            alike = rows.similarity[i]
            if alike != alike:
                return "near copy"
            return f"near copy {min(0.99, math.floor(100 * alike + 1e-4) / 100):.2f}"
        return "exact copy"
    found = [_found(name, int(rows.findings[name][i])) for name in FINDINGS]
    broken = rows.reasons(i)
    reasons = [explain(*reason) for reason in broken[:MAX_REASONS]]
    codes = {code for code, _, _ in broken}
    flags = [FLAGS.get(name, name) for name in rows.flags_of(i) if name not in codes]
    said = [*filter(None, found), *reasons] if verdict != DROP else [*reasons, *filter(None, found)]
    return ", ".join(dict.fromkeys([*said, *flags]))


def _found(name: str, n: int) -> str:
    if not n:
        return ""
    one, many = FINDINGS[name]
    return one if n == 1 else f"{n:,} {many}"


def score_tone(score: int, line: int) -> str:
    """The colour of a score beside the lowest one that stays."""
    if score >= line:
        return "good"
    return "warn" if score >= line - NEAR_LINE else "bad"


def files(n: int) -> str:
    """``1 file``, ``3,118 files``."""
    return "1 file" if n == 1 else f"{n:,} files"


def percent(n: int, total: int) -> str:
    """A share of files; 100 only when it is all of them, and 0 only when none."""
    if not total:
        return "-"
    share = 100 * n / total
    if 0 < share < 1:
        return "less than 1 %"
    return f"{min(share, 99.0) if n < total else share:.0f} %"


def job_view(job: RunState | None) -> JobView:
    """What is being done with the data, in words."""
    if job is None or not job.is_live:
        return JobView()
    if job.state == "stopping":
        return JobView(job.kind, True, "Stopping: what was done is kept", job.share())
    return JobView(job.kind, False, progress(job), job.share())


VERBS = {
    "reading": "Reading",
    "looking": "Learning what the text is like",
    "scoring": "Scoring",
    "comparing": "Looking for copies",
    "moving": "Moving",
    "restoring": "Putting back",
    "checking": "Checking",
    "tokenizer": "Learning the tokenizer",
    "encoding": "Encoding",
}


def progress(job: RunState) -> str:
    """How far the step is that runs."""
    step = job.steps.get(job.current)
    if step is None or step.state != "running":
        return "Starting"
    verb = VERBS.get(job.current, "Working")
    if not step.done and not step.total:
        return verb
    if step.unit == "bytes":
        total = f" of {fmt.size(step.total)}" if step.total else ""
        return f"{verb}: {fmt.size(step.done)}{total}"
    total = f" of {step.total:,}" if step.total else ""
    return f"{verb}: {step.done:,}{total} {step.unit}".rstrip()


def estimate(text_bytes: int) -> str:
    """About how long an analysis takes, for the page before the first one."""
    seconds = text_bytes / SPEED
    if seconds < 60:
        return "less than a minute"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {seconds / 3600:.0f} h"
