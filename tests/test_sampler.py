"""Writing: each filter equals transformers' bit for bit; text is whole, replayable and stoppable."""

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sllm_core import faults, sampler
from sllm_core.config import STYLES, ModelConfig, SamplingConfig
from sllm_core.device import Device
from sllm_core.errors import CheckpointError
from sllm_core.model import GPT
from sllm_core.sampler import StopFilter, generate, write
from sllm_core.tokenizer import byte_tokenizer

CPU = Device("cpu", "CPU", "fp32", "chosen by the test")
HALF = replace(CPU, precision="bf16")
BYTES = byte_tokenizer()
GREEDY = SamplingConfig(temperature=0, top_k=0, top_p=1, repetition_penalty=1)
OPEN = SamplingConfig(temperature=1, top_k=0, top_p=1, repetition_penalty=1)


def tiny_model(style="modern", seed=0, **changes):
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 96, "dropout": 0.1}
    model = GPT(ModelConfig(style=style, vocab_size=BYTES.vocab_size, **{**shape, **changes}))
    model.init_weights(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # a fresh model is nearly indifferent; this one has opinions
    return model.eval()


class ScriptedModel(GPT):
    """A model that is certain of the next byte of a text, whatever it reads."""

    def __init__(self, script: bytes | list[int], **changes):
        super().__init__(tiny_model(**changes).config)
        self.script = script if isinstance(script, list) else [byte + 16 for byte in script]
        self.n_calls = 0

    def forward(self, ids, cache=None, **_):
        logits = torch.zeros(1, 1, BYTES.vocab_size)
        logits[..., [BYTES.eos_id, BYTES.end_id]] = -50.0
        at = self.n_calls
        logits[..., self.script[at] if at < len(self.script) else BYTES.eos_id] = 50.0
        self.n_calls += 1
        cache.length += ids.shape[1]
        return logits


def tokens(model, prompt_ids, how=GREEDY, seed=0, device=CPU, **more):
    out = []
    reason = generate(
        model, BYTES, prompt_ids, how, device=device, seed=seed, on_token=out.append, **more
    )
    return out, reason


def random_logits(generator, vocab_size):
    """From flat to peaked, a third of them rounded so that ties are common."""
    logits = torch.randn(2, vocab_size, generator=generator)
    logits *= 10 ** (torch.rand(1, generator=generator) * 3 - 1)
    if torch.rand(1, generator=generator) < 0.33:
        logits = logits.round()
    return logits


def same_bits(a, b):
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("vocab_size", [50, 4096])
def test_every_filter_equals_transformers_bit_for_bit(vocab_size):
    generator = torch.Generator().manual_seed(vocab_size)
    for _ in range(300):
        logits = random_logits(generator, vocab_size)
        u = torch.rand(4, generator=generator).tolist()
        seen = torch.randint(vocab_size, (2, 1 + int(u[0] * 80)), generator=generator)
        k, p = 1 + int(u[1] * 60), u[2]
        heat, penalty = 0.05 + 2 * u[3], 0.5 + 1.5 * u[0]
        pairs = [
            (sampler.keep_top_k(logits, k), TopKLogitsWarper(k)(seen, logits)),
            (sampler.keep_top_p(logits, p), TopPLogitsWarper(p)(seen, logits)),
            (
                sampler.scale_temperature(logits, heat),
                TemperatureLogitsWarper(heat)(seen, logits),
            ),
            (
                sampler.penalize_repeats(logits, seen, penalty),
                RepetitionPenaltyLogitsProcessor(penalty)(seen, logits),
            ),
        ]
        for number, (ours, theirs) in enumerate(pairs):
            assert same_bits(ours, theirs), number
        one_row = sampler.keep_top_p(sampler.keep_top_k(logits[0], k), p)
        theirs = TopPLogitsWarper(p)(seen, TopKLogitsWarper(k)(seen, logits))[0]
        assert same_bits(one_row, theirs)


def test_off_values_change_nothing():
    logits = torch.randn(50)
    assert sampler.keep_top_k(logits, 0) is logits
    assert sampler.keep_top_k(logits, 50) is logits
    assert sampler.keep_top_p(logits, 1.0) is logits
    assert sampler.penalize_repeats(logits, torch.tensor([3]), 1.0) is logits


def test_top_p_keeps_the_smallest_set_that_reaches_p_and_never_nothing():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    kept = [
        int((sampler.keep_top_p(logits, p) > -math.inf).sum()) for p in (0, 0.4, 0.6, 0.9, 0.99)
    ]
    assert kept == [1, 1, 2, 3, 4]
    evens = torch.zeros(4)  # two of four reach a half exactly
    assert int((sampler.keep_top_p(evens, 0.5) > -math.inf).sum()) == 2


def test_a_repeated_token_is_penalised_once():
    once = sampler.penalize_repeats(torch.tensor([2.0, -2.0]), torch.tensor([0, 1]), 2.0)
    twice = sampler.penalize_repeats(torch.tensor([2.0, -2.0]), torch.tensor([0, 1, 0, 1]), 2.0)
    assert once.tolist() == twice.tolist() == [1.0, -4.0]


def test_drawing_follows_the_filtered_distribution():
    logits = torch.tensor([2.0, 1.5, 1.0, 0.8, 0.0, -1.0])
    how = SamplingConfig(temperature=0.7, top_k=4, top_p=0.7, repetition_penalty=1.3)
    seen = torch.tensor([0])
    full = sampler.penalize_repeats(logits, seen, 1.3)
    full = sampler.keep_top_p(sampler.keep_top_k(full, 4), 0.7)
    expected = (full / 0.7).softmax(-1)
    assert (expected > 0).tolist() == [True, True, True, False, False, False]
    generator = torch.Generator().manual_seed(1)
    n = 4000
    drawn = torch.tensor([sampler.draw(logits, seen, how, generator) for _ in range(n)])
    share = torch.bincount(drawn, minlength=6) / n
    assert torch.all((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt() + 1e-9)


def test_greedy_is_the_lowest_id_of_the_largest():
    logits = torch.tensor([1.0, 3.0, 3.0, 2.0])
    assert sampler.draw(logits, torch.tensor([], dtype=torch.int64), GREEDY, torch.Generator()) == 1


@pytest.mark.parametrize("temperature", [1e-40, 1e-6])
def test_a_vanishing_temperature_is_greedy_and_not_nan(temperature):
    how = replace(OPEN, temperature=temperature)
    empty = torch.tensor([], dtype=torch.int64)
    assert sampler.draw(torch.tensor([1.0, 3.0]), empty, how, torch.Generator()) == 1


@pytest.mark.parametrize("style", STYLES)
def test_cached_greedy_equals_the_argmax_of_whole_forwards(style):
    model = tiny_model(style)
    banned = torch.tensor(sorted(BYTES.special_ids - {BYTES.eos_id, BYTES.end_id}))
    lengths = []
    for prompt in (b"The ", b"x", b"a longer beginning, of more words"):
        context = [byte + 16 for byte in prompt]
        expected = []
        for _ in range(60):
            with torch.no_grad():
                logits = model(torch.tensor([context]))[0, -1]
            logits[banned] = -math.inf
            token = int(logits.argmax())
            if token in {BYTES.eos_id, BYTES.end_id}:
                break
            context.append(token)
            expected.append(token)
        how = replace(GREEDY, max_new_tokens=60)
        assert tokens(model, [byte + 16 for byte in prompt], how)[0] == expected
        lengths.append(len(expected))
    assert max(lengths) == 60


@pytest.mark.parametrize("style", STYLES)
def test_a_full_context_slides_to_its_last_half(style):
    model = tiny_model(style, max_seq_len=16)
    context, expected = [100], []
    for _ in range(70):
        context = context[-8:] if len(context) > 16 else context
        with torch.no_grad():
            logits = model(torch.tensor([context]))[0, -1]
        logits[:16] = -math.inf
        context.append(int(logits.argmax()))
        expected.append(context[-1])
    without_ends = SimpleNamespace(
        vocab_size=272, eos_id=-1, end_id=-1, special_ids=BYTES.special_ids
    )
    out = []
    how = replace(GREEDY, max_new_tokens=70)
    reason = generate(model, without_ends, [100], how, device=CPU, seed=0, on_token=out.append)
    assert reason == "length"
    assert out == expected


@pytest.mark.parametrize("n_prompt", [15, 16, 17, 500])
def test_a_prompt_longer_than_the_context_keeps_its_end(n_prompt):
    model = tiny_model(max_seq_len=16)
    prompt = torch.randint(
        16, 272, (n_prompt,), generator=torch.Generator().manual_seed(1)
    ).tolist()
    kept = prompt if n_prompt <= 16 else prompt[-8:]
    how = replace(GREEDY, max_new_tokens=1)
    assert tokens(model, prompt, how) == tokens(model, kept, how)
    assert len(tokens(model, prompt, replace(OPEN, max_new_tokens=40))[0]) > 0


def test_an_empty_prompt_begins_a_document():
    model = tiny_model()
    how = replace(GREEDY, max_new_tokens=9)
    assert tokens(model, [], how) == tokens(model, [BYTES.eos_id], how)
    assert write(model, BYTES, "", how, device=CPU, seed=0).n_tokens > 0


def test_the_same_seed_writes_the_same_and_another_another():
    model = tiny_model()
    how = replace(OPEN, top_k=40, top_p=0.9, repetition_penalty=1.2, max_new_tokens=60)
    texts = [write(model, BYTES, "The", how, device=CPU, seed=seed).text for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_writing_leaves_the_global_generator_and_the_mode_alone():
    model = tiny_model()
    for is_training in (True, False):
        model.train(is_training)
        before = torch.get_rng_state()
        a = tokens(model, [100], replace(OPEN, max_new_tokens=20), seed=3)
        assert torch.equal(torch.get_rng_state(), before)
        assert model.training is is_training
        torch.rand(5)
        assert tokens(model, [100], replace(OPEN, max_new_tokens=20), seed=3) == a


def test_mode_and_weights_come_back_even_after_an_error():
    model = tiny_model().train()
    before = [(p.data_ptr(), p.stride(), p.clone()) for p in model.parameters()]

    def broken(_token):
        raise KeyError

    with pytest.raises(KeyError):
        generate(model, BYTES, [100], GREEDY, device=CPU, seed=0, on_token=broken)
    assert model.training
    assert torch.is_grad_enabled()
    for parameter, (address, stride, values) in zip(model.parameters(), before, strict=True):
        assert (parameter.data_ptr(), parameter.stride()) == (address, stride)
        assert torch.equal(parameter, values)


def test_half_precision_writes_without_changing_weights():
    model = tiny_model("classic").train()
    before = [parameter.clone() for parameter in model.parameters()]
    out, _ = tokens(model, [100, 101], replace(OPEN, max_new_tokens=30), device=HALF)
    assert len(out) > 0
    assert not torch.is_autocast_enabled("cpu")
    assert all(map(torch.equal, before, model.parameters()))
    model(torch.tensor([[100, 101]])).sum().backward()  # no inference tensor was left behind


@pytest.mark.parametrize(("style", "n_kv_heads"), [("classic", 4), ("llama", 2), ("modern", 2)])
def test_half_precision_runs_in_every_style(style, n_kv_heads):
    model = tiny_model(style, n_kv_heads=n_kv_heads, max_seq_len=16)
    out, _ = tokens(model, [100, 101], replace(OPEN, max_new_tokens=30), device=HALF)
    assert all(16 <= token < 272 for token in out)


def test_special_tokens_are_never_written_and_both_ends_end():
    wanted = {BYTES.eos_id: "eos", BYTES.end_id: "eos"}
    for special in sorted(BYTES.special_ids):
        model = ScriptedModel([special, 65 + 16])
        out, reason = tokens(model, [100], replace(GREEDY, max_new_tokens=2))
        assert not BYTES.special_ids & set(out)
        assert reason == wanted.get(special, "length")
        assert len(out) == (0 if special in wanted else 2)


def test_rows_that_only_pad_the_table_are_never_written():
    wide = SimpleNamespace(vocab_size=200, eos_id=3, end_id=7, special_ids=BYTES.special_ids)
    out = []
    how = replace(OPEN, temperature=2, max_new_tokens=200)
    generate(tiny_model(), wide, [100], how, device=CPU, seed=0, on_token=out.append)
    assert out
    assert max(out) < 200


def test_the_penalty_sees_the_prompt_but_no_special_token(monkeypatch):
    windows = []
    draw = sampler.draw
    monkeypatch.setattr(
        sampler,
        "draw",
        lambda logits, seen, *rest: windows.append(seen.tolist()) or draw(logits, seen, *rest),
    )
    model = ScriptedModel(b"aba" + b"c" * 20, max_seq_len=8)
    tokens(model, [BYTES.eos_id, 100, 101, 100], replace(GREEDY, max_new_tokens=12))
    a, b, c = (byte + 16 for byte in b"abc")
    assert windows[:4] == [[100, 101], [100, 101, a], [100, 101, a, b], [100, 101, a, b]]
    assert windows[5] == [b, a, c]  # it slid: only what the model still sees
    assert windows[-1] == [c]


def test_cancel_acts_before_the_next_token():
    out = []
    reason = generate(
        ScriptedModel(b"abcdef"),
        BYTES,
        [100],
        GREEDY,
        device=CPU,
        seed=0,
        on_token=out.append,
        is_cancelled=lambda: len(out) == 3,
    )
    assert (reason, len(out)) == ("cancelled", 3)
    model = ScriptedModel(b"abc")
    written = write(model, BYTES, "x", GREEDY, device=CPU, seed=0, is_cancelled=lambda: True)
    assert (written.reason, written.n_tokens, written.tokens_per_sec) == ("cancelled", 0, None)
    assert model.n_calls == 0


def test_numbers_that_are_none_are_told_in_words(monkeypatch):
    model = tiny_model()
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    for how in (GREEDY, OPEN):
        with pytest.raises(CheckpointError) as caught:
            tokens(model, [100], how)
        assert caught.value.code == "E-CKPT-NONFINITE"
    monkeypatch.setattr(faults, "passage", lambda _point: "nan")
    with pytest.raises(CheckpointError):
        tokens(tiny_model(), [100])


def test_the_fault_point_is_passed_once_a_generation(monkeypatch):
    passed = []
    monkeypatch.setattr(faults, "passage", lambda point: passed.append(point) or "")
    tokens(tiny_model(), [100], replace(GREEDY, max_new_tokens=5))
    assert passed == ["sample"]


# --- text


def written(script, stop=(), **changes):
    shown = []
    how = replace(GREEDY, stop=stop, **changes)
    result = write(ScriptedModel(script), BYTES, "x", how, device=CPU, seed=0, on_text=shown.append)
    assert "".join(shown) == result.text
    assert all(shown)
    return result, shown


def test_text_streams_in_whole_characters():
    text = "né 日本 👩‍👩‍👧 ß"
    result, shown = written(text.encode())
    assert result.text == text
    assert (result.reason, result.n_tokens, result.seed) == ("eos", len(text.encode()), 0)
    assert shown == list(text)  # one byte a token: a character comes with its last byte
    assert result.tokens_per_sec > 0


def test_a_character_cut_off_by_the_end_is_left_out():
    data = "a👩".encode()
    for n in (2, 3, 4):
        assert written(data, max_new_tokens=n)[0].text == "a"
    assert written(data, max_new_tokens=5)[0].text == "a👩"
    assert written(data[:3])[0].text == "a"  # by [EOS]


def test_bytes_that_are_no_utf8_become_the_replacement_character():
    assert written(b"a\xffb\xc3")[0].text == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("Hello User: no", ("User:",), "Hello "),
        ("Hello Use", ("User:",), "Hello Use"),
        ("aab aabaabc", ("aabc",), "aab aab"),
        ("ein 日本語 Text", ("本語",), "ein 日"),
        ("ein 👩‍👩‍👧 x", ("👩‍👧",), "ein 👩\u200d"),
        ("one\n\ntwo", ("\n\n",), "one"),
        ("abc", ("",), "abc"),
        ("stop", ("stop",), ""),
        ("xabcd", ("abcd", "bc"), "xa"),
        ("xabc", ("bc", "abc", "c"), "x"),
    ],
)
def test_a_stop_text_ends_the_writing_and_is_never_shown(text, stop, expected):
    result, shown = written(text.encode(), stop)
    assert result.text == expected
    assert result.reason == ("eos" if expected == text else "stop")
    for n in range(1, len(shown) + 1):
        assert expected.startswith("".join(shown[:n]))


@given(
    text=st.text("ab日\n", max_size=30),
    stops=st.lists(st.text("ab日\n", min_size=1, max_size=4), max_size=3),
    cuts=st.sets(st.integers(1, 29), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_stop_texts_do_not_depend_on_how_the_text_is_cut(text, stops, cuts):
    def run(pieces):
        stop_filter = StopFilter(stops)
        shown = ""
        for piece in pieces:
            shown += stop_filter.feed(piece)
            if stop_filter.is_stopped:
                break
        return shown + stop_filter.finish(), stop_filter.is_stopped

    borders = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(borders)]
    shown, is_stopped = run(pieces)
    assert (shown, is_stopped) == run([text])
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    assert is_stopped == any(stop in text for stop in stops)


@given(data=st.binary(max_size=24))
@settings(max_examples=60, deadline=None)
def test_any_bytes_stream_as_valid_text(data):
    result, shown = written(data, ("~~",)) if data else written(b"a")
    "".join(shown).encode()  # no lone surrogate
    if not data:
        return
    complete = data.decode("utf-8", errors="replace")
    if "~~" not in complete:
        assert complete.rstrip("\ufffd").startswith(result.text.rstrip("\ufffd"))
        assert len(complete) - len(result.text) <= 1
