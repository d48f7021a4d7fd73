"""A file from a stranger is data: it is used when it is good, and refused in words when not."""

import json
import os
import struct
import sys
import zipfile
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from sllm_core import foreign, tokenizer
from sllm_core.config import SamplingConfig
from sllm_core.errors import CheckpointError, TokenizerError
from sllm_core.jobs import models
from sllm_core.sampler import write
from tests.training_helpers import TOKENIZER, World, in_fork

FORBIDDEN = ("weights_only", "trust_remote_code", "Traceback", "pickle_module")


@pytest.fixture
def content(tmp_path):
    """What a good checkpoint holds, in a fresh copy."""
    return World(tmp_path / "world").fresh().content()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "theirs.pt"


def refused(work, *reasons: str, error=CheckpointError) -> str:
    """``work`` is refused with one of ``reasons``, in three lines at most and without bad advice."""
    with pytest.raises(error) as caught:
        work()
    text = caught.value.text
    assert caught.value.code.rsplit("-", 1)[1] in reasons, text
    assert len(text.splitlines()) <= 3
    assert not any(word in text for word in FORBIDDEN)
    assert len(text) < 600
    return text


def save(content, path) -> None:
    torch.save(content, path)


def write_zip(path, records: dict, **options) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def hand_made(path, program: bytes) -> None:
    """A zip checkpoint around a hand-made pickle program."""
    write_zip(path, {"a/data.pkl": program, "a/version": "3\n", "a/byteorder": "little"})


# good ones


def test_a_good_checkpoint_is_read_whole(content, path):
    save(content, path)
    found = foreign.open_checkpoint(path)
    assert found["config"] == asdict(World(path.parent / "w").fresh().model.config)
    assert found["step"] == 0
    assert found["tokenizer_config"] == {"sha256": TOKENIZER.sha256}
    assert found["model_state_dict"].keys() == content["model_state_dict"].keys()
    for name, tensor in content["model_state_dict"].items():
        assert torch.equal(found["model_state_dict"][name], tensor)


def test_a_good_checkpoint_writes_text_in_a_project(content, path, project):
    save(content, path)
    model, used, device, title = models.load_model(project, str(path))
    assert title == "theirs.pt"
    settings = SamplingConfig(max_new_tokens=3)
    assert write(model, used, "the", settings, device=device, seed=0).n_tokens == 3


def test_one_of_another_tokenizer_is_refused_by_name(content, path, project):
    content["tokenizer_config"]["sha256"] = "f" * 64
    save(content, path)
    text = refused(lambda: models.load_model(project, str(path)), "MISMATCH")
    assert "ffffffffffff" in text


# code


