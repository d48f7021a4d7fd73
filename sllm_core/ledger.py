"""The list of checkpoints, `checkpoints/index.json`: what there is, with its hash and its state.

Every change reads the list anew, alters it and writes it whole under a lock of the operating
system, so that a run that saves and a window that pins or deletes do not undo each other.
The rename of `index.json` is the commit (RELIABILITY 4.2).
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sllm_core import errors
from sllm_core.errors import CheckpointError, LockError
from sllm_core.project import Lock, Project, file_sha256, sync_folder, write_text

INDEX_VERSION = 1
BEST_NAME = "best_model.pt"
PATIENCE_S = 30.0  # a change takes milliseconds: who holds the lock longer is not working
_POLL_S = 0.01


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


class Ledger:
    """The checkpoints of a project as listed."""

    def __init__(self, project: Project) -> None:
        self.folder = project.checkpoints_dir
        self._project = project

    # -- reading -----------------------------------------------------------------------------

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
                if body["sha256"] == index_hash(rows):
                    return [row for row in rows if _is_plain_name(row.file)]
        raise CheckpointError(
            "HASH",
            "The list of checkpoints (checkpoints/index.json) and its copy are damaged.",
            safe="The checkpoint files themselves were not touched.",
            todo="Restore index.json from a copy, or begin a new run with the weights of a file: "
            "train --continue-from FILE on the command line.",
        )

    def newest_rows(self, run: str) -> list[Row]:
        """Rows of a run, highest step first; time stamps are never asked."""
        mine = [row for row in self.rows() if row.run == run and row.state == "ok"]
        return sorted(mine, key=lambda row: (row.step, "last" in row.roles), reverse=True)

    # -- changing ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[list[Row]]:
        """The rows, and nobody else changes them inside the ``with`` block; not to be nested.

        Raises:
            LockError: somebody holds the list for too long.
        """
        path = self.folder / ".index.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(str(path), timeout=PATIENCE_S, poll_interval=_POLL_S)
            lock.acquire()
        except Timeout:
            raise LockError(
                "HELD",
                "Another program holds the list of checkpoints.",
                safe="The list was not changed.",
                todo="Close it, then try again.",
            ) from None
        except OSError as problem:
            raise errors.disk_error(problem, path.name) from problem
        try:
            yield self.rows()
        finally:
            lock.release()

    def commit(self, rows: list[Row]) -> None:
        """Write the list; only inside `locked`."""
        body = {
            "format_version": INDEX_VERSION,
            "sha256": index_hash(rows),
            "checkpoints": [dataclasses.asdict(row) for row in rows],
        }
        text = json.dumps(body, indent=1) + "\n"
        write_text(self.folder / "index.copy.json", text, point="index.write")
        write_text(self.folder / "index.json", text, point="index.write")  # this one commits

    def edit(self, change: Callable[[list[Row]], list[Row]]) -> list[Row]:
        """Read, ``change``, write if anything is different; returns what is listed now."""
        with self.locked() as rows:
            changed = change(rows)
            if changed != rows:
                self.commit(changed)
        return changed

    def put(self, row: Row) -> Row:
        """List a row, in place of the one of its file; what was pinned meanwhile stays pinned."""
        with self.locked() as rows:
            old = next((other for other in rows if other.file == row.file), None)
            if old is not None and "pinned" in old.roles and "pinned" not in row.roles:
                row = replace(row, roles=(*row.roles, "pinned"))
            self.commit([*(other for other in rows if other.file != row.file), row])
        return row

    def pin(self, file: str, is_pinned: bool) -> Row:
        """Keep a checkpoint for good, or no longer.

        Raises:
            CheckpointError: E-CKPT-MISSING, it is not listed.
        """
        with self.locked() as rows:
            row = _listed(rows, file)
            others = tuple(role for role in row.roles if role != "pinned")
            changed = replace(row, roles=(*others, "pinned") if is_pinned else others)
            if changed != row:
                self.commit([changed if other is row else other for other in rows])
        return changed

    def delete(self, file: str) -> None:
        """Delete a checkpoint because a person asked for it, pinned or not.

        Raises:
            CheckpointError: E-CKPT-MISSING, it is not listed.
            LockError: a run that is working needs it: its best and its newest one.
        """
        with self.locked() as rows:
            row = _listed(rows, file)
            self._refuse_needed(row, rows)
            self.commit(_marked(rows, {file}))
        self.sweep({file})

    def delete_files(self, run: str) -> list[str]:
        """Delete all checkpoints of a run, whose lock the caller holds; returns their names."""
        with self.locked() as rows:
            doomed = {row.file for row in rows if row.run == run}
            if doomed:
                self.commit(_marked(rows, doomed))
        self.sweep(doomed)
        return sorted(doomed)

    def sweep(self, names: set[str]) -> None:
        """Remove files whose rows are marked, then the rows; what is in use waits for `settle`."""
        for name in names:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        gone = {name for name in names if not (self.folder / name).exists()}
        self.edit(lambda rows: [r for r in rows if r.state != "deleting" or r.file not in gone])

    def mark(self, names: set[str], is_kept: Callable[[Row], bool]) -> set[str]:
        """Mark rows as about to be deleted, but those kept as they are now; returns the marked."""
        with self.locked() as rows:
            doomed = {row.file for row in rows if row.file in names and not is_kept(row)}
            if doomed:
                self.commit(_marked(rows, doomed))
        return doomed

    def _refuse_needed(self, row: Row, rows: list[Row]) -> None:
        if not self._is_live(row.run):
            return
        mine = [other for other in rows if other.run == row.run and other.state == "ok"]
        is_newest = row.state == "ok" and row.step >= max(other.step for other in mine)
        if row.file == BEST_NAME or "best" in row.roles or is_newest:
            raise _in_use(f"{row.file} is the best or the newest checkpoint of its run and")

    def _is_live(self, run: str) -> bool:
        return Lock(self._project.runs_dir / run / ".lock", "").is_held()

    # -- what a run does ---------------------------------------------------------------------

    def settle(self) -> None:
        """Finish what a killed process left half done; only under the run's lock."""
        with self.locked() as rows:
            settled = []
            hashes = {row.sha256 for row in rows if (self.folder / row.file).exists()}
            for row in rows:
                path = self.folder / row.file
                if row.state == "deleting":
                    path.unlink(missing_ok=True)
                elif path.exists() or row.sha256 not in hashes:
                    settled.append(self.settle_previous(row))
            if settled != rows:
                self.commit(settled)

    def settle_previous(self, row: Row) -> Row:
        """The row of what the file holds, when a replacement of it may have been cut off."""
        if row.previous is None:
            return row
        with contextlib.suppress(OSError):
            if file_sha256(self.folder / row.file) == row.previous["sha256"]:
                old = {**row.previous, "roles": tuple(row.previous["roles"]), "previous": None}
                return Row(**old)
        return replace(row, previous=None)

    def free_name(self, name: str, rows: list[Row]) -> str:
        """``name``, or the next one like it that no file and no row has."""
        stem, taken, number = Path(name).stem, {row.file for row in rows}, 1
        while name in taken or (self.folder / name).exists():
            number += 1
            name = f"{stem}_{number}.pt"
        return name

    def make_room_for_best(self, run: str) -> None:
        """`best_model.pt` belongs to the newest run; that of an older one gets the run's name.

        So does one of this run that is pinned: its bytes are kept under another name.
        """
        with self.locked() as rows:
            path = self.folder / BEST_NAME
            old = next((row for row in rows if row.file == BEST_NAME), None)
            is_mine = old is not None and old.run == run
            if old is not None and is_mine and "pinned" not in old.roles:
                return
            if old is not None and path.exists():
                step = f"_step_{old.step}" if is_mine else ""
                self._move_best(rows, self.settle_previous(old), f"best_{old.run}{step}.pt")
            elif path.exists():  # unlisted: somebody else's file is never overwritten
                path.replace(self.folder / self.free_name("best_unlisted.pt", rows))
                sync_folder(self.folder)
            elif old is not None:
                self.commit([row for row in rows if row.file != BEST_NAME])

    def _move_best(self, rows: list[Row], old: Row, name: str) -> list[Row]:
        """Give `best_model.pt` another name; listed under both while the file moves."""
        name = self.free_name(name, rows)
        self.commit([*rows, replace(old, file=name, previous=None)])
        (self.folder / BEST_NAME).replace(self.folder / name)
        sync_folder(self.folder)
        rows = [row for row in rows if row.file != BEST_NAME]
        rows.append(replace(old, file=name, previous=None))
        self.commit(rows)
        return rows

    def supersede(self, run: str, step: int, file: str) -> None:
        """The run goes on from ``file`` at ``step``: its later checkpoints are no longer newest."""
        with self.locked() as listed:
            rows = [replace(row, state="ok") if row.file == file else row for row in listed]
            later = [
                row for row in rows if row.run == run and row.step > step and row.state == "ok"
            ]
            best = next((row for row in later if row.file == BEST_NAME), None)
            if best is not None and (self.folder / BEST_NAME).exists():
                rows = self._move_best(rows, best, f"best_{run}_step_{best.step}.pt")
            if later or rows != listed:
                self.commit(
                    [
                        replace(row, state="superseded")
                        if row.run == run and row.step > step and row.state == "ok"
                        else row
                        for row in rows
                    ]
                )


def index_hash(rows: list[Row]) -> str:
    """What `index.json` says about itself."""
    body = json.dumps([dataclasses.asdict(row) for row in rows], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def _listed(rows: list[Row], file: str) -> Row:
    row = next((row for row in rows if row.file == file and row.state != "deleting"), None)
    if row is None:
        raise CheckpointError("MISSING", f"{file} is no listed checkpoint of this project.")
    return row


def _marked(rows: list[Row], names: set[str]) -> list[Row]:
    return [replace(row, state="deleting") if row.file in names else row for row in rows]


def _in_use(what: str) -> LockError:
    return LockError(
        "HELD", f"{what} cannot be deleted while the run is working.", todo="Stop the run first."
    )


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and name not in {"", ".", ".."}
