"""Imports point one way, and each thing that needs care has one home.

It reads the source with ast alone, save for the last two tests, which import the packages in a
child process with the forbidden libraries blocked.
"""

import ast
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the bottom up. A module may import from the rows before its own, not from its own row.
# A new module gets a row here in the commit that adds it.
CORE = [
    {"errors", "fmt", "faults", "bootstrap"},
    {"fields", "shortcut"},
    {"config", "messages"},
    {"presets", "project"},
    {"estimate", "hardware", "ledger"},
    {"device", "advice", "engines"},
    {"corpus", "model", "tokenizer", "optim", "schedule", "metrics"},
    {"dataset", "vocabulary"},
    {"checkpoint", "encode", "mixture"},
    {"export", "foreign"},
    {"sampler", "evaluate", "context", "probe"},
    {"trainer"},
    {"align", "doctor", "sample"},
    {"jobs"},
    {"worker", "cli"},
]
UI = [
    {"paths"},
    {"settings", "bus", "actions", "facts", "runstate", "pump"},
    {"events", "now"},
    {"news"},
    {"chores"},
    {"autosave", "pipes", "archive"},
    {"work"},
    {"sources"},
    {"session"},
    {"shell"},
    {"theme"},
    {"widgets"},
    {"tabs"},
    {"app"},
]
RANK = {
    f"{package}.{name}": rank
    for package, rows in (("sllm_core", CORE), ("sllm_ui", UI))
    for rank, names in enumerate(rows)
    for name in names
}

# The words of the project need the standard library alone. The window may import them, the two
# modules above them and the door to the jobs: nothing of it needs torch.
WORDS = {f"sllm_core.{name}" for row in CORE[:4] for name in row}
LIGHT = WORDS | {
    "sllm_core.estimate",
    "sllm_core.hardware",
    "sllm_core.advice",
    "sllm_core.ledger",
    "sllm_core.sample",
    "sllm_core.corpus.index",
    "sllm_core.corpus.report",
    "sllm_core.corpus.rules",
    "sllm_core.corpus.search",
    "sllm_core.corpus.table",
    "sllm_core.jobs.reading",
    "sllm_core.jobs.runner",
    "sllm_core.jobs.runs",
    "sllm_core.jobs.channel",
    "sllm_core.jobs.series",
    "sllm_core.jobs.tasks",
    "sllm_core.jobs.vitals",
}
PROJECT_NEEDS = {("sllm_core.project", name) for name in ("filelock", "send2trash")}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors"}
TOOLKIT = {"tkinter", "ttkbootstrap", "matplotlib"}

# A library or function, and the only files that may name it.
VIEWS = ["sllm_ui/app.py", "sllm_ui/theme*", "sllm_ui/widgets/*", "sllm_ui/tabs/*/view*.py"]
FILES = ["sllm_core/checkpoint.py", "sllm_core/foreign.py", "sllm_core/export/*"]
# Jobs and their readers, reading and encoding pools, prefetched batches, the writer of snapshots.
THREADS = [
    "sllm_core/jobs/*",
    "sllm_core/corpus/*",
    "sllm_core/dataset.py",
    "sllm_core/encode.py",
    "sllm_core/trainer.py",
    FILES[0],
]
HOMES = {
    "tkinter": VIEWS,
    "ttkbootstrap": VIEWS,
    "matplotlib": ["sllm_ui/theme*", "sllm_ui/widgets/*"],
    "transformers": ["sllm_core/foreign.py", "sllm_core/export/*", "sllm_core/align/*"],
    "torch.load": FILES,
    "torch.save": FILES,
    "threading": THREADS,
    "concurrent": THREADS,
    "subprocess": [
        "sllm_core/bootstrap.py",
        "sllm_core/corpus/children.py",
        "sllm_core/foreign.py",
        "sllm_core/jobs/*",
        "sllm_core/shortcut.py",
        "sllm_ui/paths.py",
    ],
    "psutil": ["sllm_core/corpus/children.py", "sllm_core/hardware.py", "sllm_core/jobs/*"],
    "pynvml": ["sllm_core/hardware.py", "sllm_core/jobs/vitals.py"],
    "except Exception": [
        f"sllm_core/{name}.py" for name in ("jobs/worker", "tokenizer", "foreign", "engines")
    ],
}

# Arguments that let a file from a stranger run code. And torch.load always says weights_only=True.
RUNS_CODE = {"weights_only=False", "trust_remote_code=True", "allow_pickle=True", "shell=True"}

