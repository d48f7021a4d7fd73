"""What is measured here becomes a forecast or a proposal, and nothing of the project is changed."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from sllm_core import advice, estimate, hardware, messages, probe
from sllm_core.config import with_values
from sllm_core.errors import DataError, LockError, StepMemoryError
from sllm_core.jobs import advise
from sllm_core.jobs.pipeline import Job
from sllm_core.messages import Log, Scanned
from sllm_core.project import Lock, create
from tests.helpers import ROOT, make_project, prepare, scan, write_corpus

TINY = {
    "d_model": 32, "n_layers": 1, "n_heads": 2, "seq_len": 16, "max_seq_len": 16, "batch_size": 4,
    "precision": "fp32", "device": "cpu", "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advise")
    write_corpus(folder / "src")
    project = make_project(folder / "project", folder / "src", target_vocab_size=400)
    prepare(project)
    return project


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As all other tests: losses of later ones are compared bit by bit."""
    monkeypatch.setattr(hardware, "default_threads", lambda: 1)


@pytest.fixture
def quick(monkeypatch):
    """Trials of a millisecond."""
    small = ((32, 1, 300, 16), (64, 2, 300, 16))
    monkeypatch.setattr(advise, "_SIZES", {"cpu": small, "cuda": small})
    monkeypatch.setattr(advise, "_TRIAL_TOKENS", {"cpu": 64, "cuda": 64})
    monkeypatch.setattr(advise.devices, "matmul_gain", lambda *_: None)
    monkeypatch.setattr(advise, "busy_share", lambda: 0.0)


def try_settings(project, tokens=0, **values):
    body = {"do": "probe", "request": 7, "values": {**TINY, **values}, "train_tokens": tokens}
    return advise.probe_settings(project, body, Job(lambda _: None))


def propose(project, said=None, **more):
    body = {"do": "auto", "request": 8, **more}
    return advise.propose(project, body, Job((said if said is not None else []).append))


def files(project):
    return {p: p.stat().st_mtime_ns for p in project.root.rglob("*") if ".lock" not in p.name}


# a trial of given settings


def test_a_trial_forecasts_the_run_that_these_settings_would_give(project):
    found = try_settings(project, max_steps=50)
    assert found.request == 7
    assert found.total_steps == 50
    assert found.forecast_s == pytest.approx(50 * found.step_s)
    assert found.tokens_per_sec == pytest.approx(4 * 16 / found.step_s)
    assert found.micro_batch_size * found.grad_accum_steps == 4
    assert (found.precision, found.precision_reason) == ("fp32", "chosen by you")
    assert found.need_bytes > 4 * found.n_params
    assert found.peak_bytes is None


def test_epochs_are_counted_on_the_prepared_data(project):
    manifest = json.loads((project.data_dir / "manifest.json").read_text())
    windows = (manifest["train_tokens"] - 1) // 16
    assert try_settings(project, epochs=2.0).total_steps == 2 * windows // 4


def test_time_becomes_steps(project):
    found = try_settings(project, max_time_s=5.0)
    assert found.total_steps == max(1, int(5 / found.step_s))
    assert found.forecast_s <= 5.1


def test_without_data_there_is_no_forecast_but_for_a_number_of_steps(tmp_path):
    empty = create(tmp_path / "p", [str(tmp_path)], with_values(advise.ProjectConfig(), TINY))
    found = try_settings(empty, target_vocab_size=300)
    assert (found.total_steps, found.forecast_s) == (None, None)
    assert found.step_s > 0
    assert try_settings(empty, target_vocab_size=300, max_steps=9).total_steps == 9
    assert try_settings(empty, target_vocab_size=300, epochs=1.0).total_steps is None
    assert try_settings(empty, 6401, target_vocab_size=300, epochs=1.0).total_steps == 100


def test_nothing_is_measured_while_a_run_is_at_work(project):
    project.runs_dir.mkdir(exist_ok=True)
    with Lock(project.runs_dir / ".accelerator.lock", "a run"):
        for ask in (try_settings, propose):
            with pytest.raises(LockError):
                ask(project)


# Auto-Select


