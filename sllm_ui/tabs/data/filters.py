"""Filters and tokenizer settings: what is typed becomes a value, or stays with the reason why not."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from sllm_core import fields
from sllm_core.config import DataConfig, ProjectConfig, TokenizerConfig
from sllm_core.errors import ConfigError
from sllm_ui.bus import Store
from sllm_ui.events import ConfigChanged
from sllm_ui.facts import Facts
from sllm_ui.session import Session
from sllm_ui.tabs.data import figures, words
from sllm_ui.tabs.data.state import State, refuse

RESCAN_AFTER_S = 1.0  # after the last change of a filter
# Fields of the forms; sizes, most files and the share have words of their own.
DATA_FIELDS = (
    "recursive", "use_gitignore", "min_file_bytes", "max_file_bytes", "max_files", "shuffle", "shuffle_seed",
    "val_split",
)  # fmt: skip
TOKENIZER_FIELDS = ("target_vocab_size", "min_frequency", "split", "tokenizer_sample_bytes")
SIZES = ("min_file_bytes", "max_file_bytes")


class Filters:
    """The fields of both forms and the file types.

    Args:
        refresh: works out the state anew.
    """

    def __init__(
        self,
        session: Session,
        store: Store[State],
        refresh: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._store, self._refresh, self._now = session, store, refresh, now
        self.clear()

    def clear(self) -> None:
        """Another project: nothing is being typed."""
        self._drafts: dict[str, str] = {}  # texts that are no values
        self.errors: dict[str, str] = {}
        self._units: dict[str, str] = {}
        self.touched: tuple[str, ...] = ()  # file types switched in this session
        self._scan_at: float | None = None

    def lock_tokenizer(self) -> None:
        """Texts about a tokenizer that is locked: nobody could mend them."""
        for name in TOKENIZER_FIELDS:
            self.forget(name)

    def tell_blockers(self, others: Mapping[str, str]) -> None:
        """A text that is no value keeps a run from starting with the old one.

        Args:
            others: fields of the tab that are not among the filters, with what is wrong there.
        """
        new = dict(others)
        if self._session.project is not None:
            for name in self._drafts:
                label = fields.info(_section_of(name), name).label
                new[name] = f"{label} on the Data tab: {self.errors[name]}"
        if new != self._session.now.blockers:
            self._session.now.blockers = new
            self._session.bus.publish(ConfigChanged())

    def form(self, config: ProjectConfig, facts: Facts) -> dict[str, Any]:
        """The texts of all fields, with their units, notes and faults."""
        values, units, notes = {}, {}, {}
        for section, names in ((config.data, DATA_FIELDS), (config.tokenizer, TOKENIZER_FIELDS)):
            for name in names:
                value = getattr(section, name)
                if name in SIZES:
                    text, units[name] = figures.split_size(value, self._units.get(name, ""))
                elif name == "max_files":
                    text = figures.most_text(value)
                elif name == "val_split":
                    text = figures.share_text(value)
                else:
                    text = fields.to_text(section, name, value)
                values[name] = self._drafts.get(name, text)
        if config.data.val_split is None:
            share = figures.val_share(config.data, facts.text_bytes)
            notes["val_split"] = f"{figures.percent(share)} for this much text"
        else:
            notes["val_split"] = "of the documents"
        if facts.vocab_size not in {None, config.tokenizer.target_vocab_size} and (
            figures.is_tokenizer_current(facts, config.tokenizer)
        ):
            notes["target_vocab_size"] = f"{facts.vocab_size:,} in use"
        return {"values": values, "units": units, "errors": dict(self.errors), "notes": notes}

    # A change of a filter is followed by a scan

    def _rescan_soon(self) -> None:
        self._scan_at = self._now() + RESCAN_AFTER_S
        self._store.update(is_scan_due=True)

    def forget_scan(self) -> None:
        """Somebody scans by hand."""
        self._scan_at = None
        self._store.update(is_scan_due=False)

    def tick(self) -> None:
        """Called while `is_scan_due`: scans a moment after the last change of a filter."""
        if self._scan_at is not None and self._now() >= self._scan_at:
            self._scan_at = None
            self._store.update(is_scan_due=False)
            self._session.work.scan_soon()

    def set_field(self, name: str, text: str) -> None:
        """A field was edited: take it over, or say beneath it why not."""
        section = _section_of(name)
        try:
            value = self._parse(section, name, text)
        except (ConfigError, ValueError) as problem:
            self._refuse_field(name, text, words.explain(name, text, problem))
            return
        self._change(name, text, value)

    def _parse(self, section: Any, name: str, text: str) -> Any:
        if name in SIZES:
            return figures.join_size(text, self._store.state.units[name])
        if name == "max_files":
            return figures.parse_most(text)
        if name == "val_split":
            return figures.parse_share(text)
        if section is TokenizerConfig or name == "shuffle_seed":
            text = text.replace(",", "").replace(" ", "")
        return fields.parse(section, name, text)

    def set_unit(self, name: str, unit: str) -> None:
        """Another unit for a size: the number stays, so the size changes."""
        if unit not in figures.UNITS or unit == self._store.state.units[name]:
            return
        text = self._store.state.values[name]
        self._units[name] = unit
        self._store.update(units={**self._store.state.units, name: unit})
        self.set_field(name, text)

    def set_size(self, name: str, n_bytes: int) -> None:
        """A size from a quick button, in the unit that suits it."""
        self._units[name] = figures.split_size(n_bytes)[1]
        self._change(name, "", n_bytes)

    def set_value(self, name: str, value: Any) -> None:
        """A value from a switch or a quick button."""
        self._change(name, "", value)

    def _change(self, name: str, text: str, value: Any) -> None:
        if refuse(self._session):
            self._refresh()
            return
        old = self._session.config
        values = {name: value}
        try:  # fields that wait for this one, such as the other end of a range, go along
            self._session.change(values | self._waiting(name))
        except ConfigError:
            try:
                self._session.change(values)
            except ConfigError as problem:
                self._refuse_field(name, text, words.explain(name, text, problem))
                return
            self.forget(name)
        else:
            for other in (name, *self._waiting(name)):
                self.forget(other)
        if self._session.config.data != old.data and name != "val_split":
            self._rescan_soon()
        self._refresh()

    def _waiting(self, name: str) -> dict[str, Any]:
        """The other end of a range of sizes, if its text is a number that was refused."""
        twins = {"min_file_bytes": "max_file_bytes", "max_file_bytes": "min_file_bytes"}
        twin = twins.get(name)
        if twin is None or twin not in self._drafts:
            return {}
        try:
            return {twin: self._parse(DataConfig, twin, self._drafts[twin])}
        except (ConfigError, ValueError):
            return {}

    def _refuse_field(self, name: str, text: str, why: str) -> None:
        self._drafts[name], self.errors[name] = text, why
        self._refresh()

    def forget(self, name: str) -> None:
        """Drop a text that is no value."""
        self._drafts.pop(name, None)
        self.errors.pop(name, None)

    def toggle_type(self, name: str) -> None:
        """Switch a file type on or off."""
        on = self._session.config.data.extensions
        if name not in self.touched:
            self.touched = (*self.touched, name)
        self._set_types(figures.toggled_types(on, name, self._session.facts.kinds))

    def edit_type(self, text: str) -> None:
        """Keep what is being typed."""
        self._store.update(new_type=text)

    def add_type(self, text: str) -> None:
        """Add a file type that was typed."""
        try:
            name = figures.clean_type(text)
        except ValueError:
            self.errors["type"] = f"{text.strip()[:30]!r} is no ending of a file name such as .txt."
            self._refresh()
            return
        self.errors.pop("type", None)
        self._store.update(new_type="")
        on = self._session.config.data.extensions
        if name == "*":
            self._set_types(("*",))
        elif name in on:
            self._refresh()
        else:
            self.touched = (*self.touched, name)
            self._set_types((*(kind for kind in on if kind != "*"), name))

    def choose_types(self, name: str) -> None:
        """One of the quick sets."""
        self._set_types(figures.TYPE_SETS[name])

    def _set_types(self, types: tuple[str, ...]) -> None:
        if not types:
            self.errors["type"] = "At least one file type must stay on."
            self._refresh()
            return
        self.errors.pop("type", None)
        self._change("extensions", "", types)

    def open_types(self, is_open: bool) -> None:
        """Show all known file types, or those that matter here."""
        self._store.update(is_types_open=is_open)
        self._refresh()

    def reset(self) -> None:
        """All filters as in a new project."""
        if refuse(self._session):
            return
        default = DataConfig()
        self._units, self.touched = {}, ()
        for name in (*DATA_FIELDS, "type"):
            self.forget(name)
        names = (*DATA_FIELDS, "extensions")
        self._session.change({name: getattr(default, name) for name in names})
        self._rescan_soon()
        self._refresh()


def _section_of(name: str) -> type:
    return TokenizerConfig if name in TOKENIZER_FIELDS else DataConfig
