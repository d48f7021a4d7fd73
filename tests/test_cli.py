"""The command line keeps its contract: fields, exit codes, words, and nothing lost by a kill."""

import json
import os
import random
import shutil
import signal

import pytest

from sllm_core import cli, errors, faults
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import with_values
from sllm_core.jobs import models, pipeline, runs, worker
from sllm_core.messages import Done, Step
from sllm_core.project import Project
from tests.training_helpers import KILLED, ROOT, Told, in_fork, sllm, start, text

TINY = [
    f"--set={pair}"
    for pair in (
        "style=classic", "d_model=32", "n_layers=2", "n_heads=2", "seq_len=32", "max_seq_len=32",
        "batch_size=4", "threads=1", "precision=fp32", "target_vocab_size=272",
        "sample_prompts=the", "sample_tokens=4", "val_windows=4", "val_interval=5",
    )
]  # fmt: skip
FORBIDDEN = ("weights_only=False", "trust_remote_code", "Traceback")


@pytest.fixture
def here(capsys):
    """A command in this process; standard output must be JSON lines with type and time."""

    def run(*words) -> Told:
        capsys.readouterr()
        code = cli.main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        lines = [json.loads(line) for line in out.splitlines()]
        assert all({"type", "time"} <= line.keys() for line in lines)
        assert not any(word in out + err for word in FORBIDDEN)
        return Told(code, lines, err)

    return run


def refused(told: Told, code: str) -> str:
    """One message of at most three lines with its code, also as the last JSON line."""
    assert told.code == 1
    lines = told.errors.strip().splitlines()
    assert 1 <= len(lines) <= 3, told.errors
    assert lines[-1].endswith(f"[{code}]"), told.errors
    assert code in errors.CODES
    if told.lines:
        assert told.lines[-1]["type"] == "failed"
        assert told.lines[-1]["code"] == code
    return told.errors


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(12):
        (folder / f"t{number}.txt").write_text(text(20, number))
    return folder


# every command, and what it promises


def test_a_project_from_nothing_to_text(here, tmp_path, source, monkeypatch):
    place = tmp_path / "p"
    monkeypatch.chdir("/")
    assert here("new", place, "--source", source, *TINY).code == 0

    told = here("scan", place)
    scanned = told.of("scanned")[-1]
    assert (told.code, scanned["listed"], scanned["used"]) == (0, 12, 12)
    assert scanned["listed"] == scanned["used"] + scanned["skipped"] + scanned["failed"]

    told = here("prepare", place)
    assert told.code == 0
    assert told.of("tokenizer")[0]["vocab_size"] == 272
    assert told.of("prepared")[0]["train_tokens"] > 1000

    told = here("train", place, "--max-steps", 10, "--set", "save_interval=5")
    assert told.code == 0
    assert [line["step"] for line in told.of("step")] == list(range(1, 11))
    promised = {"step", "loss", "loss_hex", "grad_norm", "lr", "tokens", "data_pos"}
    assert all(promised <= line.keys() for line in told.of("step"))
    assert all(
        {"val_loss", "perplexity", "val_bpb"} <= line.keys() for line in told.of("validation")
    )
    for saved in told.of("saved"):
        assert {"step", "path", "sha256"} <= saved.keys()
        assert (place / saved["path"]).exists()
    assert [line["step"] for line in told.of("sample")] == [0, 5, 10]
    assert told.of("done")[0]["weights_sha256"]
    (run,) = runs.run_ids(Project(place), "train")
    events = (place / "runs" / run / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["type"] for line in events] == [line["type"] for line in told.lines]

    told = here("generate", place, "--prompt", "the", "--max-new-tokens", 5, "--seed", 3)
    assert told.code == 0
    assert told.lines[-1]["type"] == "generated"
    assert told.lines[-1]["seed"] == 3
    again = here("generate", place, "--prompt", "the", "--max-new-tokens", 5, "--seed", 3)
    assert again.lines[-1]["text"] == told.lines[-1]["text"]

    told = here("evaluate", place, source / "t1.txt")
    assert told.code == 0
    assert told.lines[-1]["n_bytes"] == (source / "t1.txt").stat().st_size
    assert here("evaluate", place).lines[-1]["name"] == "validation"

    (info,) = here("runs", place).of("run")
    assert (info["run"], info["state"], info["step"], info["total_steps"]) == (run, "done", 10, 10)

    told = here("verify", place)
    assert told.code == 0
    assert all(line["is_good"] for line in told.of("verified"))
    best = place / "checkpoints" / "best_model.pt"
    assert here("verify", best).code == 0

    moved = tmp_path / "elsewhere"  # a project is portable
    shutil.move(place, moved)
    assert here("generate", moved, "--prompt", "x", "--max-new-tokens", 2).code == 0

    best = moved / "checkpoints" / "best_model.pt"
    best.write_bytes(best.read_bytes()[:-9])
    assert "step_10.pt (step 10)" in refused(here("verify", best), "E-CKPT-HASH")
    refused(here("generate", moved, "--prompt", "x"), "E-CKPT-HASH")
    told = here("verify", moved)
    assert told.code == 1
    assert [line["path"] for line in told.of("verified") if not line["is_good"]] == [
        "checkpoints/best_model.pt"
    ]


