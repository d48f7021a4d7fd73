"""Checkpoints: written whole, listed with their hash, proven before a number of them is used.

The row in `index.json` is the commit of a save. A name is never reused for other bytes, save for
`best_model.pt`, whose row holds the old and the new hash before the file changes (RELIABILITY 4.2).
"""

import contextlib
import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from sllm_core import config as settings
from sllm_core import fields
from sllm_core.errors import CheckpointError, ConfigError
from sllm_core.ledger import BEST_NAME, Ledger, Row
from sllm_core.project import Project, atomic_write, file_sha256, remove_temp_files

FORMAT_VERSION = 1


class Checkpoints:
    """The checkpoints of a project. One process writes: the one that holds the run's lock."""

    def __init__(self, project: Project) -> None:
        self.folder = project.checkpoints_dir
        self.ledger = Ledger(project)
        self._known_good: set[tuple[str, str]] = set()  # (file, sha256)

    def rows(self) -> list[Row]:
        """All rows of the index.

        Raises:
            CheckpointError: it and its copy are damaged.
        """
        return self.ledger.rows()

    def settle(self) -> list[str]:
        """Finish what a killed process left half done; only under the run's lock.

        Returns:
            Names of temp files that were removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        removed = remove_temp_files(self.folder)
        self.ledger.settle()
        return removed

    # -- writing -----------------------------------------------------------------------------

    def save(self, content: dict[str, Any], name: str, row: Row) -> Row:
        """Write ``content`` under ``name`` (or a free name like it) and list it.

        Args:
            content: tensors and plain values only.
            name: `step_N.pt`, `model_epoch_N.pt` or `best_model.pt`.
            row: what to list; file, sha256 and size are filled in.

        Returns:
            The row as committed: from here on the checkpoint survives a power cut.

        Raises:
            DiskError: nothing was changed; older checkpoints are as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        is_best = name == BEST_NAME
        if is_best:
            self.ledger.make_room_for_best(row.run)
        rows = self.rows()
        path = self.folder / (name if is_best else self.ledger.free_name(name, rows))
        old = next((r for r in rows if r.file == path.name), None)
        old = self.ledger.settle_previous(old) if old else None
        made: Row | None = None

        def announce(file: Any) -> None:
            nonlocal made
            made = replace(
                row, file=path.name, sha256=file.sha256, size_bytes=file.size_bytes, previous=None
            )
            if old is not None:
                self.ledger.put(replace(made, previous=dataclasses.asdict(old)))

        size = max((r.size_bytes for r in rows), default=0)
        need = f"about {size:,} bytes are needed" if size else ""
        with atomic_write(path, need=need, before_replace=announce) as file:
            torch.save(content, cast(IO[bytes], file))
        assert made is not None
        made = self.ledger.put(made)
        self._known_good.add((made.file, made.sha256))
        return made

    def supersede(self, run: str, step: int, file: str) -> None:
        """The run goes on from ``file`` at ``step``: its later checkpoints are no longer newest."""
        self.ledger.supersede(run, step, file)

    def retain(self, run: str, keep_last: int) -> None:
        """Delete older checkpoints of ``run`` beyond the last ``keep_last`` good ones.

        Best and pinned ones stay, damaged and unlisted ones are never touched; first the row is
        marked, then the file goes.
        """

        def is_kept(row: Row) -> bool:
            is_mine = row.run == run and row.state == "ok"
            return not is_mine or bool({"best", "pinned"} & set(row.roles))

        mine = [row for row in self.rows() if not is_kept(row)]
        good = [row for row in sorted(mine, key=lambda row: -row.step) if self.is_good(row)]
        beyond = {row.file for row in good[keep_last:]}
        doomed = self.ledger.mark(beyond, is_kept) if beyond else set()
        if doomed:
            self.ledger.sweep(doomed)

    # -- reading -----------------------------------------------------------------------------

    def is_good(self, row: Row) -> bool:
        """Whether the file of a row is what was written; read once in this process."""
        path, mark = self.folder / row.file, (row.file, row.sha256)
        if mark in self._known_good:
            return path.exists()
        with contextlib.suppress(OSError):
            if file_sha256(path) in _hashes(row):
                self._known_good.add(mark)
        return mark in self._known_good

    def verify(self, row: Row) -> None:
        """Compare the file's SHA-256 with the row.

        Raises:
            CheckpointError: missing or damaged, with the newest good one named.
        """
        path = self.folder / row.file
        if not path.is_file():
            raise CheckpointError("MISSING", f"checkpoints/{row.file} is listed but not there.")
        if file_sha256(path) not in _hashes(row):
            raise self._damaged(row)

    def _damaged(self, row: Row) -> CheckpointError:
        others = [r for r in self.newest_rows(row.run) if r.file != row.file]
        good = next((r for r in others if self.is_good(r)), None)
        return CheckpointError(
            "HASH",
            f"checkpoints/{row.file} (step {row.step}) is damaged: its bytes are not those saved.",
            safe=f"The newest good one is {good.file} (step {good.step})." if good else "",
            todo="Go on from that one: Resume on the Monitor tab, "
            f"train --resume {good.file} on the command line."
            if good
            else "Start a new run.",
        )

    def newest_rows(self, run: str) -> list[Row]:
        """Rows of a run, highest step first."""
        return self.ledger.newest_rows(run)

    def newest_good(self, run: str) -> tuple[Row | None, list[Row]]:
        """The newest checkpoint of a run that verifies, and the damaged ones before it."""
        damaged: list[Row] = []
        for row in self.newest_rows(run):
            if self.is_good(row):
                return row, damaged
            damaged.append(row)
        return None, damaged

    def find(self, name: str) -> Row | None:
        """The row of ``best``, ``last`` or a file name; None when it is not listed."""
        listed = self.rows()
        rows = [row for row in listed if row.state == "ok"]
        if name == "best":
            return next((row for row in rows if row.file == BEST_NAME), None) or self.find("last")
        if name == "last":
            run = max((row.run for row in rows), default=None)
            return self.newest_good(run)[0] if run is not None else None
        path = Path(name)
        is_here = not path.is_absolute() or path.parent == self.folder
        named = (row for row in listed if row.file == path.name and row.state != "deleting")
        return next(named, None) if is_here else None

    def load(self, row: Row) -> dict[str, Any]:
        """The verified content of a listed checkpoint, on the CPU.

        Raises:
            CheckpointError: missing, damaged, newer, or not one of ours.
        """
        path = self.folder / row.file
        if not path.is_file():
            raise CheckpointError("MISSING", f"checkpoints/{row.file} is listed but not there.")
        with path.open("rb") as file:  # one handle: what was hashed is what is parsed
            if hashlib.file_digest(file, "sha256").hexdigest() not in _hashes(row):
                raise self._damaged(row)
            file.seek(0)
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                "VERSION",
                f"{row.file} has format {version!r}; this program reads {FORMAT_VERSION}.",
            )
        return content


def model_config(content: dict[str, Any]) -> settings.ModelConfig:
    """The shape of the model in a checkpoint.

    Raises:
        CheckpointError: it is no shape that can be.
    """
    try:
        config: settings.ModelConfig = fields.from_mapping(
            settings.ModelConfig, content["config"], "the checkpoint"
        )
        if config.vocab_size is None:
            raise ConfigError("FIELD", "The vocabulary size is missing.")
        config.resolve()  # what follows from the fields must be possible too
    except (ConfigError, KeyError, TypeError) as problem:
        what = problem.what if isinstance(problem, ConfigError) else f"{problem} is missing"
        raise CheckpointError("CONFIG", f"The model's settings cannot be used: {what}") from problem
    return config


def weights_sha256(state: dict[str, Tensor]) -> str:
    """One hash of all weights, by name; equal weights give equal hashes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\0")
        digest.update(state[name].detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hashes(row: Row) -> set[str]:
    """What the file may be: the new bytes or, while it is being replaced, the old ones."""
    return {row.sha256, *([row.previous["sha256"]] if row.previous else [])}
