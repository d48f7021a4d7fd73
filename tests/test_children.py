"""A pool of children: one file may hang or kill its reader, everything else goes on in order."""

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sllm_core.corpus import children, formats
from sllm_core.corpus.children import Children
from sllm_core.corpus.extract import FileId
from sllm_core.errors import Cancelled, DiskError, WorkerError
from tests.helpers import ROOT

# The parser compares each attribute with all before it: that takes hours, inside a library.
HANGS = b"<p " + b" ".join(b"a%d" % i for i in range(400_000)) + b">x"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    yield tmp_path
    assert not living(), "a child is left"


def living() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "sllm_core.corpus.child" in child.cmdline()
    ]


def make(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def request(path: Path, number: int = 0, out: Path | None = None) -> dict:
    listed = FileId.of(path.stat()) if path.exists() else (0, 0, 0, 0)
    return {
        "number": number,
        "path": os.fsencode(path).hex(),
        "id": list(listed),
        "format": formats.format_of(path.name),
        "columns": [],
        "out": os.fsencode(out or path.parent / "out" / f"{number}.txt").hex(),
    }


def nothing() -> None:
    """A check that never stops."""


def run(pool, requests, limit_s=20.0, check=nothing):
    return list(pool.run("extract", requests, limit_s=limit_s, check=check))


def test_results_come_in_the_order_of_the_items_with_their_facts(folder):
    sizes = [5, 900_000, *range(40), 400_000, *range(40)]
    paths = [make(folder, f"{i}.html", b"<p>" + b"a " * n) for i, n in enumerate(sizes)]
    requests = [request(path, i) for i, path in enumerate(paths)]
    with Children(2, {}) as pool:
        done = run(pool, requests)
        assert [item for item, _ in done] == requests
        for (_, result), size in zip(done, sizes, strict=True):
            assert result.get("chars", 0) == 2 * size, result
            assert size or result["reason"] == "empty"
        pids = {child.pid for child in living()}
        assert len(run(pool, requests[:3])) == 3
        assert {child.pid for child in living()} == pids, "the children stay warm"
    assert Path(folder / "out" / "0.txt").read_bytes() == b"a a a a a\n"


def test_an_endless_list_of_items_is_taken_only_so_far(folder, monkeypatch):
    monkeypatch.setattr(children, "AHEAD", 1)
    slow = make(folder, "slow.html", HANGS)
    path = make(folder, "a.html", b"<p>text")
    taken = itertools.count()
    requests = (request(path, next(taken)) for _ in itertools.count(1))
    limit = lambda item: 20.0 if item["number"] != -1 else 1.0  # noqa: E731
    with Children(2, {}) as pool:
        items = itertools.chain([request(slow, -1)], requests)
        found = pool.run("extract", items, limit_s=limit, check=nothing)
        assert next(found)[1]["reason"] == "limit"  # the others waited for it in memory
        n_ahead = next(taken)
        for number, (item, result) in enumerate(itertools.islice(found, 200)):
            assert (item["number"], result["chars"]) == (number + (number >= n_ahead), 5)
        found.close()
    assert n_ahead <= 2 * children.MOST_ITEMS


def test_a_file_that_hangs_costs_itself_and_the_rest_goes_on(folder):
    paths = [make(folder, f"{i}.html", b"<p>text") for i in range(9)]
    paths[2] = make(folder, "hangs.html", HANGS)
    limits = {2: 0.3}
    with Children(1, {}) as pool:
        requests = (request(path, i) for i, path in enumerate(paths))
        limit = lambda item: limits.get(item["number"], 20.0)  # noqa: E731
        done = run(pool, requests, limit_s=limit)
    assert [result.get("reason", "ok") for _, result in done] == ["ok"] * 2 + ["limit"] + ["ok"] * 6


class Hunter(threading.Thread):
    """Kills the child that is at the item with this output, so many times."""

    def __init__(self, out: Path, n: int, number: int = signal.SIGTERM) -> None:
        super().__init__(daemon=True)
        self.out, self.left, self.number = out, n, number

    def run(self) -> None:
        end = time.monotonic() + 30
        while self.left and time.monotonic() < end:
            if self.out.exists():
                self.out.unlink()
                for child in living():
                    child.send_signal(self.number)
                self.left -= 1
            time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_child_that_stands_still_at_an_item_is_ended(folder, monkeypatch):
    monkeypatch.setattr(children, "WALL", 0.3)
    slow = make(folder, "slow.html", HANGS)
    fast = make(folder, "fast.html", b"<p>text")
    hunter = Hunter(folder / "out" / "0.txt", 1, signal.SIGSTOP)
    hunter.start()
    with Children(1, {}) as pool:
        (_, result), (_, after) = run(pool, [request(slow, 0), request(fast, 1)], limit_s=5.0)
    assert (result["reason"], after["chars"]) == ("limit", 5)


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_child_that_stands_still_before_an_item_costs_nothing(folder, monkeypatch):
    path = make(folder, "a.html", b"<p>text")
    with Children(1, {}) as pool:
        run(pool, [request(path)])
        (child,) = living()
        child.suspend()
        monkeypatch.setattr(children, "READY_S", 0.2)

        def check():
            if child not in living():
                monkeypatch.setattr(children, "READY_S", 60.0)

        assert run(pool, [request(path)], check=check)[0][1]["chars"] == 5


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_child_that_dies_is_given_its_item_once_more_and_then_no_more(folder):
    slow = make(folder, "slow.html", HANGS)
    fast = make(folder, "fast.html", b"<p>text")
    requests = [request(fast, 0), request(slow, 1), request(fast, 2)]
    for n, number, why in (
        (2, signal.SIGTERM, "parse"), (2, signal.SIGKILL, "limit"), (1, signal.SIGTERM, "limit")
    ):  # fmt: skip
        hunter = Hunter(folder / "out" / "1.txt", n, number)
        hunter.start()
        limit = 0.3 if n == 1 else 60.0
        with Children(1, {}) as pool:
            limits = lambda item, limit=limit: limit if item["number"] == 1 else 60.0  # noqa: E731
            done = run(pool, requests, limit_s=limits)
        hunter.join()
        assert hunter.left == 0
        assert [result.get("reason", "ok") for _, result in done] == ["ok", why, "ok"]


def test_a_file_that_wants_all_memory_is_refused_and_the_child_goes_on(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    words = arrow.DictionaryArray.from_arrays(
        arrow.array([0] * 5000, arrow.int32()), arrow.array(["x" * (8 << 20)])
    )
    bomb = folder / "bomb.parquet"
    parquet.write_table(arrow.table({"text": words}), bomb)
    assert bomb.stat().st_size < 1 << 20
    fine = make(folder, "a.html", b"<p>text")
    with Children(1, {}, memory_bytes=1 << 30) as pool:
        found = pool.run("extract", [request(bomb), request(fine, 1)], limit_s=60, check=nothing)
        assert next(found)[1]["reason"] == "limit"
        assert next(found)[1]["chars"] == 5
        found.close()


def test_a_bomb_is_refused_in_flat_memory(folder):
    bomb = make(folder, "bomb.jsonl.gz", gzip.compress(b'{"text": "' + b"a" * (64 << 20)))
    with Children(1, {}, memory_bytes=400 << 20) as pool:
        assert run(pool, [request(bomb)])[0][1]["reason"] == "limit"
        (child,) = living()
        assert child.memory_info().rss < 200 << 20


@pytest.mark.parametrize("way", ["check", "consumer"])
def test_stopping_leaves_no_process_and_the_pool_can_work_again(folder, way):
    slow = make(folder, "slow.html", HANGS)
    fast = make(folder, "fast.html", b"<p>text")
    n_checks = itertools.count()

    def check():
        if way == "check" and (folder / "out" / "1.txt").exists():
            raise Cancelled
        next(n_checks)

    def consume(pool):
        requests = [request(fast, 0), request(slow, 1), *[request(fast, 2)] * 50]
        for _ in pool.run("extract", requests, limit_s=60, check=check):
            if way == "consumer":
                raise Cancelled

    with Children(2, {}) as pool:
        with pytest.raises(Cancelled):
            consume(pool)
        if way == "consumer":
            pool.close()
        assert not living()
        assert run(pool, [request(fast)])[0][1]["chars"] == 5
    assert next(n_checks) > 1


ORPHANS = """
import sys, psutil
from sllm_core.corpus.children import Children
from tests.test_children import request
from pathlib import Path
with Children(2, {}) as pool:
    items = [request(Path(path), i) for i, path in enumerate(sys.argv[1:])]
    for _ in pool.run("extract", items, limit_s=600, check=lambda: None):
        pass
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a library that hangs ends by its limit"
)
def test_children_end_when_their_owner_is_killed(folder):
    slow = make(folder, "slow.html", HANGS)
    command = [sys.executable, "-c", ORPHANS, str(slow)]
    owner = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for((folder / "out" / "0.txt").exists)
    orphans = psutil.Process(owner.pid).children()
    assert orphans
    owner.kill()
    owner.wait()
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive


@pytest.mark.skipif(os.name == "nt", reason="no such limits")
def test_an_orphan_inside_a_library_that_lets_no_thread_run_ends_by_its_limit():
    code = (
        "import re; from sllm_core.corpus import child; child._GRACE_S = 1; child.limit_time(0.1); "
        "re.match('(a+)+$', 'a' * 60 + 'b')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGXCPU


def wait_for(is_so) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_disk_that_cannot_be_written_ends_the_run_and_is_no_fault_of_the_file(folder):
    path = make(folder, "a.html", b"<p>text")
    with Children(1, {}) as pool, pytest.raises(DiskError) as caught:
        run(pool, [request(path, out=folder / "no" / "0.txt")])
    assert caught.value.code == "E-DISK-IO"


def test_children_that_cannot_start_are_an_error_of_ours(folder, monkeypatch):
    path = make(folder, "a.html", b"<p>text")
    monkeypatch.setattr(children, "HOME", folder)
    with Children(1, {}) as pool, pytest.raises(WorkerError, match="sllm_core"):
        run(pool, [request(path)])


def test_what_a_file_is_refused_for_comes_with_words(folder):
    paths = [
        folder / "gone.html",
        make(folder, "a.csv", b"a,b\n1,2\n"),
        make(folder, "b.pdf", b"x"),
    ]
    with Children(1, {}) as pool:
        results = [result for _, result in run(pool, [request(p, i) for i, p in enumerate(paths)])]
        assert [result["reason"] for result in results] == ["changed", "columns", "parse"]
        assert all(result["detail"] for result in results)
        table = {"path": os.fsencode(paths[1]).hex(), "format": "csv"}
        ((_, found),) = pool.run("columns", [table], limit_s=20, check=nothing)
    assert found == {"columns": [["a", "1"], ["b", "2"]]}


def test_a_worn_child_is_replaced(folder, monkeypatch):
    monkeypatch.setattr(children, "RECYCLE_ITEMS", 2)
    path = make(folder, "a.html", b"<p>text")
    seen = set()

    def check():
        seen.update(child.pid for child in living())

    with Children(1, {}) as pool:
        done = run(pool, [request(path, i) for i in range(9)], check=check)
    assert [result["chars"] for _, result in done] == [5] * 9
    assert len(seen) > 1


def test_a_child_goes_last_and_never_asks_the_network_or_a_card(folder):
    path = make(folder, "a.html", b"<p>text")
    with Children(1, {}) as pool:
        run(pool, [request(path)])
        (child,) = living()
        environment = child.environ()
        if hasattr(os, "nice"):
            assert child.nice() >= 10
            assert os.getsid(child.pid) != os.getsid(0)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"


def test_what_a_library_prints_or_reads_does_not_reach_the_owner():
    code = (
        "import os, sys; from sllm_core.corpus import child; asked, said = child.take_pipes(); "
        "print('noise', flush=True); os.write(1, b'more noise'); assert not sys.stdin.read(); "
        "said.write(asked.readline()); said.flush()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=b"{}\n", capture_output=True, check=True
    )
    assert done.stdout == b"{}\n"
    assert b"noise" in done.stderr


def test_every_task_of_the_pool_exists():
    code = (
        "import importlib, json; from sllm_core.corpus.child import TASKS; "
        "print(json.dumps([callable(getattr(importlib.import_module(m), n)) "
        "for m, n in TASKS.values()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert all(json.loads(done.stdout))
