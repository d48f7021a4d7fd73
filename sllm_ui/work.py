"""The jobs of the project: scan, preparation, training; begun, steered, followed to their end."""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core import messages as m
from sllm_core.config import ProjectConfig
from sllm_core.errors import SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.runner import Runner
from sllm_core.jobs.series import Past, read_past
from sllm_core.ledger import Row
from sllm_core.project import Project
from sllm_ui.archive import Archive, list_runs
from sllm_ui.autosave import Autosave
from sllm_ui.chores import Chores
from sllm_ui.events import DataChanged, Notice, RunChanged
from sllm_ui.facts import Facts, read_facts
from sllm_ui.news import News, explain
from sllm_ui.now import Now
from sllm_ui.runstate import Result, RunState

# What a job is called when it fails.
JOBS = {
    "scan": "Scan",
    "prepare": "Preparation",
    "refine": "Analysis",
    "remove": "Removing files",
    "restore": "Putting files back",
    "leaks": "Check for leaks",
    "clear": "Clearing the cache",
}


class Work:
    """At most one job on the data and one training run at a time; others wait.

    Args:
        autosave: stores the settings before a job copies them.
        archive: hears when a run began, saved or ended.
        inbox: where what the jobs say comes in.
    """

    def __init__(
        self,
        now: Now,
        news: News,
        chores: Chores,
        autosave: Autosave,
        archive: Archive,
        inbox: "queue.Queue[Any]",
    ) -> None:
        self._now, self._news, self._chores = now, news, chores
        self._autosave, self._archive, self._inbox = autosave, archive, inbox
        self._runners: dict[str, Runner] = {}
        self._is_auto_scan = False  # scan again once the one that runs has ended

    def close(self) -> None:
        """Follow no job any more; they go on by themselves."""
        for runner in self._runners.values():
            self._chores.do_unheard(runner.close)
        self._runners, self._is_auto_scan = {}, False

    def refresh_data(self) -> None:
        """Read the facts about the data anew."""
        if self._now.project:

            def show(facts: Facts) -> None:
                self._now.facts = facts
                self._news.mark(DataChanged)

            self._chores.do("facts", read_facts, self._now.project, then=show)

    def scan_soon(self) -> None:
        """Scan now, or as soon as what is being done with the data has ended."""
        if self._now.is_working:
            self._is_auto_scan = True
        elif self._now.project and not self._now.read_only and self._now.config.sources:
            self.scan()
        else:
            self.refresh_data()

    def scan(self) -> None:
        """List the files of all sources."""
        self.start("scan")

    def rescan_everything(self) -> None:
        """Read every file again, whatever its date says."""
        self.start("scan", is_forced=True)

    def clear_cache(self) -> None:
        """Drop the tokens that were kept of texts."""
        self.start("clear")

    def prepare(self, *, tokenizer_file: str = "", is_vocab_asked: bool = False) -> None:
        """Tokenizer (trained, or imported from a file) and token files."""
        options: dict[str, Any] = {"is_vocab_asked": is_vocab_asked}
        options["tokenizer_file"] = str(Path(tokenizer_file).absolute()) if tokenizer_file else None
        self.start("prepare", **options)

    def start(self, kind: str, /, **options: Any) -> None:
        """Begin a job on the data (scan, prepare, refine, remove, restore, leaks, clear)."""
        if self._now.is_working or self._now.why_read_only() or not self._now.project:
            return
        self._autosave.save_now()
        try:
            run = runs.new_run(self._now.project, kind, self._now.config, **options)
        except (SllmError, OSError) as problem:
            self._news.report(problem, "The job could not be started")
            return
        self._now.data_job = RunState(run.id, kind)
        self._follow(Runner(run, self._inbox).start)

    def stop_data_job(self) -> None:
        """Stop the job on the data; what was done stays."""
        if self._now.data_job and self._now.data_job.is_live:
            self._ask(self._now.data_job, "stop")

    def start_training(self, *, continue_from: str = "") -> bool:
        """A new run with the settings as they are; False (with a notice) when it cannot start.

        With ``continue_from`` it begins with the weights of that checkpoint, in its shape.
        """
        if why := self._now.why_not_start():
            self._news.notify("warn", "Training cannot start", why)
            return False
        assert self._now.project
        if self._now.is_on_data:  # the run scans by itself
            self.stop_data_job()
        self._autosave.save_now()
        try:
            run = runs.new_run(
                self._now.project, "train", self._now.config, given=[],
                continue_from=continue_from or None, is_shape_adopted=bool(continue_from),
            )  # fmt: skip
        except (SllmError, OSError) as problem:
            self._news.report(problem, "The run could not be started")
            return False
        self._now.run = RunState(run.id, "train")
        self._follow(Runner(run, self._inbox).start)
        self._archive.refresh()
        return True

    def resume(
        self, run_id: str = "", checkpoint: str = "", changes: dict[str, Any] | None = None
    ) -> bool:
        """Go on with a run (the last one) from a checkpoint (its newest good one)."""
        why = self._now.why_read_only() or ("A run is on." if self._now.is_training else "")
        if why or not self._now.project:
            self._news.notify("warn", "The run cannot go on now", why)
            return False
        try:
            name = run_id or runs.last_run(self._now.project).id
            run = runs.open_run(self._now.project, name)
        except SllmError as problem:
            self._news.report(problem, "There is no run to go on with")
            return False
        if runs.is_alive(run):
            self._news.notify("warn", "That run is on already", run.lock().holder())
            return False
        self._now.run = RunState(run.id, "train")
        runner = Runner(run, self._inbox, resume=checkpoint, changes=changes)

        def go_on(past: Past) -> None:
            self._now.run = RunState.from_past(run, past, "starting")
            self._follow(runner.start)
            self._archive.refresh()

        self._chores.do(f"past {run.id}", read_past, run.folder, then=go_on)
        self._news.mark(RunChanged)
        return True

    def pause(self) -> None:
        """Pause the run after this step, or let it go on."""
        run = self._now.run
        if run is None or run.state not in {"running", "paused"} or self._is_refused():
            return
        is_on_again = run.state == "paused" or run.is_pausing
        self._ask(run, "run" if is_on_again else "pause")

    def stop(self) -> None:
        """Save a checkpoint, then stop; a second time: end the process."""
        run = self._now.run
        if run is None or not run.is_live:
            self.stop_data_job()
            return
        if self._is_refused():
            return
        if run.state == "stopping":
            runner = self._runners.get(run.id)
            if runner:
                runner.end(patience_s=5.0)
            return
        self._ask(run, "stop")

    def save_now(self) -> None:
        """Ask the run for a checkpoint after this step."""
        run = self._now.run
        runner = self._runners.get(run.id) if run else None
        if runner and not self._is_refused():
            self._try(runner.save_now)

    def change_live(self, values: dict[str, Any]) -> None:
        """Settings that a run takes over while it goes on (intervals, how many are kept)."""
        run = self._now.run
        runner = self._runners.get(run.id) if run and run.is_live else None
        if runner and not self._is_refused():
            self._try(lambda: runner.change(values))

    def _is_refused(self) -> bool:
        """Whether this window only looks on: the run is another one's to steer."""
        if self._now.read_only:
            self._news.notify("warn", "This window only looks on", self._now.read_only)
        return bool(self._now.read_only)

    def enqueue(self, config: ProjectConfig | None = None) -> None:
        """A run with the settings as they are (or other ones), for when the present one is done."""
        if (why := self._now.why_read_only()) or not self._now.project:
            self._news.notify("warn", "The run cannot be queued", why)
            return
        self._autosave.save_now()
        try:
            runs.new_run(
                self._now.project, "train", config or self._now.config, queued=True, given=[]
            )
        except (SllmError, OSError) as problem:
            self._news.report(problem, "The run could not be queued")
            return
        if self._now.is_training:
            self._news.notify("good", "Queued", "It starts when the present run is done.")
        else:
            self.start_next_queued()
        self._archive.refresh()

    def start_next_queued(self) -> None:
        """Start the oldest run that waits."""
        if self._now.project is None or self._now.read_only or self._now.is_training:
            return
        project = self._now.project

        def found(infos: tuple[list[m.RunInfo], list[Row]]) -> None:
            self._archive.show(infos)
            waiting = [info for info in infos[0] if info.state == "queued"]
            if waiting and not self._now.is_training:
                self.resume(waiting[-1].run)

        self._chores.do("next", list_runs, project, then=found)

    def _ask(self, run: RunState, wish: str) -> None:
        runner = self._runners.get(run.id)
        if runner is None:
            return
        if self._try(lambda: runner.ask(wish)):
            if wish == "stop":
                run.state = "stopping"
            run.is_pausing = wish == "pause"
            run.version += 1
            self._news.mark(RunChanged)

    def _follow(self, begin: Callable[[], Runner]) -> None:
        try:
            runner = begin()
        except (SllmError, OSError) as problem:
            job = self._now.data_job
            state = job if job and job.state == "starting" else self._now.run
            if state:
                state.state = "failed"
            self._news.report(problem, "The worker could not be started")
            return
        self._runners[runner.run_id] = runner
        self._news.mark(RunChanged)

    def load_last_run(self) -> None:
        """Show the newest training run: followed when it is live, named when it was cut off."""
        assert self._now.project
        project = self._now.project
        if names := runs.run_ids(project, "train"):
            self._chores.do("last run", last_run, project, names, then=self._show_last_run)

    def _show_last_run(self, found: "tuple[runs.Run, Past, m.RunInfo] | None") -> None:
        if self._now.is_training or found is None:
            return
        run, past, info = found
        state = info.state
        self._now.run = RunState.from_past(run, past, state)
        if state == "running":
            self._follow(Runner(run, self._inbox, offset=past.end).attach)
            where = (
                "Another one steers it." if self._now.read_only else "It is followed from here on."
            )
            self._news.notify("accent", "A run is on", where, ("Show it", "tab_train"))
        elif state == "interrupted":
            step = f" at step {info.step:,}" if info.step else ""
            self._news.notify(
                "warn", f"The last run was interrupted{step}",
                "It goes on from its newest checkpoint; nothing that was saved is lost.",
                ("Continue", "resume"),
            )  # fmt: skip
        self._news.mark(RunChanged)

    def said(self, source: str, message: m.Message | None, stamp: float) -> None:
        """A job said something, or (None) nothing more comes from it."""
        states = (self._now.run, self._now.data_job)
        state = next((s for s in states if s is not None and s.id == source), None)
        if state is None or message is None:
            return
        state.apply(message, stamp)
        self._news.mark(RunChanged, is_in_turn=True)
        if isinstance(message, m.Saved | m.Started):
            self._archive.refresh()
        if isinstance(message, m.Prepared | m.Scanned | m.TokenizerReady) and state.kind == "train":
            self.refresh_data()
        if not state.is_live:
            self._ended(state, message)

    def _ended(self, state: RunState, message: m.Message) -> None:
        self._runners.pop(state.id, None)
        self.refresh_data()
        if state.kind == "train":
            self._archive.refresh()
        if notice := end_notice(state, message):
            self._news.bus.publish(notice)
        if state.kind == "train" and isinstance(message, m.Done | m.Failed):
            self.start_next_queued()
        if self._is_auto_scan:
            self._is_auto_scan = False
            self.scan_soon()

    def _try(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except (SllmError, OSError) as problem:
            self._news.report(problem, "The run could not be told")
            return False
        return True


def last_run(project: Project, names: list[str]) -> "tuple[runs.Run, Past, m.RunInfo] | None":
    """The run that is on, else the newest one that began; those that cannot be read are passed."""
    chosen = None
    for n_seen, name in enumerate(reversed(names), start=1):
        if chosen and n_seen > 5:  # only one of the newest can still be on
            break
        try:
            run = runs.open_run(project, name)
        except SllmError:
            continue
        if runs.is_alive(run):
            chosen = run
            break
        if chosen is None and not runs.is_queued(run):
            chosen = run
    if chosen is None:
        return None
    past = read_past(chosen.folder)
    return chosen, past, runs.summarize(chosen, past)


def end_notice(state: RunState, message: m.Message) -> Notice | None:
    """What a person should hear of how a job ended."""
    step = state.step.step if state.step else 0
    match state.kind, message:
        case "train", m.Failed(text=text) if state.state == "interrupted":
            at = f" at step {step:,}" if step else ""
            return Notice("warn", f"The run was interrupted{at}", text, ("Continue", "resume"))
        case "train", m.Failed(text=text):
            return Notice("bad", "The run failed", text, ("Show the log", "tab_monitor"))
        case "train", m.Stopped(path=path) if step:
            saved = f"Saved as {path}." if path else ""
            return Notice("good", f"Stopped at step {step:,}", saved, ("Test it", "tab_test"))
        case "train", m.Done(best_val_loss=loss):
            best = f"Best validation loss {fmt.number(loss)}."
            return Notice("good", "Training is done", best, ("Test it", "tab_test"))
        case kind, m.Failed(text=text, code=code):
            return Notice("bad", f"{JOBS.get(kind, 'The job')} failed", text, explain(code))
        case "prepare", m.Done():
            ready = ("Train", "tab_train")
            return Notice("good", "The data is prepared", "Training can start at once.", ready)
        case "clear", m.Done():
            return Notice("good", "The cache is cleared", "The next preparation encodes anew.")
        case _, m.Done() | m.Stopped() if state.result is not None:
            return result_notice(state.result)
    return None


def result_notice(result: Result) -> Notice:
    """What a person should hear of how a job on the data went."""
    match result:
        case m.Refined():
            text = f"{result.drop + result.copy:,} of {result.files:,} are proposed to go."
            failed = f" {_files(result.failed)} could not be measured." if result.failed else ""
            action = ("Show them", "tab_refine")
            title = f"{_files(result.files)} analysed"
            return Notice("warn" if failed else "good", title, text + failed, action)
        case m.Removed():
            verb = "moved to _trash" if result.kind == "trash" else "left out where they are"
            text = f"{fmt.size(result.n_bytes)}.{_kept(result.kept, 'stayed')}"
            undo = ("Undo", "undo_remove") if result.files else None
            return Notice(_tone(result.kept), f"{_files(result.files)} {verb}", text, undo)
        case m.Restored():
            text = f"{fmt.size(result.n_bytes)}.{_kept(result.kept, 'could not come back')}"
            return Notice(_tone(result.kept), f"{_files(result.files)} came back", text)
        case m.LeakReport():
            show = ("Show it", "tab_refine")
            if not result.leaking:
                text = (
                    f"None of {result.documents:,} checked documents stands in the training text."
                )
                return Notice("good", "No leaks found", text, show)
            text = "At least a tenth of each stands in the training text too."
            title = f"{result.leaking:,} of {result.documents:,} documents leak"
            return Notice("warn", title, text, show)


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n:,} files"


def _tone(kept: dict[str, int]) -> str:
    return "warn" if any(kept.values()) else "good"


def _kept(kept: dict[str, int], verb: str) -> str:
    """``, such as " 3 files stayed: changed 2, in-use 1."``."""
    n = sum(kept.values())
    if not n:
        return ""
    return f" {_files(n)} {verb}: {', '.join(f'{reason} {m}' for reason, m in kept.items())}."
