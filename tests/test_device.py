"""A device and precision are obeyed or refused, never replaced, and always come with a reason."""

import contextlib

import pytest
import torch

from sllm_core import device
from sllm_core.device import Device, choose
from sllm_core.errors import ConfigError


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def fake_cuda(monkeypatch):
    def install(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    return install


@pytest.mark.parametrize("name", ["auto", "cpu"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_chosen_precision_is_obeyed_on_a_cpu(no_cuda, name, precision):
    chosen = choose(name, precision)
    assert (chosen.name, chosen.precision) == ("cpu", precision)
    assert chosen.precision_reason == "chosen by you"
    assert chosen.torch == torch.device("cpu")


def test_cuda_without_a_gpu_is_refused(no_cuda):
    with pytest.raises(ConfigError, match="cuda") as caught:
        choose("cuda", "auto")
    assert caught.value.code == "E-CFG-FIELD"
    assert caught.value.todo


@pytest.mark.parametrize(
    ("gain", "precision"),
    [(None, "fp32"), (0.1, "fp32"), (1.19, "fp32"), (1.2, "bf16"), (9, "bf16")],
)
def test_a_cpu_gets_bf16_only_where_it_is_faster(no_cuda, monkeypatch, gain, precision):
    monkeypatch.setattr(device, "matmul_gain", lambda _width, _rows: gain)
    chosen = choose("auto", "auto")
    assert chosen.precision == precision
    assert chosen.precision_reason
    if gain:
        assert f"{gain:.1f}" in chosen.precision_reason


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((6, 1), "fp32")],
)
def test_a_gpu_gets_what_it_computes_natively(fake_cuda, capability, precision):
    fake_cuda(capability)
    for name in ("auto", "cuda"):
        chosen = choose(name, "auto")
        assert (chosen.name, chosen.title, chosen.precision) == ("cuda", "Card", precision)
        assert "Card" in chosen.precision_reason
    assert choose("auto", "fp32").precision == "fp32"
    assert choose("cpu", "fp32").name == "cpu"


def test_autocast_touches_matrix_products_only():
    a = torch.randn(4, 4)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        chosen = Device("cpu", "CPU", precision, "")
        assert chosen.dtype == dtype
        with chosen.autocast():
            assert (a @ a).dtype == dtype
            assert (a + a).dtype == torch.float32
    plain = Device("cpu", "CPU", "fp32", "")
    assert plain.dtype is None
    assert isinstance(plain.autocast(), contextlib.nullcontext)


def global_state():
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
    )


def test_measuring_the_processor_changes_nothing_global():
    before = global_state()
    gain = device.matmul_gain(64, 128)
    assert gain is None or gain > 0
    assert global_state() == before


def test_measuring_gives_up_at_once_where_bf16_is_hopeless(monkeypatch):
    readings = iter([0.0, 0.0, 0.01, 0.01, 2.01])  # 10 ms in float32, then 2 s in bf16
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(readings))
    assert device.matmul_gain(8, 8) is None
    assert not list(readings)


def test_set_up_takes_the_threads_and_numbers_asked_for():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        device.set_up(1)
        assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "high"
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def test_set_up_can_be_deterministic(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        device.set_up(threads, is_deterministic=True)
    finally:
        torch.set_float32_matmul_precision(precision)
    assert asked == [True]
    assert not torch.backends.cudnn.benchmark


def test_free_memory_of_a_cpu_is_not_a_gpus():
    assert device.free_bytes(Device("cpu", "CPU", "fp32", "")) is None


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(problem, expected):
    assert device.is_out_of_memory(problem) is expected