def test_the_demo_trains_and_writes(here, project):
    told = here("demo", "--minutes", 0.05, "--project", project.root)
    assert told.code == 0
    assert told.of("done")[0]["step"] > 0
    refused(here("demo", "--minutes", "nan"), "E-USAGE")
    refused(here("demo", "--minutes", 0), "E-USAGE")


def test_the_doctor_speaks_in_findings(here):
    told = here("doctor")
    names = {line["name"] for line in told.of("finding")}
    assert {"system", "memory", "disk", "torch", "precision"} <= names
    problems = [line for line in told.of("finding") if line["level"] == "problem"]
    assert told.code == (1 if problems else 0)


def test_a_person_gets_sentences_and_a_script_gets_lines(project, capsys):
    assert cli.main(["train", str(project.root), "--max-steps", "3"]) == 0
    out, err = capsys.readouterr()
    assert "Done at step 3" in out
    assert "{" not in out
    assert (
        cli.main(["generate", str(project.root), "--prompt", "the ", "--max-new-tokens", "2"]) == 0
    )
    out, err = capsys.readouterr()
    assert out.startswith("the ")
    assert "seed 0" in err
    assert cli.main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


# refusals


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["frob"], "E-USAGE", "frob"),
        (["train"], "E-USAGE", "PROJECT"),
        (["train", "P", "--max-step", "3"], "E-USAGE", "--max-step"),
        (["train", "P", "--max-steps", "x"], "E-USAGE", "x"),
        (["train", "P", "--max-steps", "3", "--epochs", "1"], "E-USAGE", "not allowed with"),
        (["train", "P", "--max-steps", "0"], "E-CFG-FIELD", "max_steps"),
        (["train", "P", "--epochs", "nan"], "E-CFG-FIELD", "epochs"),
        (["train", "P", "--tokens", "0"], "E-CFG-FIELD", "max_tokens"),
        (["train", "P", "--tokens", "nan"], "E-USAGE", "--tokens"),
        (["train", "P", "--tokens", "1e999"], "E-USAGE", "--tokens"),
        (["train", "P", "--tokens", "64"], "E-TRAIN-STEPS", "max_tokens 64"),
        (["train", "P", "--time", "soon"], "E-USAGE", "soon"),
        (["train", "P", "--set", "d_modle=3"], "E-CFG-KEY", "d_model"),
        (["train", "P", "--set", "learning-rate=3"], "E-CFG-KEY", "learning_rate"),
        (["train", "P", "--set", "d_model"], "E-CFG-FIELD", "d_model"),
        (["train", "P", "--set", "d_model=wide"], "E-CFG-FIELD", "wide"),
        (["train", "P", "--set", "d_model=33"], "E-CFG-FIELD", "33"),
        (["train", "P", "--set", "seq_len=64"], "E-CFG-FIELD", "64"),
        (["train", "P", "--preset", "Balancd"], "E-CFG-FIELD", "balanced"),
        (["train", "P", "--resume", "auto"], "E-RUN-MISSING", "no run"),
        (["train", "P", "--resume", "x.pt"], "E-CKPT-MISSING", "x.pt"),
        (["train", "P", "--continue-from", "best"], "E-CKPT-MISSING", "no checkpoint"),
        (["train", "P", "--continue-from", "/none.pt"], "E-CKPT-MISSING", "none.pt"),
        (["train", "Q"], "E-PROJECT-MISSING", "not a project"),
        (["new", "P", "--source", "S"], "E-PROJECT-EXISTS", "already"),
        (["new", "Q", "--source", "/no/where"], "E-DATA-SOURCE", "/no/where"),
        (["new", "Q"], "E-USAGE", "--source"),
        (["generate", "P", "--prompt", "x"], "E-CKPT-MISSING", "no checkpoint"),
        (
            ["generate", "P", "--prompt", "x", "--checkpoint", "P/config.json"],
            "E-CKPT-FORMAT",
            "zip",
        ),
        (["generate", "P", "--prompt", "x", "--temperature", "9"], "E-CFG-FIELD", "temperature"),
        (["generate", "P"], "E-USAGE", "--prompt"),
        (["evaluate", "P"], "E-CKPT-MISSING", "no checkpoint"),
        (["prepare", "P", "--tokenizer", "/none.json"], "E-TOK-MISSING", "none.json"),
        (["prepare", "P", "--tokenizer", "P/config.json"], "E-TOK-SCHEMA", "not used"),
        (["verify", "/none.pt"], "E-CKPT-MISSING", "none.pt"),
        (["verify", "P/config.json"], "E-CKPT-FORMAT", "zip"),
        (["scan", "P", "--set", "max_files=-1"], "E-CFG-FIELD", "max_files"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_is_one_message_with_its_code(here, project, tmp_path, words, code, part):
    if code != "E-TOK-SCHEMA" and "--tokenizer" in words:
        shutil.rmtree(project.tokenizer_dir)
    places = {"P": project.root, "Q": tmp_path / "q", "S": tmp_path}
    words = [
        str(places.get(word, word)) if "/" not in word else word.replace("P/", f"{project.root}/")
        for word in words
    ]
    before = sorted(runs.run_ids(project))
    assert part in refused(here(*words), code)
    if code in {"E-USAGE", "E-CFG-FIELD", "E-CFG-KEY"}:
        assert sorted(runs.run_ids(project)) == before


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "E-DATA-EMPTY"), (b"a", "E-DATA-SMALL"), (b"x" * 100, ""), (b"word " * 600, ""),
     (b"\0\1\2" * 99, "E-DATA-EMPTY")],
)  # fmt: skip
def test_tiny_corpora_train_or_are_refused(here, tmp_path, content, code):
    folder = tmp_path / "texts"
    folder.mkdir()
    if content is not None:
        (folder / "a.txt").write_bytes(content)
    assert here("new", tmp_path / "p", "--source", folder, *TINY).code == 0
    told = here("train", tmp_path / "p", "--max-steps", 2)
    if code:
        refused(told, code)
        return
    assert told.code == 0
    assert told.of("done")[0]["step"] == 2
    assert here("generate", tmp_path / "p", "--prompt", "a", "--max-new-tokens", 2).code == 0


