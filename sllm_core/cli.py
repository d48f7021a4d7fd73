"""The command line: the same functions as the window's, for scripts, servers and torchrun.

Exit codes: 0 done, 1 refused or failed (one message with its code on standard error),
130 / 143 / 129 ended by Ctrl-C / SIGTERM / SIGHUP after saving.
"""

import argparse
import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from sllm_core import config as settings
from sllm_core import fmt, messages, presets, project
from sllm_core.config import ProjectConfig
from sllm_core.errors import CheckpointError, LockError, UsageError
from sllm_core.jobs import runs
from sllm_core.jobs.channel import PipeChannel, describe, read_control, write_control
from sllm_core.jobs.worker import guarded, run_job
from sllm_core.messages import Failed, Message, Plan, Progress, Step
from sllm_core.project import Project, open_project

REFRESH_S = 0.2


class Console:
    """What a person sees: sentences, and one progress line where there is a terminal."""

    def __init__(self, *, is_json: bool) -> None:
        self._pipe = PipeChannel(sys.stdout) if is_json else None
        self._is_terminal = sys.stderr.isatty()
        self._line = ""
        self._last = 0.0
        self._total = 0
        self._begun: tuple[int, float] | None = None

    def emit(self, message: Message) -> None:
        """Show a message, or print it as one JSON line."""
        if isinstance(message, Plan):
            self._total = message.total_steps
        if self._pipe:
            self._pipe.emit(message)
            return
        if isinstance(message, Step | Progress):
            self._show_progress(message)
            return
        if isinstance(message, Failed):
            return  # printed to standard error at the end
        text = describe(message)
        if text:
            self.clear()
            print(text, flush=True)

    def _show_progress(self, message: Step | Progress) -> None:
        now = time.monotonic()
        if isinstance(message, Step):
            text = self._step_line(message, now)
        elif message.total and message.state == "running":
            share = 100 * message.done / message.total
            done = fmt.size(message.done) if message.unit == "bytes" else f"{message.done:,}"
            unit = "" if message.unit == "bytes" else f" {message.unit}"
            text = f"{message.step_name}: {done}{unit} ({share:.0f} %)"
        else:
            text = f"{message.step_name}: {message.done:,} {message.unit}" * bool(message.unit)
        wait = REFRESH_S if self._is_terminal else 10.0
        if not text or now - self._last < wait:
            return
        self._last = now
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._line = text[:width]
            sys.stderr.write(f"\r\033[K{self._line}")
        elif isinstance(message, Step):
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _step_line(self, message: Step, now: float) -> str:
        """Step, loss, rate and the time left, which is measured and not promised."""
        if self._begun is None:
            self._begun = (message.step, now)
        first, begun = self._begun
        left = None
        if message.step - first >= 3 and self._total:
            pace = (now - begun) / (message.step - first)
            left = pace * (self._total - message.step)
        rate = f"{fmt.count(message.tokens_per_sec)} tokens/s"
        return (
            f"step {message.step:,}/{self._total:,}  loss {fmt.number(message.loss, 4)}  "
            f"lr {message.lr:.2e}  {rate}  {fmt.duration(left)} left"
        )

    def clear(self) -> None:
        """Wipe the progress line."""
        if self._line:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._line = ""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are messages like all others."""

    def error(self, message: str) -> NoReturn:
        """Refuse with E-USAGE."""
        hint = ""
        if message.startswith("unrecognized arguments") and "=" in message:
            hint = " Write --set in front of each setting."
        words = f"{message[0].upper()}{message[1:]}.{hint}"
        raise UsageError("USAGE", words, todo=f"See: {self.prog} -h")


def build_parser() -> Parser:
    """All commands and their options."""
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON line a message")
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    parser = Parser(
        prog="sllm.py",
        description="Train a small GPT from scratch on your own files, on your own computer.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(name: str, text: str, *, has_project: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=text, description=text, parents=[common], allow_abbrev=False
        )
        if has_project:
            made.add_argument("project", metavar="PROJECT", help="project folder")
        return made

    demo = add("demo", "train on this Python's own library and write text", has_project=False)
    demo.add_argument("--minutes", type=float, default=2.0, help="training time (default 2)")
    demo.add_argument("--project", metavar="D", help="where (default: sample_project)")

    new = add("new", "make a project")
    new.add_argument(
        "--source", metavar="DIR", action="append", required=True, help="file or folder"
    )
    new.add_argument("--exclude", metavar="GLOB", action="append", default=[], help="leave out")
    _add_settings(new)

    scan = add("scan", "list the files of the sources")
    scan.add_argument("--all", action="store_true", help="read every file again")
    scan.add_argument("--report", metavar="FILE", help="write the list as CSV, with all reasons")
    _add_settings(scan)

    refine = add("refine", "score the files, find copies; move what should go, and take it back")
    refine.add_argument("--min-score", type=int, metavar="N", help="files below are to go")
    refine.add_argument("--near-dup", type=float, metavar="T", help="near copies from 0.5 to 0.99")
    actions = refine.add_mutually_exclusive_group()
    actions.add_argument("--apply", action="store_true", help="move them to _trash")
    actions.add_argument("--exclude", action="store_true", help="leave them out where they are")
    actions.add_argument("--undo", action="store_true", help="take the last batch back")
    actions.add_argument(
        "--leaks",
        nargs="*",
        metavar="FILE",
        help="how much of validation, or of FILE, is trained on",
    )
    refine.add_argument("--batch", type=int, metavar="N", help="with --undo: which batch")
    refine.add_argument("--report", metavar="FILE", help="write the list as CSV, with all reasons")
    _add_settings(refine)

    prepare = add("prepare", "train or import the tokenizer and encode the files")
    prepare.add_argument("--target-vocab-size", type=int, metavar="N", help="vocabulary wished for")
    prepare.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json to import")
    prepare.add_argument(
        "--clear-cache", action="store_true", help="first forget all that was encoded before"
    )
    _add_settings(prepare)

    train = add("train", "train a model (prepares first if needed)")
    _add_settings(train)
    limits = train.add_mutually_exclusive_group()
    limits.add_argument("--max-steps", type=int, metavar="N", help="updates of the weights")
    limits.add_argument("--epochs", type=float, metavar="N", help="passes over the text")
    limits.add_argument("--tokens", type=_whole, metavar="N", help="such as 2e6")
    limits.add_argument("--time", metavar="45m", help="training time")
    origin = train.add_mutually_exclusive_group()
    origin.add_argument("--resume", metavar="auto|FILE", help="go on with a run")
    origin.add_argument("--continue-from", metavar="best|last|FILE", help="new run, these weights")

    generate = add("generate", "write text")
    generate.add_argument("--prompt", required=True, metavar="TEXT")
    generate.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    for name, kind in (("max-new-tokens", int), ("top-k", int), ("seed", int)):
        generate.add_argument(f"--{name}", type=kind, metavar="N")
    for name in ("temperature", "top-p", "repetition-penalty"):
        generate.add_argument(f"--{name}", type=float, metavar="X")
    generate.add_argument("--stop", action="append", metavar="TEXT", help="end before this text")

    evaluate = add("evaluate", "loss, perplexity and bits per byte")
    evaluate.add_argument("files", nargs="*", metavar="FILE", help="default: the validation side")
    evaluate.add_argument("--checkpoint", default="best", metavar="best|last|FILE")

    add("runs", "list the runs of a project")
    verify = add("verify", "prove that files are intact", has_project=False)
    verify.add_argument("path", metavar="FILE|PROJECT")
    add("doctor", "say what is missing or slow on this computer", has_project=False)
    add("install-shortcut", "put the window into the start menu", has_project=False)
    return parser


def _whole(text: str) -> int:
    """A count that may be written as 2e6; argparse says it is invalid when it is not finite."""
    try:
        return int(float(text))
    except OverflowError:
        raise ValueError(text) from None


_whole.__name__ = "number"


def _add_settings(parser: argparse.ArgumentParser) -> None:
    slugs = ", ".join(preset.slug for preset in presets.PRESETS)
    parser.add_argument("--preset", metavar="NAME", help=slugs)
    words = "any setting by its name, again and again; help/settings.md lists them"
    parser.add_argument(
        "--set", metavar="key=value", action="append", default=[], dest="sets", help=words
    )


# -- commands ------------------------------------------------------------------------------------


def run_new(arguments: argparse.Namespace, console: Console) -> int:
    """Make a project folder with its settings."""
    config = presets.build(ProjectConfig(), arguments.preset, arguments.sets)
    made = project.create(
        arguments.project, arguments.source, config, exclude=tuple(arguments.exclude)
    )
    console.emit(messages.Log(f"Made the project {made.root}."))
    return 0


def _config(opened: Project, arguments: argparse.Namespace) -> ProjectConfig:
    return presets.build(opened.load_config(), arguments.preset, arguments.sets)


def _run_job(
    opened: Project,
    console: Console,
    kind: str,
    make: Callable[[], runs.Run],
    resume: str = "",
    keep: ProjectConfig | None = None,
) -> int:
    """Hold the project, do a job of ``kind`` here, print how it ended.

    Settings to ``keep`` become the project's own once the job has succeeded: they describe its
    data.
    """
    with opened.lock(f"the command {kind}"):
        known = set(runs.run_ids(opened))
        run = make()
        try:
            last, code = run_job(run, console.emit, resume=resume)
        except LockError:
            if run.id not in known:
                shutil.rmtree(run.folder)
            raise
        if keep is not None and code == 0:
            opened.save_config(keep)
    console.clear()
    if isinstance(last, Failed):
        sys.stderr.write(f"{last.text}\n")
    return code


def run_scan(arguments: argparse.Namespace, console: Console) -> int:
    """List files; those not used with the reason."""
    from sllm_core.corpus.index import Index

    opened = open_project(arguments.project)
    config = _config(opened, arguments)
    is_kept = bool(arguments.sets or arguments.preset)
    keep = config if is_kept else None

    def make() -> runs.Run:
        return runs.new_run(opened, "scan", config, is_forced=arguments.all)

    code = _run_job(opened, console, "scan", make, keep=keep)
    code = code or _write_report(opened, arguments)
    if code == 0 and not arguments.json:
        with Index(opened.db_path) as index:
            rows = index.unused_files(21, but=("extension", "empty"))  # the two that need no look
            converted = index.converted_files(20)
        for row in rows[:20]:
            print(f"  {row.state:8} {row.reason:16} {row.path_text}")
        if len(rows) > 20:
            print("  ... (all of them: --report FILE)")
        for row in converted:
            print(f"  used     from {row.encoding:11} {row.path_text}")
    _say_kept(code, is_kept, arguments)
    return code


def _write_report(opened: Project, arguments: argparse.Namespace) -> int:
    """The list of files as CSV, where one was asked for."""
    if arguments.report:
        from sllm_core.corpus import report
        from sllm_core.corpus.index import Index

        path = Path(arguments.report).absolute()
        with Index(opened.db_path) as index:
            n = report.write_csv(index, path)
        if not arguments.json:
            print(f"Wrote {path} ({n:,} files).")
    return 0


def run_refine(arguments: argparse.Namespace, console: Console) -> int:
    """Scores, copies, findings; what should go is moved only when that is asked for."""
    opened = open_project(arguments.project)
    if arguments.undo:
        return _run_data_job(opened, console, "restore", {"batch": arguments.batch})
    if arguments.leaks is not None:
        files = [str(Path(name).absolute()) for name in arguments.leaks]
        return _run_data_job(opened, console, "leaks", {"files": files})
    given = {"min_score": arguments.min_score, "near_threshold": arguments.near_dup}
    given = {name: value for name, value in given.items() if value is not None}
    config = settings.with_values(_config(opened, arguments), given)
    is_kept = bool(given or arguments.sets or arguments.preset)
    keep = config if is_kept else None
    make = partial(runs.new_run, opened, "refine", config)
    code = _run_job(opened, console, "refine", make, keep=keep)
    code = code or _write_report(opened, arguments)
    if code == 0 and not arguments.json:
        _show_worst(opened, config)
    if code == 0 and (arguments.apply or arguments.exclude):
        kind = "trash" if arguments.apply else "exclude"
        options = {"kind": kind, "verdicts": ["drop", "copy"]}
        code = _run_data_job(opened, console, "remove", options)
    _say_kept(code, is_kept, arguments)
    return code


def _run_data_job(opened: Project, console: Console, kind: str, options: dict[str, Any]) -> int:
    config = opened.load_config()
    return _run_job(opened, console, kind, partial(runs.new_run, opened, kind, config, **options))


def _show_worst(opened: Project, config: ProjectConfig) -> None:
    """The files that should go, worst first, with the first reason of each."""
    import numpy as np

    from sllm_core.corpus import rules, table

    rows = table.load(opened.db_path)
    verdicts = table.verdicts(rows, config.refine, config.clean)
    going = np.flatnonzero(np.isin(verdicts, [table.DROP, table.COPY]))
    for i in going[np.argsort(rows.score[going], kind="stable")][:20].tolist():
        word = table.VERDICTS[verdicts[i]]
        if word == "copy":
            why = f"copy of {rows.path(int(rows.keeper[i]))}"
        else:
            why = ", ".join(rules.explain(*reason) for reason in rows.reasons(i)[:2])
            why = why or "keys, passwords or a language that is left out"
        print(f"  {word:5} {rows.score[i]:3}  {rows.path(i)}: {why}")
    if len(going) > 20:
        print(f"  ... {len(going) - 20:,} more (all of them: --report FILE)")


def run_prepare(arguments: argparse.Namespace, console: Console) -> int:
    """Tokenizer and token files."""
    opened = open_project(arguments.project)
    config = _config(opened, arguments)
    asked = arguments.target_vocab_size
    if asked is not None:
        config = settings.with_values(config, {"target_vocab_size": asked})
    file = str(Path(arguments.tokenizer).absolute()) if arguments.tokenizer else None

    def make() -> runs.Run:
        return runs.new_run(
            opened, "prepare", config, tokenizer_file=file, is_vocab_asked=asked is not None
        )

    is_kept = bool(asked is not None or arguments.sets or arguments.preset)
    if arguments.clear_cache and (code := _run_data_job(opened, console, "clear", {})):
        return code
    code = _run_job(opened, console, "prepare", make, keep=config if is_kept else None)
    _say_kept(code, is_kept, arguments)
    return code


def _say_kept(code: int, is_kept: bool, arguments: argparse.Namespace) -> None:
    """Settings given to scan or prepare stay, and it is said."""
    if (
        code == 0 and is_kept and not arguments.json
    ):  # there the job's own last line ends the output
        print("The settings given are now the project's own.")


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """The budget given on the command line; it replaces every other limit."""
    given: dict[str, Any] = {
        "max_steps": arguments.max_steps,
        "epochs": arguments.epochs,
        "max_tokens": arguments.tokens,
        "max_time_s": None,
    }
    if arguments.time:
        try:
            given["max_time_s"] = fmt.parse_duration(arguments.time)
        except ValueError as problem:
            raise UsageError("USAGE", f"--time: {problem}.") from None
    return given if any(value is not None for value in given.values()) else {}


def run_train(arguments: argparse.Namespace, console: Console) -> int:
    """Train, resume, or continue on new data."""
    opened = open_project(arguments.project)
    limits = _limits(arguments)
    if arguments.resume:
        return _resume(opened, arguments, limits, console)
    config = _config(opened, arguments)
    if limits:
        config = replace(config, train=config.train.with_limits(**limits))
    source = arguments.continue_from

    def make() -> runs.Run:
        nonlocal config
        if source and not arguments.preset:
            from sllm_core.jobs import models

            config = models.adopt_shape(opened, config, source)
        given = [arguments.preset] * bool(arguments.preset) + arguments.sets
        return runs.new_run(opened, "train", config, continue_from=source, given=given)

    return _run_job(opened, console, "train", make)


def _resume(
    opened: Project, arguments: argparse.Namespace, limits: dict[str, Any], console: Console
) -> int:
    from sllm_core.checkpoint import Checkpoints
    from sllm_core.jobs import training

    if arguments.preset:
        raise UsageError("USAGE", "A resumed run keeps its settings: leave out --preset.")
    values = {**settings.parse_sets(arguments.sets), **limits}
    name = "" if arguments.resume == "auto" else arguments.resume

    def make() -> runs.Run:
        if name:
            row = Checkpoints(opened).find(name)
            if row is None:
                raise CheckpointError(
                    "MISSING",
                    f"{name} is not a checkpoint of this project.",
                    todo="For weights from elsewhere: train --continue-from FILE",
                )
            run = runs.open_run(opened, row.run)
        else:
            run = runs.last_run(opened)
        if runs.is_alive(run):
            raise LockError("HELD", run.lock().holder(), todo="Wait for it, or stop it first.")
        wish = read_control(run.folder)
        write_control(run.folder, replace(wish, state="run", reason=""))  # yesterday's Stop is over
        return training.change_limits(run, values) if values else run

    return _run_job(opened, console, "train", make, resume=name)


def run_generate(arguments: argparse.Namespace, console: Console) -> int:
    """Write behind a prompt, streaming."""
    from dataclasses import asdict

    from sllm_core.jobs import models
    from sllm_core.sampler import write

    opened = open_project(arguments.project)
    names = ["max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty"]
    given = {name: getattr(arguments, name) for name in names}
    given |= {"sample_seed": arguments.seed, "stop": tuple(arguments.stop or ()) or None}
    given = {name: value for name, value in given.items() if value is not None}
    sampling = replace(opened.load_config().sampling, **given)
    model, used, device, title = models.load_model(opened, arguments.checkpoint)
    if not arguments.json:
        sys.stderr.write(f"{title}\n")
        sys.stdout.write(arguments.prompt)
    written = write(
        model,
        used,
        arguments.prompt,
        sampling,
        device=device,
        seed=sampling.sample_seed,
        on_text=None if arguments.json else _print_now,
    )
    if arguments.json:
        console.emit(messages.Generated(prompt=arguments.prompt, **asdict(written)))
    else:
        rate = f", {written.tokens_per_sec:.0f} tokens/s" if written.tokens_per_sec else ""
        sys.stdout.write("\n")
        sys.stderr.write(
            f"[{written.n_tokens} tokens, {written.reason}, seed {written.seed}{rate}]\n"
        )
    return 0


def _print_now(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def run_evaluate(arguments: argparse.Namespace, console: Console) -> int:
    """Measure a checkpoint on files or on the validation side."""
    from sllm_core.jobs import models, pipeline

    opened = open_project(arguments.project)
    files = [Path(name) for name in arguments.files]
    models.evaluate_project(opened, arguments.checkpoint, files, pipeline.Job(console.emit))
    console.clear()
    return 0


def run_runs(arguments: argparse.Namespace, console: Console) -> int:
    """One line a training run, newest last."""
    opened = open_project(arguments.project)
    names = runs.run_ids(opened, "train")
    for name in names:
        console.emit(runs.summarize(runs.open_run(opened, name)))
    if not names:
        console.emit(messages.Log("The project has no runs yet."))
    return 0


def run_verify(arguments: argparse.Namespace, console: Console) -> int:
    """Exit 0 when everything is good, else 1 with each reason."""
    from sllm_core import foreign
    from sllm_core.checkpoint import Checkpoints
    from sllm_core.jobs import models, pipeline

    path = Path(arguments.path).absolute()
    if path.is_dir():
        opened = open_project(path)
        is_good = models.verify_project(opened, pipeline.Job(console.emit))
        return 0 if is_good else 1
    home = Project(path.parent.parent)
    if path.parent == home.checkpoints_dir and home.config_path.exists():
        store = Checkpoints(home)
        row = store.find(path.name)
        if row is not None:
            store.verify(row)
            text = f"step {row.step}, SHA-256 equal to what was saved"
            console.emit(messages.Verified(path.name, True, text))
            return 0
    content = foreign.open_checkpoint(path)
    text = f"readable, step {content['step']}; it is listed in no project, so no hash is on record"
    console.emit(messages.Verified(path.name, True, text))
    return 0


def run_doctor(_: argparse.Namespace, console: Console) -> int:
    """What is there, what is missing, what is slow; exit 1 when something must be fixed."""
    from sllm_core import doctor

    findings = doctor.examine()
    for finding in findings:
        console.emit(finding)
    return 1 if any(finding.level == "problem" for finding in findings) else 0


def run_install_shortcut(_: argparse.Namespace, console: Console) -> int:
    """An entry in the start menu, and on the desktop where there is one."""
    from sllm_core import shortcut

    place = shortcut.install(Path(__file__).resolve().parents[1], Path(sys.executable))
    console.emit(messages.Log(f"Made {place}."))
    return 0


def run_demo(arguments: argparse.Namespace, console: Console) -> int:
    """The sample project from nothing to text."""
    from sllm_core import sample

    if not 0 < arguments.minutes < 10_000:
        raise UsageError("USAGE", f"--minutes {arguments.minutes:g} is not a length of time.")
    opened = sample.open_or_create(arguments.project)
    console.emit(messages.Log(f"Sample project: {opened.root}"))
    config = opened.load_config()
    limits = {"max_time_s": max(1.0, 60 * arguments.minutes)}
    config = replace(config, train=config.train.with_limits(**limits))
    code = _run_job(opened, console, "train", lambda: runs.new_run(opened, "train", config))
    if code:
        return code
    for prompt in config.train.sample_prompts:
        request = argparse.Namespace(
            project=str(opened.root), prompt=prompt, checkpoint="best", max_new_tokens=120,
            temperature=None, top_k=None, top_p=None, repetition_penalty=None, seed=None, stop=None,
            json=arguments.json,
        )  # fmt: skip
        code = code or run_generate(request, console)
    return code


COMMANDS: dict[str, Callable[[argparse.Namespace, Console], int]] = {
    "demo": run_demo,
    "new": run_new,
    "scan": run_scan,
    "refine": run_refine,
    "prepare": run_prepare,
    "train": run_train,
    "generate": run_generate,
    "evaluate": run_evaluate,
    "runs": run_runs,
    "verify": run_verify,
    "doctor": run_doctor,
    "install-shortcut": run_install_shortcut,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    is_debug = "--debug" in words
    logging.basicConfig(
        level=logging.WARNING if is_debug else logging.CRITICAL,
        format="%(levelname)s %(name)s: %(message)s",
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        parser = build_parser()
        arguments = parser.parse_args(words)
        if arguments.command is None:
            parser.print_help()
            return 0
        console = Console(is_json=arguments.json)
        result = guarded(lambda: COMMANDS[arguments.command](arguments, console))
        console.clear()
        if isinstance(result, int):
            return result
        console.emit(result)
        sys.stderr.write(f"{describe(result)}\n")
        return 1
    except UsageError as problem:
        sys.stderr.write(f"{problem.text}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
