"""Checkpoints: written whole, listed with their hash, proven before a number of them is used.

The row in `index.json` is the commit of a save. A name is never reused for other bytes, save for
`best_model.pt`, whose row holds the old and the new hash before the file changes (RELIABILITY 4.2).
"""

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from sllm_core import config as settings
from sllm_core import fields
from sllm_core.errors import CheckpointError, ConfigError
from sllm_core.project import (
    Project,
    atomic_write,
    file_sha256,
    remove_temp_files,
    sync_folder,
    write_text,
)

FORMAT_VERSION = 1
INDEX_VERSION = 1
BEST_NAME = "best_model.pt"


@dataclass(frozen=True)
class Row:
    """One checkpoint in the index."""

    file: str
    sha256: str
    size_bytes: int
    step: int
    epoch: int
    tokens: int
    run: str
    loss: float | None = None
    val_loss: float | None = None
    roles: tuple[str, ...] = ()  # best, last, pinned, epoch
    state: str = "ok"  # ok | superseded (a later resume left it behind) | deleting
    previous: dict[str, Any] | None = None  # of best_model.pt while it is being replaced


class Checkpoints:
    """The checkpoints of a project. One process writes: the one that holds the run's lock."""

    def __init__(self, project: Project) -> None:
        self.folder = project.checkpoints_dir
        self._project = project
        self._known_good: set[tuple[str, str]] = set()  # (file, sha256)

    # -- index -------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """All rows, from the index or, where that is damaged, from its copy.

        Raises:
            CheckpointError: both are damaged.
        """
        paths = [self.folder / "index.json", self.folder / "index.copy.json"]
        if not any(path.exists() for path in paths):
            return []
        for path in paths:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                body = json.loads(path.read_text(encoding="utf-8"))
                rows = [Row(**{**row, "roles": tuple(row["roles"])}) for row in body["checkpoints"]]
                if body["sha256"] == _index_hash(rows):
                    return [row for row in rows if _is_plain_name(row.file)]
        raise CheckpointError(
            "HASH",
            "The list of checkpoints (checkpoints/index.json) and its copy are damaged.",
            safe="The checkpoint files themselves were not touched.",
            todo="Restore index.json from a copy, or go on from a file: train --continue-from FILE",
        )

    def _commit(self, rows: list[Row]) -> None:
        body = {
            "format_version": INDEX_VERSION,
            "sha256": _index_hash(rows),
            "checkpoints": [dataclasses.asdict(row) for row in rows],
        }
        text = json.dumps(body, indent=1) + "\n"
        write_text(self.folder / "index.copy.json", text, point="index.write")
        write_text(self.folder / "index.json", text, point="index.write")  # this one commits

    def settle(self) -> list[str]:
        """Finish what a killed process left half done; only under the run's lock.

        Returns:
            Names of temp files that were removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        removed = remove_temp_files(self.folder)
        rows = self.rows()
        settled = []
        hashes = {row.sha256 for row in rows if (self.folder / row.file).exists()}
        for row in rows:
            path = self.folder / row.file
            if row.state == "deleting":
                path.unlink(missing_ok=True)
            elif path.exists() or row.sha256 not in hashes:
                settled.append(self._settle_previous(row))
        if settled != rows:
            self._commit(settled)
        return removed

    def _settle_previous(self, row: Row) -> Row:
        if row.previous is None:
            return row
        with contextlib.suppress(OSError):
            if file_sha256(self.folder / row.file) == row.previous["sha256"]:
                old = {**row.previous, "roles": tuple(row.previous["roles"]), "previous": None}
                return Row(**old)
        return replace(row, previous=None)

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
        rows = self.rows()
        is_best = name == BEST_NAME
        if is_best:
            rows = self._keep_best_of_other_run(rows, row.run)
        path = self.folder / (name if is_best else self._free_name(name, rows))
        old = next((self._settle_previous(r) for r in rows if r.file == path.name), None)
        others = [r for r in rows if r.file != path.name]
        made: Row | None = None

        def announce(file: Any) -> None:
            nonlocal made
            made = replace(
                row, file=path.name, sha256=file.sha256, size_bytes=file.size_bytes, previous=None
            )
            if old is not None:
                self._commit([*others, replace(made, previous=dataclasses.asdict(old))])

        need = f"about {self._last_size():,} bytes are needed" if self._last_size() else ""
        with atomic_write(path, need=need, before_replace=announce) as file:
            torch.save(content, cast(IO[bytes], file))
        assert made is not None
        self._commit([*others, made])
        self._known_good.add((made.file, made.sha256))
        return made

    def _last_size(self) -> int:
        return max((row.size_bytes for row in self.rows()), default=0)

    def _free_name(self, name: str, rows: list[Row]) -> str:
        stem, taken, number = Path(name).stem, {row.file for row in rows}, 1
        while name in taken or (self.folder / name).exists():
            number += 1
            name = f"{stem}_{number}.pt"
        return name

    def _keep_best_of_other_run(self, rows: list[Row], run: str) -> list[Row]:
        """`best_model.pt` belongs to the newest run; that of an older one gets the run's name."""
        path = self.folder / BEST_NAME
        old = next((row for row in rows if row.file == BEST_NAME), None)
        if old is not None and old.run == run:
            return rows
        if old is None or not path.exists():
            if path.exists():  # unlisted: somebody else's file is never overwritten
                path.replace(self.folder / self._free_name("best_unlisted.pt", rows))
                sync_folder(self.folder)
            return [row for row in rows if row.file != BEST_NAME]
        return self._move_best(rows, old, f"best_{old.run}.pt")

    def _move_best(self, rows: list[Row], old: Row, name: str) -> list[Row]:
        """Give `best_model.pt` another name; listed under both while the file moves."""
        name = self._free_name(name, rows)
        self._commit([*rows, replace(old, file=name, previous=None)])
        (self.folder / BEST_NAME).replace(self.folder / name)
        sync_folder(self.folder)
        rows = [row for row in rows if row.file != BEST_NAME]
        rows.append(replace(old, file=name, previous=None))
        self._commit(rows)
        return rows

    def supersede(self, run: str, step: int, file: str) -> None:
        """The run goes on from ``file`` at ``step``: its later checkpoints are no longer newest."""
        listed = self.rows()
        rows = [replace(row, state="ok") if row.file == file else row for row in listed]
        later = [row for row in rows if row.run == run and row.step > step and row.state == "ok"]
        best = next((row for row in later if row.file == BEST_NAME), None)
        if best is not None and (self.folder / BEST_NAME).exists():
            rows = self._move_best(rows, best, f"best_{run}_step_{best.step}.pt")
        if later or rows != listed:
            self._commit(
                [
                    replace(row, state="superseded")
                    if row.run == run and row.step > step and row.state == "ok"
                    else row
                    for row in rows
                ]
            )

    def retain(self, run: str, keep_last: int) -> None:
        """Delete older checkpoints of ``run`` beyond the last ``keep_last`` good ones.

        Best and pinned ones stay, damaged and unlisted ones are never touched; first the row is
        marked, then the file goes.
        """
        rows = self.rows()
        mine = [
            r
            for r in rows
            if r.run == run and r.state == "ok" and not {"best", "pinned"} & set(r.roles)
        ]
        good = [r for r in sorted(mine, key=lambda r: -r.step) if self.is_good(r)]
        doomed = {row.file for row in good[keep_last:]}
        if not doomed:
            return
        self._commit([replace(r, state="deleting") if r.file in doomed else r for r in rows])
        for name in doomed:
            with contextlib.suppress(OSError):  # in use somewhere: `settle` tries again
                (self.folder / name).unlink(missing_ok=True)
        gone = {name for name in doomed if not (self.folder / name).exists()}
        marked = [replace(r, state="deleting") if r.file in doomed else r for r in rows]
        self._commit([row for row in marked if row.file not in gone])

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
            todo=f"Go on from it: train --resume {good.file}" if good else "Start a new run.",
        )

    def newest_rows(self, run: str) -> list[Row]:
        """Rows of a run, highest step first; time stamps are never asked."""
        mine = [row for row in self.rows() if row.run == run and row.state == "ok"]
        return sorted(mine, key=lambda row: (row.step, "last" in row.roles), reverse=True)

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


def _index_hash(rows: list[Row]) -> str:
    body = json.dumps([dataclasses.asdict(row) for row in rows], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def _hashes(row: Row) -> set[str]:
    """What the file may be: the new bytes or, while it is being replaced, the old ones."""
    return {row.sha256, *([row.previous["sha256"]] if row.previous else [])}


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and name not in {"", ".", ".."}