def test_a_source_that_is_gone_leaves_the_prepared_data_usable(here, prepared, project, tmp_path):
    config = project.load_config()
    gone = with_values(config, {})
    source = type(config.sources[0])(1, str(tmp_path / "gone"))
    project.save_config(type(gone)(**{**vars(gone), "sources": (source,)}))
    told = here("train", project.root, "--max-steps", 2)
    assert told.code == 0
    assert [line["code"] for line in told.of("log") if line["code"]] == ["E-DATA-SOURCE"]
    refused(here("scan", project.root), "E-DATA-SOURCE")


def test_resuming_changes_what_it_may_and_refuses_the_rest_by_name(here, project):
    place = project.root
    assert here("train", place, "--max-steps", 4).code == 0
    text = refused(
        here("train", place, "--resume", "auto", "--set", "d_model=64"), "E-RESUME-OPTION"
    )
    assert "d_model" in text
    refused(here("train", place, "--resume", "auto", "--preset", "Balanced"), "E-USAGE")
    refused(here("train", place, "--resume", "auto"), "E-TRAIN-STEPS")
    told = here("train", place, "--resume", "auto", "--max-steps", 6, "--set", "save_interval=1")
    assert told.code == 0
    assert [line["step"] for line in told.of("step")] == [5, 6]
    assert [line["step"] for line in told.of("saved") if "last" in line["roles"]] == [5, 6]
    assert len(runs.run_ids(project, "train")) == 1