def test_a_proposal_is_measured_here_and_changes_nothing(project, quick):
    before, said = files(project), []
    found = propose(project, said)
    assert files(project) == before
    assert found.request == 8
    assert any(isinstance(message, Log) for message in said)
    config = with_values(project.load_config(), found.values)
    shape = replace(config.model, vocab_size=config.tokenizer.target_vocab_size)
    assert estimate.count_parameters(shape).total == found.n_params
    assert found.reasons.keys() == found.values.keys()
    assert found.tokens_per_sec > 0
    assert "cores" in found.machine
    assert messages.decode(messages.encode(found, 0)) == (found, 0)


def test_a_budget_is_kept(project, quick):
    assert propose(project, budget_s=2).forecast_s <= 2.5


def test_a_project_that_was_never_scanned_is_scanned_first(tmp_path, quick):
    write_corpus(tmp_path / "src", n=12)
    fresh = make_project(tmp_path / "project", tmp_path / "src")
    said = []
    assert propose(fresh, said).is_estimated
    assert any(isinstance(message, Scanned) for message in said)


def test_without_any_text_it_says_what_to_do(tmp_path, quick):
    (tmp_path / "src").mkdir()
    empty = make_project(tmp_path / "project", tmp_path / "src")
    with pytest.raises(DataError, match="Add a folder"):
        propose(empty)


def test_what_was_prepared_is_counted_and_what_came_since_is_estimated(tmp_path):
    write_corpus(tmp_path / "src", n=12)
    project = make_project(tmp_path / "project", tmp_path / "src", target_vocab_size=400)
    prepare(project)
    config = project.load_config()
    text = advise.read_text(project, config)
    manifest = json.loads((project.data_dir / "manifest.json").read_text())
    assert text.train_tokens == manifest["train_tokens"]
    assert text.bytes_per_token == pytest.approx(
        manifest["train_text_bytes"] / manifest["train_tokens"]
    )
    write_corpus(tmp_path / "src", n=40, name="new")
    scan(project)
    text = advise.read_text(project, config)
    assert text.train_tokens is None
    assert advice.train_tokens(text, text.vocab_size) > 2 * manifest["train_tokens"]


def test_a_trial_that_disagrees_corrects_the_speed(project, quick, monkeypatch):
    machine, device = advise.measure_machine(project, Job(lambda _: None))
    choice = advice.choose(advice.Text(3, 10**6), machine, project.load_config()).choice
    flops = advice.flops_per_token(choice.shape, choice.train.seq_len)
    expected = machine.overhead_s + machine.flop_s * flops

    def takes(factor):
        monkeypatch.setattr(advise, "_trial", lambda *_: (factor * expected * 64, 0.0, 64))
        return advise._corrected(choice, machine, device)

    assert takes(1.05) == machine
    slower = takes(3.0)
    assert slower.overhead_s + slower.flop_s * flops == pytest.approx(3 * expected)


def test_a_trial_that_does_not_fit_is_made_smaller_until_not_one_window_does(monkeypatch):
    tried = []

    def measure(config, train, device, size):
        tried.append(size)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(probe, "measure", measure)
    shape = advise.ModelConfig(d_model=32, n_heads=2, vocab_size=300)
    device = advise.Device("cpu", "CPU", "fp32", "chosen")
    with pytest.raises(StepMemoryError):
        advise._trial(shape, 16, 64, device)
    assert tried == [4, 2, 1]


def test_a_busy_computer_is_said_to_be_busy(project, quick, monkeypatch):
    assert not any("Other programs" in words for words in propose(project).warnings)
    monkeypatch.setattr(advise, "busy_share", lambda: 0.9)
    assert any("90 %" in words for words in propose(project).warnings)


def test_the_child_has_one_last_word(tmp_path):
    (tmp_path / "src").mkdir()
    empty = make_project(tmp_path / "project", tmp_path / "src")
    body = json.dumps({"do": "auto", "request": 5})
    done = subprocess.run(
        [sys.executable, "-m", "sllm_core.worker", "advise", str(empty.root), body],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    last, _ = messages.decode(done.stdout.splitlines()[-1])
    assert (last.type, last.code, last.request) == ("failed", "E-DATA-EMPTY", 5)
    assert done.returncode == 0, done.stderr


def test_the_memory_that_is_free_is_that_of_this_moment(project, quick, monkeypatch):
    monkeypatch.setattr(hardware, "free_memory", lambda: 123 << 20)
    assert propose(project).free_bytes == 123 << 20
