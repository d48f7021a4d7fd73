"""What the Refine tab lays over the window: rules, earlier batches, the report on leaks."""

import tkinter as tk
from collections.abc import Callable

from sllm_core import messages as m
from sllm_ui.tabs.refine.batches import Batch
from sllm_ui.tabs.refine.rules import rule_rows
from sllm_ui.widgets.kit import Box, Desk, label, px, wrap
from sllm_ui.widgets.overlay import Choice
from sllm_ui.widgets.table import Col, VTable

STATES = {
    "done": ("Gone", "warn"),
    "partial": ("Partly back", "accent"),
    "undone": ("Back", "good"),
}


def show_rules(desk: Desk) -> None:
    """What the score is made of."""
    rows = rule_rows()

    def build(body: Box) -> tk.Misc:
        text = label(
            body,
            "A file begins with 100 points. Each rule that it breaks takes some, the more the "
            "further it is over the limit. A low score is a proposal, never a deed.",
            "body", "fg2", justify="left",
        )  # fmt: skip
        wrap(text).pack(fill="x", anchor="w", pady=(0, px(8)))
        cols = [
            Col("Rule", 210, kind="strong", stretch=2),
            Col("Limit", 110, "e"),
            Col("Counts for", 100, kind="muted", drop=1),
            Col("Comes from", 150, kind="muted", stretch=1, drop=2),
        ]
        table = VTable(body, cols, len(rows), lambda i: rows[i], visible=12)
        table.pack(fill="both", expand=True)
        return table

    desk.dialogs.custom(
        "What counts", build,
        [("Close", "default", None), ("Help", "ghost", lambda: desk.help("refine", "score"))],
        760, 560,
    )  # fmt: skip


def show_batches(desk: Desk, batches: tuple[Batch, ...], undo: Callable[[int], object]) -> None:
    """All batches, with the way back for the chosen one."""
    chosen = [0]

    def row(i: int) -> tuple[object, ...]:
        batch = batches[i]
        return batch.when, batch.words, STATES.get(batch.state, (batch.state, "muted"))

    def build(body: Box) -> tk.Misc:
        cols = [
            Col("When", 140),
            Col("What", 260, kind="strong", stretch=1),
            Col("Now", 110, kind="badge"),
        ]
        table = VTable(
            body, cols, visible=8, tip="What was moved or left out, newest first.",
            on_select=lambda i: chosen.__setitem__(0, i),
        )  # fmt: skip
        table.show(len(batches), row, 0)
        table.pack(fill="both", expand=True)
        return table

    def bring_back() -> None:
        batch = batches[chosen[0]]
        if batch.can_return:
            undo(batch.id)
        else:
            desk.toast("accent", "These files are back already", "")

    desk.dialogs.custom(
        "Moved and left out", build,
        [("Bring back", "primary", bring_back), ("Close", "default", None)], 680, 440,
    )  # fmt: skip


def show_leaks(desk: Desk, report: m.LeakReport, on_close: Callable[[], object]) -> None:
    """Which checked documents stand in the training text too."""

    def row(i: int) -> tuple[object, ...]:
        name, share, twin = report.rows[i]
        tone = "bad" if share >= 0.5 else "warn" if share >= 0.1 else "good"
        return name, (share, tone, f"{100 * share:.0f}"), twin

    def build(body: Box) -> tk.Misc | None:
        facts = (
            f"{report.documents:,} documents checked. {report.leaking:,} share at least a tenth of "
            f"their 13-word pieces with the training text; {report.identical:,} stand there whole."
        )
        wrap(label(body, facts, "body", "fg2", justify="left")).pack(
            fill="x", anchor="w", pady=(0, px(8))
        )
        if not report.rows:
            label(body, "Nothing was found in both.", "strong", "good").pack(anchor="w")
            return None
        cols = [
            Col("Document", 200, kind="strong", stretch=1),
            Col("Shared, %", 128, "e", "bar", tip="Share of its 13-word pieces found in training."),
            Col("Stands in", 180, kind="muted", stretch=1),
        ]
        table = VTable(body, cols, len(report.rows), row, visible=8)
        table.pack(fill="both", expand=True)
        return table

    def explain() -> None:
        on_close()
        desk.help("refine", "leaks")

    height = 480 if report.rows else 0
    choices: list[Choice] = [("Close", "default", None), ("Help", "ghost", explain)]
    desk.dialogs.custom("Leaks", build, choices, 760, height, on_close)


def ask_leaks(desk: Desk, check: Callable[[list[str] | None], object]) -> None:
    """What is compared with the training text."""

    def files() -> None:
        desk.dialogs.ask_files(
            "Files to look for in the training text",
            lambda found: check([str(path) for path in found]),
            kinds=[("All files", ["*"])],
        )

    desk.dialogs.confirm(
        "Check for leaks",
        "Text that is in training and in validation makes the validation loss look better than it "
        "is. The validation side of this project is compared with its training side in pieces of "
        "13 words; or choose files of your own, such as the questions of a test.",
        [
            ("Check validation", "primary", lambda: check(None)),
            ("Choose files", "default", files),
            ("Cancel", "ghost", None),
        ],
    )  # fmt: skip