def test_a_second_command_is_refused_and_names_the_holder_until_it_is_gone(here, project):
    process = start("train", project.root, "--max-steps", 10**6, "--json")
    try:
        for line in process.stdout:
            if json.loads(line)["type"] == "step":
                break
        before = runs.run_ids(project)
        for words in (["train"], ["train", "--resume", "auto"], ["scan"], ["prepare"]):
            told = here(words[0], project.root, *words[1:])
            assert f"process {process.pid}" in refused(told, "E-LOCK-HELD")
        assert runs.run_ids(project) == before
        assert here("generate", project.root, "--prompt", "x").code in {0, 1}  # reading is free
    finally:
        process.kill()
        process.communicate()
    assert here("train", project.root, "--max-steps", 2).code == 0


def test_a_reader_that_goes_away_ends_it_quietly(project):
    with start("train", project.root, "--max-steps", 10**6, "--json") as process:
        process.stdout.readline()
        process.stdout.close()
        errors_told = process.stderr.read()
        assert process.wait(timeout=40) == 0
    assert "Traceback" not in errors_told


# kills and signals

STEPS = 24


def losses(lines: list[dict]) -> dict[int, str]:
    """Step -> its line without what the clock decides."""
    return {line["step"]: (line["loss_hex"], line["data_pos"], line["lr"]) for line in lines}


@pytest.fixture(scope="session")
def plain(prepared, tmp_path_factory):
    """The run that nobody disturbed: its step lines and the hash of its weights."""
    place = tmp_path_factory.mktemp("plain") / "p"
    shutil.copytree(prepared.root, place)
    told = sllm("train", place, "--max-steps", STEPS)
    assert told.code == 0, told.errors
    return losses(told.of("step")), told.of("done")[0]["weights_sha256"]


def events(project) -> list[dict]:
    run = runs.last_run(project)
    lines = (run.folder / "events.jsonl").read_bytes().splitlines()
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # torn by the kill
            continue
    return found


def prove(project, plain) -> None:
    """After a kill: all is intact, what was told is true, and it is the undisturbed run's."""
    assert models.verify_project(project, pipeline.Job(lambda _: None))
    told = events(project)
    assert losses([line for line in told if line["type"] == "step"]).items() <= plain[0].items()
    store = Checkpoints(project)
    if saved := [line for line in told if line["type"] == "saved"]:
        run = runs.last_run(project).id
        assert store.newest_good(run)[0].step >= max(line["step"] for line in saved)


def kill_at_events(project, plain, n_kills: int, seed: int) -> None:
    draw = random.Random(seed)
    words = ["train", project.root, "--max-steps", STEPS, "--json"]
    for _ in range(n_kills):
        process = start(*words)
        for _ in range(draw.randrange(1, 40)):
            if not process.stdout.readline():
                break
        process.kill()
        process.communicate()
        if runs.run_ids(project, "train"):
            prove(project, plain)
            words = ["train", project.root, "--resume", "auto", "--json"]
    told = sllm(*words[:-1])
    if told.code == 1:  # killed after its last step
        assert "E-TRAIN-STEPS" in told.errors
    else:
        assert told.of("done")[0]["weights_sha256"] == plain[1]
    prove(project, plain)
    steps = [line for line in events(project) if line["type"] == "step"]
    assert losses(steps) == plain[0]
    assert not list(project.root.rglob("*.tmp*"))


