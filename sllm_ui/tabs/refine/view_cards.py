"""The column at the left of the Refine tab: what stays, what goes, what is cleaned."""

import dataclasses
from functools import partial
from typing import Any

from sllm_core.config import CleanConfig, RefineConfig
from sllm_ui.tabs.refine import words
from sllm_ui.tabs.refine.presenter import Presenter
from sllm_ui.tabs.refine.state import State
from sllm_ui.tabs.refine.view_sheets import show_rules
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Check, Combo, button, check, combo, slider
from sllm_ui.widgets.form import explain
from sllm_ui.widgets.histogram import Histogram
from sllm_ui.widgets.kit import Box, Card, Desk, Elided, label, px, wrap

SCORE_AS = {"Score as: automatic": "auto", "Score as: code": "code", "Score as: prose": "prose"}
PERSONAL = (
    ("emails", "E-mail addresses", "mask_emails"),
    ("phones", "Phone numbers", "mask_phones"),
    ("ips", "IP addresses", "mask_ips"),
)
SECRETS = ("Leave", "Mask", "Drop")
CLEANING = tuple(f.name for f in dataclasses.fields(CleanConfig) if not f.name.startswith("mask_"))
MOST_LANGUAGES = 10


def _amount(state: State, n: int | None) -> str:
    return "-" if n is None or not state.is_analysed else f"{n:,}"