SOURCES = sorted(p for top in ("sllm_core", "sllm_ui") for p in (ROOT / top).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def owner(name: str) -> str:
    """sllm_core.corpus.scan -> sllm_core.corpus."""
    return ".".join(name.split(".")[:2])


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def imports(tree: ast.AST) -> set[str]:
    """Every name that is imported, at the top or inside a function, for types or for real."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def only_cleans_up(handler: ast.ExceptHandler) -> bool:
    """It ends in raise and has no other way out: nothing that was caught is lost."""
    ways_out = (ast.Return, ast.Break, ast.Continue)
    return isinstance(handler.body[-1], ast.Raise) and not any(
        isinstance(node, ways_out) for node in ast.walk(handler)
    )


def mentions(tree: ast.AST) -> set[str]:
    """Imports, dotted names such as torch.load, and whether anything is caught wholesale."""
    found = imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.ExceptHandler):
            kinds = ast.unparse(node.type) if node.type else "BaseException"
            is_broad = {"Exception", "BaseException"} & set(kinds.strip("()").split(", "))
            if is_broad and not only_cleans_up(node):
                found.add("except Exception")
    return found


IMPORTS = [(path, dotted(path), name) for path, tree in TREES.items() for name in imports(tree)]


def none(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(sorted(wrong))


def test_every_module_has_a_layer():
    here = {owner(dotted(path)) for path in SOURCES} - {"sllm_core", "sllm_ui"}
    none([f"give {name} a row in CORE or UI" for name in here - set(RANK)])


def test_imports_are_whole_names():
    none([f"{own}: {name}" for _, own, name in IMPORTS if name.startswith(".")])


def test_the_packages_themselves_import_nothing():
    empty = {"sllm_core", "sllm_ui", "sllm_core.jobs"}
    none([f"{own} imports {name}" for _, own, name in IMPORTS if own in empty])


def test_imports_point_down():
    none(
        [
            f"{own} imports {name}, which is not below it"
            for _, own, name in IMPORTS
            if owner(name) in RANK
            and owner(name) != owner(own)
            and own.split(".")[0] == name.split(".")[0]
            and RANK[owner(name)] >= RANK.get(owner(own), -1)
        ]
    )


def test_the_core_does_not_know_the_window():
    forbidden = TOOLKIT | {"sllm_ui"}
    none(
        [
            f"{own} imports {name}"
            for _, own, name in IMPORTS
            if within(own, "sllm_core") and name.split(".")[0] in forbidden
        ]
    )


EMPTY = {"sllm_core", "sllm_core.corpus", "sllm_core.jobs"}  # package files: a docstring each


def is_light(name: str) -> bool:
    return any(within(name, light) for light in LIGHT)


def test_the_window_and_the_light_modules_import_only_light_ones():
    none(
        [
            f"{own} imports {name}: let the worker do it"
            for _, own, name in IMPORTS
            if (within(own, "sllm_ui") or is_light(own)) and within(name, "sllm_core")
            if name not in EMPTY and not is_light(name)
        ]
    )


def test_the_words_need_only_the_standard_library():
    none(
        [
            f"{own} imports {name}"
            for _, own, name in IMPORTS
            if own in WORDS
            and name.split(".")[0] not in sys.stdlib_module_names | {"sllm_core"}
            and (own, name.split(".")[0]) not in PROJECT_NEEDS
        ]
    )


def is_quick(name: str) -> bool:
    return is_light(name) or within(name, "sllm_ui") or within(name, "sllm_core.corpus")


def test_the_window_the_light_modules_and_the_corpus_know_no_torch():
    none(
        [
            f"{own} imports {name}"
            for _, own, name in IMPORTS
            if is_quick(own) and name.split(".")[0] in HEAVY
        ]
    )


def test_each_thing_has_its_home():
    none(
        [
            f"{dotted(path)}: {name} belongs in {homes}"
            for path, tree in TREES.items()
            for name in mentions(tree)
            for thing, homes in HOMES.items()
            if within(name, thing)
            if not any(fnmatch(path.relative_to(ROOT).as_posix(), home) for home in homes)
        ]
    )


def test_a_tab_knows_no_other_tab_and_a_presenter_no_view():
    wrong = []
    for _, own, name in IMPORTS:
        if within(own, "sllm_ui.tabs") and within(name, "sllm_ui.tabs") and name != "sllm_ui.tabs":
            mine, its = own.split("."), name.split(".")
            if its[2] not in mine[2:3] or (mine[-1] == "presenter" and "view" in its):
                wrong.append(f"{own} imports {name}")
    none(wrong)


def test_nothing_from_outside_is_run():
    wrong = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                said = {ast.unparse(keyword) for keyword in node.keywords}
                is_load = ast.unparse(node.func) == "torch.load"
                if said & RUNS_CODE or (is_load and "weights_only=True" not in said):
                    wrong.append(f"{dotted(path)} line {node.lineno}: {ast.unparse(node)}")
    none(wrong)


def test_the_entry_imports_only_the_standard_library_at_the_top():
    tree = ast.parse((ROOT / "sllm.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for name in imports(ast.Module(top, []))}
    none(sorted(names - sys.stdlib_module_names))


def import_without(blocked: set[str], names: list[str]) -> None:
    code = (
        "import importlib, sys\n"
        "sys.modules.update(dict.fromkeys(sys.argv[1].split(',')))\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
    )
    command = [sys.executable, "-c", code, ",".join(sorted(blocked)), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_must_be_quick_imports_without_torch_or_matplotlib():
    quick = [name for name in map(dotted, SOURCES) if is_quick(name)]
    import_without(HEAVY | {"matplotlib"}, quick)


@pytest.mark.slow
def test_the_core_imports_without_a_toolkit():
    core = [name for name in map(dotted, SOURCES) if within(name, "sllm_core")]
    import_without(TOOLKIT | {"sllm_ui"}, core)
