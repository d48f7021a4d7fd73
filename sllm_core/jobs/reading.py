"""The table of files for the window: a long list is read by a child, so that nothing waits for it.

A thread that reads 300,000 rows has Python's lock most of the time; each call of the toolkit would
wait for it, on a busy machine for a tenth of a second. A child costs a third of a second instead.
"""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sllm_core.corpus import table
from sllm_core.corpus.index import Index
from sllm_core.corpus.table import Rows

HOME = Path(__file__).resolve().parents[2]
FEW = 20_000  # files that a thread reads in a tenth of a second
PATIENCE_S = 300.0
log = logging.getLogger(__name__)


def read_rows(db_path: Path) -> Rows:
    """The rows of `table.load`; for a thread beside the window.

    Raises:
        ProjectError: the index is damaged.
    """
    with Index(db_path, is_checked=False) as index:
        n = next(index.read("SELECT COUNT(*) FROM files"))[0]
    if n <= FEW:
        return table.load(db_path)
    with tempfile.TemporaryDirectory(prefix="sllm-rows-") as folder:
        path = Path(folder) / "rows.npz"
        if _is_read_by_child(db_path, path):
            return table.read_saved(path)
    return table.load(db_path)  # slower for the window, but the same


def _is_read_by_child(db_path: Path, path: Path) -> bool:
    command = [sys.executable, "-m", "sllm_core.corpus.table", str(db_path.absolute()), str(path)]
    try:
        done = subprocess.run(
            command,
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": str(HOME), "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        log.warning("the list of files is read without a child: %s", problem)
        return False
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace")[-500:]
        log.warning("the child that reads the list of files failed: %s", words)
    return not done.returncode