class ScoreCard:
    """The histogram, what it means, and what counts."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter = presenter
        self.card = Card(master, "Quality score", "bar-chart", pad=14)
        body = self.card.body
        self.histogram = Histogram(body, presenter.move_line, presenter.set_line)
        self.histogram.pack(fill="x", pady=(0, px(6)))
        self._keep = label(body, "", "strong")
        self._keep.pack(anchor="w")
        self._rest = Elided(body, "", "caption", "muted")
        self._rest.pack(fill="x")
        row = Box(body)
        row.pack(fill="x", pady=(px(8), 0))
        what = button(
            row, "What counts", kind="ghost", small=True, command=lambda: show_rules(desk),
            tip="The rules that the score is made of, their limits and where they come from.",
        )  # fmt: skip
        what.pack(side="right", padx=(px(6), 0))
        self._as = combo(
            row, list(SCORE_AS), width=8, tip=explain(RefineConfig, "score_as"),
            on_change=lambda text: presenter.change(score_as=SCORE_AS[text]),
        )  # fmt: skip
        self._as.pack(side="left", fill="x", expand=True)

    def show(self, state: State) -> None:
        """Bring it up to date."""
        why = state.locked or ("" if state.is_analysed else "Analyse the files first.")
        self.histogram.show(state.scores if state.is_analysed else (), state.line, why)
        counts = state.counts
        if counts is None or not state.is_analysed:
            self._keep.configure(text="Not scored yet")
            self._rest.set_text(f"Files under {state.line} will be proposed to go.")
        else:
            keep, drop, copy, mask, _ = counts.files
            stay = keep + mask
            self._keep.configure(text=f"Keep {words.percent(stay, counts.used)} of files")
            self._rest.set_text(f"{stay:,} stay, {drop + copy:,} would go. Drag the line.")
        text = next(text for text, value in SCORE_AS.items() if value == state.refine.score_as)
        if self._as.get_value() != text:
            self._as.set_value(text)
        kit.enable(self._as, not state.locked, state.locked)


class CopiesCard:
    """Exact and near copies, and what counts as near."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self.card = Card(master, "Duplicates", "files", pad=14)
        self._checks: dict[str, Check] = {}
        self._counts: dict[str, Any] = {}
        for name, text in (("drop_exact", "Exact copies"), ("drop_near", "Near copies")):
            row = Box(self.card.body)
            row.pack(fill="x", pady=px(1))
            self._checks[name] = check(
                row, text, on_change=partial(_change, presenter, name),
                tip=explain(RefineConfig, name),
            )  # fmt: skip
            self._checks[name].pack(side="left")
            self._counts[name] = label(row, "-", "body", "fg2")
            self._counts[name].pack(side="right")
        row = Box(self.card.body)
        row.pack(fill="x", pady=(px(4), 0), padx=(px(26), 0))
        label(row, "alike from", "caption", "muted").pack(side="left")
        self._figure = label(row, "0.90", "caption", "fg", width=5, anchor="e")
        self._figure.pack(side="right")
        self._slider = slider(
            row, 0.5, 0.99, 0.9, self._moved, 0.01,
            f"{explain(RefineConfig, 'near_threshold')}\nCopies are looked for again by Analyse.",
        )  # fmt: skip
        self._slider.pack(side="left", fill="x", expand=True, padx=px(8))
        self._presenter, self._timer = presenter, ""
        self._again = Box(self.card.body)
        words_box = label(
            self._again, "Copies were looked for with another value.", "caption", "warn",
            justify="left",
        )  # fmt: skip
        wrap(words_box, 90).pack(side="left")
        self._look = button(
            self._again, "Look again", kind="link", small=True, command=presenter.analyse,
            tip="Analyse again: scores that are known are kept, copies are looked for anew.",
        )  # fmt: skip
        self._look.pack(side="right")
        self._slider.bind("<Destroy>", lambda _: self._drop_timer())

    def _moved(self, value: float) -> None:
        """The figure follows at once, the setting when the knob has come to rest."""
        self._figure.configure(text=f"{value:.2f}")
        self._drop_timer()
        self._timer = self._slider.after(300, self._settle)

    def _drop_timer(self) -> None:
        if self._timer:
            self._slider.after_cancel(self._timer)
            self._timer = ""

    def _settle(self) -> None:
        self._timer = ""
        self._presenter.change(near_threshold=round(self._slider.get_value(), 2))

    def show(self, state: State) -> None:
        """Bring it up to date."""
        counts = state.counts
        for name, n in (
            ("drop_exact", counts.exact if counts else None),
            ("drop_near", counts.near if counts else None),
        ):
            self._checks[name].set_value(getattr(state.refine, name))
            kit.enable(self._checks[name], not state.locked, state.locked)
            self._counts[name].configure(text=_amount(state, n))
        if not self._timer:
            self._slider.set_value(state.refine.near_threshold)
            self._figure.configure(text=f"{state.refine.near_threshold:.2f}")
        kit.enable(self._slider, not state.locked, state.locked)
        is_other = any("alike" in what for what in state.stale)
        if is_other and not self._again.winfo_manager():
            self._again.pack(fill="x", pady=(px(6), 0))
        elif not is_other:
            self._again.pack_forget()
        kit.enable(self._look, not state.busy, state.busy)


def _change(presenter: Presenter, name: str, value: bool) -> None:
    presenter.change(**{name: value})