class Call:
    """Something that calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(marker) -> dict[str, object]:
    code = f"open({str(marker)!r}, 'w')"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "torch.hub": Call(torch.hub.load, str(marker.parent), "x"),
        "torch.load": Call(torch.load, str(marker)),
    }


@pytest.mark.parametrize("place", ["whole", "key", "config", "weights"])
@pytest.mark.parametrize("name", sorted(attacks(Path("x"))))
def test_code_is_never_run(content, path, tmp_path, name, place):
    marker = tmp_path / "marker"
    attack = attacks(marker)[name]
    if place == "whole":
        content = attack
    elif place == "key":
        content["extra"] = attack
    elif place == "config":
        content["config"]["d_model"] = attack
    else:
        content["model_state_dict"]["norm.weight"] = attack
    save(content, path)
    refused(lambda: foreign.read_in_child(path), "CODE")
    assert not marker.exists()


@pytest.mark.parametrize("container", ["zip", "legacy", "opcodes"])
def test_code_is_not_run_by_the_whole_way_in(path, tmp_path, container):
    marker = tmp_path / "marker"
    attack = attacks(marker)["os.system"]
    if container == "opcodes":
        hand_made(path, b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    else:
        torch.save(attack, path, _use_new_zipfile_serialization=container == "zip")
    text = refused(lambda: foreign.open_checkpoint(path), "CODE", "FORMAT")
    assert not marker.exists()
    assert ("torch's zip format" in text) == (container == "legacy")


# what can be told from outside


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for place in (tmp_path / "fifo", tmp_path, tmp_path / "link"):
        refused(lambda place=place: foreign.open_checkpoint(place), "FORMAT")
    refused(lambda: foreign.open_checkpoint(tmp_path / "none"), "MISSING")


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 999, b"text"])
def test_what_is_no_zip_is_refused(path, data):
    path.write_bytes(data)
    refused(lambda: foreign.open_checkpoint(path), "FORMAT", "HASH")


def test_every_truncation_is_refused(content, path):
    save(content, path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:cut])
        refused(lambda: foreign.check_outside(path), "FORMAT", "HASH")


def test_changed_bytes_of_a_record_are_noticed(content, path):
    save(content, path)
    whole = bytearray(path.read_bytes())
    needle = content["model_state_dict"]["embed_tokens.weight"].numpy().tobytes()[:64]
    whole[whole.index(needle) + 5] ^= 4
    path.write_bytes(whole)
    refused(lambda: foreign.open_checkpoint(path), "HASH")


@pytest.mark.parametrize(
    "records", [{"../a": "x"}, {"/a/b": "x"}, {"a/../../b": "x"}, {"a/b": "x", "c/d": "x"}], ids=str
)
def test_records_outside_one_folder_are_refused(path, records):
    write_zip(path, records)
    refused(lambda: foreign.open_checkpoint(path), "FORMAT")


def test_compressed_records_are_refused(path):
    write_zip(path, {"a/data.pkl": b"\0" * 10**6}, compression=zipfile.ZIP_DEFLATED)
    refused(lambda: foreign.open_checkpoint(path), "FORMAT")


def test_a_record_that_claims_more_than_the_file_has_is_refused(path):
    write_zip(path, {"a/data.pkl": b"x" * 100})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 20  # compressed and real size in the central directory
    data[at : at + 8] = struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFFF)
    path.write_bytes(data)
    refused(lambda: foreign.open_checkpoint(path), "FORMAT", "HASH")


# structure bombs


def test_deep_nesting_and_endless_work_are_ended(path, monkeypatch):
    hand_made(path, b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    refused(lambda: foreign.open_checkpoint(path), "FORMAT")
    monkeypatch.setattr(foreign, "READ_S", 3.0)
    hand_made(path, b"\x80\x02})q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns.")  # a key hashed 2^60 times
    text = refused(lambda: foreign.open_checkpoint(path), "FORMAT")
    assert "longer than 3 s" in text


# what it holds


def change(content, name):  # noqa: C901 - a table
    """One thing that is wrong."""
    state, config = content["model_state_dict"], content["config"]
    norm = state["norm.weight"]
    match name:
        case "no weights":
            content["model_state_dict"] = {}
        case "weights are a list":
            content["model_state_dict"] = [1]
        case "no config":
            del content["config"]
        case "format":
            content["format_version"] = 2
        case "config is a list":
            content["config"] = [1, 2]
        case "unknown field":
            config["d_modl"] = 3
        case "width of the wrong type":
            config["d_model"] = "32"
        case "no vocabulary":
            config["vocab_size"] = None
        case "heads do not divide":
            config["n_heads"] = 3
        case "absurd size":
            config.update(d_model=16_384, n_layers=512, n_heads=16, n_kv_heads=16, head_dim=1024)
        case "impossible together":
            config.update(d_model=16_384, n_heads=1, n_kv_heads=1, head_dim=None)
        case "huge integer":
            config["n_layers"] = 10**30
        case "nan":
            norm[3] = float("nan")
        case "infinity":
            norm[3] = float("inf")
        case "zero stride":
            state["norm.weight"] = torch.ones(1).expand(32)
        case "sparse":
            state["norm.weight"] = torch.eye(6).to_sparse()
        case "integers":
            state["norm.weight"] = torch.ones(32, dtype=torch.int64)
        case "complex":
            state["norm.weight"] = torch.ones(32, dtype=torch.complex64)
        case "not a tensor":
            state["norm.weight"] = 3.0
        case "number as name":
            state[7] = state.pop("norm.weight")
        case "too many":
            state["extra"] = torch.ones(5)
        case "other name":
            state["final.weight"] = state.pop("norm.weight")
        case "other shape":
            state["norm.weight"] = norm.reshape(4, 8)
        case "other width":
            config["d_model"] = 64
        case "more than its storage":
            rebuild = (norm.untyped_storage(), 0, (10**12,), (1,), False, OrderedDict())
            storage = torch.storage.TypedStorage(
                wrap_storage=rebuild[0], dtype=torch.float32, _internal=True
            )
            state["norm.weight"] = Call(torch._utils._rebuild_tensor_v2, storage, *rebuild[1:])
    return content


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no weights", "FORMAT"), ("weights are a list", "FORMAT"), ("no config", "FORMAT"),
        ("format", "VERSION"), ("config is a list", "CONFIG"), ("unknown field", "CONFIG"),
        ("width of the wrong type", "CONFIG"), ("no vocabulary", "CONFIG"),
        ("heads do not divide", "CONFIG"), ("absurd size", "MISMATCH"), ("impossible together", "CONFIG"), ("huge integer", "CONFIG"),
        ("nan", "NONFINITE"), ("infinity", "NONFINITE"), ("zero stride", "FORMAT"),
        ("sparse", "FORMAT"), ("integers", "FORMAT"), ("complex", "FORMAT"),
        ("not a tensor", "FORMAT"), ("number as name", "FORMAT"), ("too many", "MISMATCH"),
        ("other name", "MISMATCH"), ("other shape", "MISMATCH"), ("other width", "MISMATCH"),
        ("more than its storage", "FORMAT"),
    ],
)  # fmt: skip
def test_what_is_wrong_inside_is_refused(content, path, name, reason):
    save(change(content, name), path)
    refused(lambda: foreign.read_in_child(path), reason)


@pytest.mark.parametrize("value", [None, 3, [1, 2], "weights", torch.ones(3)], ids=repr)
def test_what_is_no_dictionary_is_refused(path, value):
    save(value, path)
    refused(lambda: foreign.read_in_child(path), "FORMAT")


def test_odd_counters_do_no_harm(content, path):
    content["step"] = float("nan")
    content["tokenizer_config"] = "x"
    save(content, path)
    facts, _ = foreign.read_in_child(path)
    assert facts["step"] == 0
    assert facts["tokenizer_config"] == {}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_the_child_may_not_take_all_memory():
    import resource

    def work() -> None:
        foreign.limit_self(5)
        assert 0 < resource.getrlimit(resource.RLIMIT_AS)[0] < 16 << 30
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0

    assert in_fork(work) == 0
    assert in_fork(lambda: None) == 0


# tokenizers


def tokenizer_content() -> dict:
    return json.loads(tokenizer.canonical_json(TOKENIZER.content))


def trained_content() -> dict:
    texts = ["the cat sat on the mat and the cat ran " * 30]
    return json.loads(tokenizer.canonical_json(tokenizer.train(texts, 290).content))


@pytest.mark.parametrize("make", [tokenizer_content, trained_content])
def test_a_good_tokenizer_is_taken(tmp_path, make):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(make()))
    made = foreign.open_tokenizer(file)
    assert made.decode(made.encode("the cat [EOS] \u00e4")) == "the cat [EOS] \u00e4"


def spoil(content: dict, name: str) -> object:  # noqa: C901 - a table
    model = content["model"]
    vocab = model["vocab"]
    match name:
        case "duplicate ids":
            vocab["a"] = vocab["b"]
        case "hole":
            vocab["zz"] = 999
        case "huge id":
            vocab["a"] = 10**12
        case "negative id":
            vocab["a"] = -1
        case "id is text":
            vocab["a"] = "5"
        case "no vocabulary":
            model["vocab"] = {}
        case "byte missing":
            vocab["zz"] = vocab.pop("a")
        case "unknown merge":
            model["merges"] = [["qq", "q"]]
        case "merge is a number":
            model["merges"] = [3]
        case "merge of lists":
            model["merges"] = [[["a"], ["b"]]]
        case "truncation" | "padding" | "normalizer":
            content[name] = {"type": "Lowercase"}
        case "dropout":
            model["dropout"] = 0.5
        case "other model":
            model["type"] = "Unigram"
        case "evil pattern":
            content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a+)+$"}
        case "pattern is text":
            content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = "x"
        case "steps are numbers":
            content["pre_tokenizer"] = {"pretokenizers": [1, 2]}
        case "added without id":
            content["added_tokens"] = [{"content": "x"}]
        case "added is a number":
            content["added_tokens"] = [4]
        case "no end":
            content["added_tokens"] = content["added_tokens"][:1]
        case "a list":
            return [content]
    return content


@pytest.mark.parametrize(
    "name",
    ["duplicate ids", "hole", "huge id", "negative id", "id is text", "no vocabulary",
     "byte missing", "unknown merge", "merge is a number", "merge of lists", "truncation",
     "padding", "normalizer", "dropout", "other model", "evil pattern", "pattern is text",
     "steps are numbers", "added without id", "added is a number", "no end", "a list"],
)  # fmt: skip
def test_a_spoilt_tokenizer_is_refused(tmp_path, name):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(spoil(tokenizer_content(), name)))
    refused(lambda: foreign.try_tokenizer(file), "SCHEMA", error=TokenizerError)


def test_a_tokenizer_is_tried_in_a_child_and_from_a_regular_file_alone(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(spoil(tokenizer_content(), "steps are numbers")))
    refused(lambda: foreign.open_tokenizer(file), "SCHEMA", error=TokenizerError)
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", tmp_path):
        refused(lambda place=place: foreign.open_tokenizer(place), "SCHEMA", error=TokenizerError)
    refused(lambda: foreign.open_tokenizer(tmp_path / "x"), "MISSING", error=TokenizerError)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 99_999, b"1" * 5000, b"null"])
def test_what_is_no_json_is_no_tokenizer(tmp_path, data):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(data)
    refused(lambda: foreign.try_tokenizer(file), "SCHEMA", error=TokenizerError)


def test_a_giant_tokenizer_is_not_read(tmp_path):
    file = tmp_path / "tokenizer.json"
    with file.open("wb") as out:
        out.truncate(tokenizer.MAX_FILE_BYTES + 1)
    refused(lambda: foreign.open_tokenizer(file), "LIMIT", error=TokenizerError)