def test_four_kills_at_random_events_lose_nothing(project, plain):
    kill_at_events(project, plain, 4, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_at_random_events_lose_nothing(project, plain, seed):
    kill_at_events(project, plain, 5, seed=100 + seed)


SAVE = [f"save.{point}" for point in ("open", "write", "fsync", "replace", "dirsync")]
POINTS = [  # the first save, the best, and one of a full list; index.write 7 to 10 replace a best
    *(f"{point}:1" for point in SAVE),
    *("save.write:30", "save.replace:4", "save.dirsync:4"),
    *(f"index.write:{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)),
]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_inside_any_save_of_a_run_loses_nothing(project, plain, point):
    config = with_values(project.load_config(), {"max_steps": STEPS})
    run = runs.new_run(project, "train", config)

    def work() -> None:
        faults._armed, faults._passed = faults.parse(f"{point}:kill"), {}
        worker.run_job(run)

    assert in_fork(work) == KILLED
    prove(project, plain)
    said = []
    last, code = worker.run_job(runs.open_run(project, run.id), said.append)
    assert code == 0
    assert isinstance(last, Done)
    assert last.weights_sha256 == plain[1]
    mine = {m.step: m.loss_hex for m in said if isinstance(m, Step)}
    assert mine.items() <= {step: line[0] for step, line in plain[0].items()}.items()
    assert not list(project.root.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGTERM", 143),
        pytest.param("SIGINT", 130, marks=pytest.mark.slow),
        pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_current_step_and_says_so(project, plain, name, code):
    process = start(
        "train", project.root, "--max-steps", STEPS, "--json", "--set", "save_interval=1000"
    )
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["type"] == "step" and lines[-1]["step"] == 7:
            process.send_signal(getattr(signal, name))
    process.stdout.close()
    assert process.wait(timeout=40) == code
    assert process.stderr.read() == ""
    process.stderr.close()
    stopped = lines[-1]
    assert stopped["type"] == "stopped"
    assert stopped["step"] == max(line["step"] for line in lines if line["type"] == "step") >= 7
    assert Checkpoints(project).newest_good(runs.last_run(project).id)[0].step == stopped["step"]
    last, code = worker.run_job(runs.last_run(project))
    assert code == 0
    assert last.weights_sha256 == plain[1]


def test_a_second_signal_leaves_at_once_and_loses_nothing(project, plain):
    process = start("train", project.root, "--max-steps", STEPS, "--json", SLLM_FAKE_FREE="1000000")
    for line in process.stdout:
        if json.loads(line)["type"] == "step":
            break
    os.kill(process.pid, signal.SIGSTOP)  # both are waiting when it goes on
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=40)
    assert process.returncode in {130, 143}
    prove(project, plain)


# words


def test_no_text_of_the_program_advises_to_disarm_it():
    files = [*ROOT.glob("sllm_core/**/*.py"), *ROOT.glob("help/*.md"), ROOT / "sllm.py"]
    assert len(files) > 30
    for file in files:
        found = file.read_text(encoding="utf-8")
        assert not any(word in found for word in FORBIDDEN[:2]), file


def test_help_names_every_command_of_the_table(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert all(name in told for name in cli.COMMANDS)
    assert set(cli.COMMANDS) >= set(
        "demo new scan prepare train generate evaluate runs verify doctor".split()
    )


def test_the_command_line_starts_from_another_folder_and_prints_no_traceback(tmp_path):
    told = sllm("scan", tmp_path)
    assert "E-PROJECT-MISSING" in refused(told, "E-PROJECT-MISSING")