class SecretsCard:
    """Keys and personal data: left, masked, or the file dropped."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self.card = Card(master, "Secrets and personal data", "shield-lock", pad=14)
        self._combos: dict[str, Combo] = {}
        self._counts: dict[str, Any] = {}
        self._add(
            "secrets", "Keys and passwords", SECRETS,
            lambda text: presenter.set_secrets(text.lower()),
            "Files with a key, token or password: left alone, written as <secret>, or proposed "
            "to go. The finds themselves are stored nowhere.",
        )  # fmt: skip
        for name, text, field in PERSONAL:
            self._add(
                name, text, SECRETS[:2],
                lambda chosen, field=field: _change(presenter, field, chosen == "Mask"),
                explain(CleanConfig, field),
            )  # fmt: skip

    def _add(
        self, name: str, text: str, choices: tuple[str, ...], on_change: Any, tip: str
    ) -> None:
        row = Box(self.card.body)
        row.pack(fill="x", pady=px(1))
        self._combos[name] = combo(row, choices, width=6, on_change=on_change, tip=tip)
        self._combos[name].pack(side="right")
        self._counts[name] = label(row, "-", "body", "fg2")
        self._counts[name].pack(side="right", padx=(0, px(8)))
        title = Elided(row, text)
        title.pack(side="left", fill="x", expand=True)

    def show(self, state: State) -> None:
        """Bring it up to date."""
        found = state.counts.findings if state.counts else {}
        chosen = {name: "Mask" if getattr(state.clean, f) else "Leave" for name, _, f in PERSONAL}
        chosen["secrets"] = "Drop" if state.refine.drop_secrets else "Leave"
        if state.clean.mask_secrets:
            chosen["secrets"] = "Mask"
        for name, made in self._combos.items():
            if made.get_value() != chosen[name]:
                made.set_value(chosen[name])
            kit.enable(made, not state.locked, state.locked)
            self._counts[name].configure(text=_amount(state, found.get(name)))


class LanguageCard:
    """Prose by the language it is in."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self.card = Card(master, "Language", "translate", pad=14)
        self._none = label(self.card.body, "", "caption", "muted", justify="left")
        wrap(self._none)
        self._rows: dict[str, tuple[Box, Check, Any]] = {}
        self._order: tuple[str, ...] = ()

    def show(self, state: State) -> None:
        """Bring it up to date."""
        counts = dict(state.counts.languages) if state.counts and state.is_analysed else {}
        dropped = state.refine.drop_languages
        order = (*list(counts)[:MOST_LANGUAGES], *(c for c in dropped if c not in counts))
        order = tuple(dict.fromkeys(order))
        if order != self._order:
            self._build(order)
        for code, (_, made, n) in self._rows.items():
            made.set_value(code not in dropped)
            kit.enable(made, not state.locked, state.locked)
            n.configure(text=_amount(state, counts.get(code, 0)))
        rest = sum(n for code, n in counts.items() if code not in order)
        text = f"{rest:,} more in other languages." if rest else ""
        if not order:
            text = "No prose was found." if state.is_analysed else "Known when files are analysed."
        self._none.configure(text=text)
        if text:
            self._none.pack(anchor="w", fill="x")
        else:
            self._none.pack_forget()

    def _build(self, order: tuple[str, ...]) -> None:
        for row, _, _ in self._rows.values():
            row.destroy()
        self._rows, self._order = {}, order
        for code in order:
            row = Box(self.card.body)
            row.pack(fill="x", pady=px(1))
            name = words.language(code)
            tip = f"Prose in {name} stays; without the tick it is proposed to go."
            if not code:
                tip = "Prose whose language is not clear, often because it is short."
            made = check(row, name, tip=tip, on_change=partial(self._presenter.keep_language, code))
            made.pack(side="left")
            n = label(row, "", "body", "fg2")
            n.pack(side="right")
            self._rows[code] = (row, made, n)


class CleaningCard:
    """What is changed in the text on its way in."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self.card = Card(master, "Cleaning", "stars", pad=14)
        self._checks: dict[str, Check] = {}
        labels = {f.name: f.metadata["info"].label for f in dataclasses.fields(CleanConfig)}
        for name in CLEANING:
            made = check(
                self.card.body, labels[name], on_change=partial(_change, presenter, name),
                tip=explain(CleanConfig, name),
            )  # fmt: skip
            made.pack(anchor="w", pady=px(1))
            self._checks[name] = made
        note = label(
            self.card.body,
            "What is cleaned is what is trained on; your files are not changed. After a change "
            "here they are read again.",
            "caption", "muted", justify="left",
        )  # fmt: skip
        wrap(note).pack(anchor="w", fill="x", pady=(px(6), 0))

    def show(self, state: State) -> None:
        """Bring it up to date."""
        for name, made in self._checks.items():
            made.set_value(getattr(state.clean, name))
            kit.enable(made, not state.locked, state.locked)
