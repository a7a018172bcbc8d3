"""Products of packed weights against float64, in every variant this processor runs; their errors; their building."""

import copy
import importlib.util
import math
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.activations import rounded as rounded_per_token
from dovetail.runtime.kernels import build as building
from dovetail.runtime.kernels import library as libraries
from dovetail.runtime.kernels.fused import GatedMLP, RMSNorm
from dovetail.runtime.kernels.library import VARIANTS, Missing, find
from dovetail.runtime.kernels.linear import PackedLinear, block_of

found = find()
if isinstance(found, Missing):
    pytest.skip(f"no kernels: {found.why}", allow_module_level=True)
HERE = found.variants

SHAPES = [  # rows, cols, group: 0 is whole rows; odd columns, partial last groups, groups longer than a block
    (1, 1, 0), (16, 64, 32), (33, 70, 0), (5, 770, 0), (50, 100, 32), (17, 77, 7), (16, 1000, 24), (80, 256, 128),
    (48, 768, 384), (20, 600, 509), (131, 96, 96),
]  # fmt: skip
TOKENS = [1, 2, 3, 5, 8, 15, 70]


def problem(
    rows: int, cols: int, group: int, bits: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Integers, scales, and the float64 weights they stand for."""
    draw = np.random.default_rng([rows, cols, group, bits])
    steps = draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, cols)).astype(np.int8)
    scale = draw.uniform(1e-3, 1e-2, (rows, -(-cols // group) if 0 < group < cols else 1)).astype(np.float32)
    wide = scale.astype(float).repeat(group or cols, axis=1)[:, :cols]
    return torch.from_numpy(steps), torch.from_numpy(scale), steps * wide


def inputs(tokens: int, cols: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([tokens, cols]).standard_normal((tokens, cols)).astype(np.float32))


def relative(got: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got.double().numpy() - wanted) / np.linalg.norm(wanted))


def rounded(x: np.ndarray, block: int) -> np.ndarray:
    """Activations as ``int8`` arithmetic sees them: 127 steps each way of each block's largest magnitude."""
    out = np.empty(x.shape)
    for b in range(0, x.shape[1], block):
        piece = x[:, b : b + block].astype(float)
        step = np.abs(piece).max(1, keepdims=True) / 127
        out[:, b : b + block] = np.round(piece / step) * step
    return out


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("variant", HERE)
def test_exact_products_are_those_of_the_unpacked_weights(variant: str, bits: int) -> None:
    for rows, cols, group in SHAPES:
        steps, scale, weights = problem(rows, cols, group, bits)
        bias = torch.from_numpy(np.random.default_rng(1).standard_normal(rows).astype(np.float32))
        layer = PackedLinear(steps, scale, bits, group, bias, variant=variant)
        for tokens in TOKENS:
            x = inputs(tokens, cols)
            assert relative(layer(x), x.double().numpy() @ weights.T + bias.double().numpy()) < 1e-6


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("variant", HERE)
def test_integer_products_are_those_of_rounded_activations(variant: str, bits: int) -> None:
    for rows, cols, group in SHAPES:
        steps, scale, weights = problem(rows, cols, group, bits)
        layer = PackedLinear(steps, scale, bits, group, arithmetic="int8", variant=variant)
        for tokens in TOKENS:
            x = inputs(tokens, cols)
            off = abs(layer(x).double().numpy() - rounded(x.numpy(), block_of(cols, group)) @ weights.T)
            # fp32 and float64 may round a value half-way between two steps differently: at most a step times a weight
            assert np.quantile(off, 0.9) < 1e-6 * math.sqrt(cols) + 1e-6
            assert off.max() < 0.05 * abs(weights).max() + 1e-5


def zeros(scale: torch.Tensor, bits: int) -> torch.Tensor:
    draw, top = np.random.default_rng(bits), 2 ** (bits - 1)
    return torch.from_numpy(draw.integers(-top, top, scale.shape).astype(np.int8))


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("variant", HERE)
def test_zero_points_are_taken_off(variant: str, bits: int) -> None:
    for rows, cols, group in SHAPES:
        steps, scale, plain = problem(rows, cols, group, bits)
        zero = zeros(scale, bits)
        wide = (zero.double() * scale.double()).numpy().repeat(group or cols, axis=1)[:, :cols]
        weights = plain - wide
        layers = {how: PackedLinear(steps, scale, bits, group, zero=zero, arithmetic=how, variant=variant)
                  for how in ("exact", "int8")}  # fmt: skip
        for tokens in (1, 3, 13):
            x = inputs(tokens, cols)
            wanted = x.double().numpy() @ weights.T
            largest = float(np.abs(x.double().numpy()).sum(1).max() * np.abs(plain).max())
            assert np.abs(layers["exact"](x).double().numpy() - wanted).max() < 1e-6 * largest
            seen = rounded(x.numpy(), block_of(cols, group)) @ weights.T
            off = np.abs(layers["int8"](x).double().numpy() - seen)
            assert np.quantile(off, 0.9) < 1e-6 * largest
            assert off.max() < 0.05 * np.abs(weights).max() + 1e-5


@pytest.mark.parametrize("variant", HERE)
def test_inputs_rounded_per_token_are_those_of_the_checkpoints_that_ask_for_it(variant: str) -> None:
    for rows, cols, group in SHAPES:
        steps, scale, weights = problem(rows, cols, group, 8)
        layer = PackedLinear(steps, scale, 8, group, arithmetic="int8-token", variant=variant)
        for tokens in (1, 3, 13):
            x = inputs(tokens, cols)
            assert relative(layer(x), rounded_per_token(x, "int8").double().numpy() @ weights.T) < 1e-6


@pytest.mark.parametrize("bits", [4, 8])
def test_integer_products_have_the_same_bits_in_every_variant(bits: int) -> None:
    for rows, cols, group in SHAPES:
        steps, scale, _ = problem(rows, cols, group, bits)
        x = inputs(13, cols)
        for how in ("int8", "int8-token"):
            for more in ({}, {"zero": zeros(scale, bits)}):
                first, *others = (
                    PackedLinear(steps, scale, bits, group, arithmetic=how, variant=v, **more)(x) for v in HERE
                )
                assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("arithmetic", ["exact", "int8"])
def test_tokens_and_threads_do_not_change_a_result(arithmetic: str) -> None:
    steps, scale, _ = problem(530, 260, 64, 4)
    layer, x = PackedLinear(steps, scale, 4, 64, arithmetic=arithmetic), inputs(700, 260)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = layer(x)
        for tokens in (1, 2, 5, 9, 64):
            assert torch.equal(layer(x[:tokens]), whole[:tokens])
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            assert torch.equal(layer(x), whole)
            assert torch.equal(layer(x[:1]), whole[:1])
    finally:
        torch.set_num_threads(before)


def test_integers_at_their_ends_do_not_overflow() -> None:
    cols = 8000
    for bits, low, high in ((8, -128, 127), (4, -8, 7)):
        for value in (low, high):
            steps = torch.full((16, cols), value, dtype=torch.int8)
            for sign in (1.0, -1.0):
                x = torch.full((9, cols), sign)
                for variant in HERE:
                    layer = PackedLinear(steps, torch.ones(16, 1), bits, arithmetic="int8", variant=variant)
                    assert relative(layer(x), np.full((9, 16), sign * value * cols)) < 1e-6


@pytest.mark.parametrize("variant", HERE)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_none(variant: str, bad: float) -> None:
    steps, scale, weights = problem(20, 70, 32, 8)
    x = inputs(5, 70)
    x[2, 40] = bad
    dense = torch.nn.functional.linear(x, torch.from_numpy(weights).float())
    exact = PackedLinear(steps, scale, 8, 32, variant=variant)(x)
    assert torch.equal(exact.isnan(), dense.isnan())
    assert torch.equal(exact.isinf(), dense.isinf())
    integer = PackedLinear(steps, scale, 8, 32, arithmetic="int8", variant=variant)(x)
    assert integer[2].isnan().all()
    assert integer[[0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("arithmetic", ["exact", "int8"])
def test_zeros_tiny_and_huge_activations(arithmetic: str) -> None:
    steps, scale, weights = problem(20, 70, 32, 8)
    layer = PackedLinear(steps, scale, 8, 32, arithmetic=arithmetic)
    assert not layer(torch.zeros(3, 70)).any()
    for size in (1e-25, 1e25):
        x = inputs(4, 70) * size
        assert relative(layer(x), x.double().numpy() @ weights.T) < 0.02
    assert layer(torch.full((1, 70), 1e-42)).isfinite().all()


def test_shapes_dtypes_and_strides_of_activations() -> None:
    steps, scale, weights = problem(24, 40, 8, 4)
    layer, x = PackedLinear(steps, scale, 4, 8), inputs(12, 40)
    plain = layer(x)
    assert layer(x.reshape(2, 3, 2, 40)).shape == (2, 3, 2, 24)
    assert torch.equal(layer(x.reshape(2, 6, 40)).reshape(12, 24), plain)
    assert torch.equal(layer(x.T.contiguous().T), plain)
    assert torch.equal(layer(x[::2]), plain[::2])
    assert torch.equal(layer(x[0]), plain[0])
    assert layer(x[:0]).shape == (0, 24)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert layer(x.to(dtype)).dtype is dtype
        assert relative(layer(x.to(dtype)), x.to(dtype).double().numpy() @ weights.T) < 0.01


@pytest.mark.parametrize("variant", HERE)
def test_a_gated_layer_in_one_call(variant: str) -> None:
    gate, up, down = ((*problem(*shape, 32, 8),) for shape in ((48, 70), (48, 71), (30, 48)))
    first, second, last = (PackedLinear(s, c, 8, 32, variant=variant) for s, c, _ in (gate, gate, down))
    assert PackedLinear.joined([first, PackedLinear(up[0], up[1], 8, 32, variant=variant)]) is None
    assert PackedLinear.joined([PackedLinear(down[0], down[1], 8, 32), last]) is None  # 30 rows end within a tile
    layer = GatedMLP(PackedLinear.joined([first, second]), last)
    for tokens in (1, 9, 70):
        x = 3 * inputs(tokens, 70)
        g = x.double().numpy() @ gate[2].T
        wanted = (g / (1 + np.exp(-g)) * g) @ down[2].T
        assert relative(layer(x), wanted) < 1e-6
        assert torch.equal(layer(x), copy.deepcopy(layer)(x))
    assert layer(x.reshape(2, 35, 70).bfloat16()).shape == (2, 35, 30)
    with pytest.raises(DovetailError, match="71 columns"):
        layer(torch.ones(2, 71))


@pytest.mark.parametrize("variant", HERE)
def test_gates_over_the_whole_range_of_floats(variant: str) -> None:
    """One input that goes through as it is: silu(x), then times x; against float64 and, at the ends, torch."""
    one = PackedLinear(torch.eye(16, dtype=torch.int8), torch.ones(16, 1), 8, variant=variant)
    layer = GatedMLP(PackedLinear.joined([one, one]), one)

    def gated(x: torch.Tensor) -> torch.Tensor:
        rows = torch.zeros(len(x), 16)
        rows[:, 0] = x
        return layer(rows)[:, 0]

    x = torch.cat([torch.linspace(-100, 100, 20001), torch.tensor([0.0, 1e-30, -1e-30, 1e4, -1e4])])
    exact = x.double() * x.double() / (1 + torch.exp(-x.double()))
    assert ((gated(x) - exact).abs() <= 4e-7 * exact.abs() + 1e-34).all()
    for bad in (math.nan, -math.inf):
        assert gated(torch.tensor([bad])).isnan().all()


@pytest.mark.parametrize("width", [1, 16, 70, 256])
def test_norms_against_float64(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.rand(width), requires_grad=False)
    for variant in HERE:
        monkeypatch.setenv("DOVETAIL_KERNELS", variant)
        norm = RMSNorm(weight, 1e-5)
        x = inputs(7, width)
        x[3] = 0
        wide = x.double()
        wanted = weight.double() * wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        assert relative(norm(x), wanted.numpy()) < 1e-6
        assert relative(norm(x[::2]), wanted[::2].numpy()) < 1e-6
        x[2, 0] = math.nan
        assert norm(x).isnan().any(1).tolist() == [False, False, True, *[False] * 4]
        assert torch.equal(pickle.loads(pickle.dumps(norm))(x[:2]), norm(x[:2]))
    assert copy.deepcopy(norm).bfloat16()(x.bfloat16()).dtype is torch.bfloat16


def test_weights_are_small_in_memory() -> None:
    for bits, group, most in ((4, 128, 0.54), (8, 128, 1.04), (8, 0, 1.01), (3, 128, 0.54)):
        steps, scale, _ = problem(512, 1024, group, bits)
        layer = PackedLinear(steps, scale, bits, group)
        assert 512 * 1024 * min(1, 2 ** (bits > 4) / 2) <= layer.stored_bytes <= most * 512 * 1024
        assert not list(layer.parameters())


def test_a_layer_survives_being_copied_moved_and_pickled() -> None:
    steps, scale, _ = problem(40, 64, 32, 4)
    layer, x = PackedLinear(steps, scale, 4, 32, torch.ones(40)), inputs(3, 64)
    wanted = layer(x)
    del steps, scale
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer).to(torch.bfloat16)):
        assert torch.equal(other(x), wanted)
    assert "bits=4, group=32" in repr(layer)


def test_what_cannot_be_packed_or_multiplied_is_refused() -> None:
    steps, scale, _ = problem(24, 40, 8, 4)
    refused = [
        (lambda: PackedLinear(steps.int(), scale, 4, 8), "torch.int32"),
        (lambda: PackedLinear(steps[0], scale, 4, 8), "shape"),
        (lambda: PackedLinear(steps, scale, 9, 8), "9 bits"),
        (lambda: PackedLinear(steps, scale, 3, 8), "do not fit in 3 bits"),
        (lambda: PackedLinear(steps, scale[:, :-1], 4, 8), r"\(24, 5\) are needed"),
        (lambda: PackedLinear(steps, scale, 4, 8, torch.ones(3)), "bias"),
        (lambda: PackedLinear(steps, scale, 4, 8, zero=torch.ones(24, 4)), "zero points"),
        (lambda: PackedLinear(steps, scale, 4, 8, arithmetic="int9"), "did you mean 'int8'"),
        (lambda: PackedLinear(steps, scale, 4, 8, variant="avx3"), "no variant 'avx3'"),
        (lambda: PackedLinear(steps, scale, 4, 8)(torch.ones(2, 41)), "41 columns"),
        (lambda: PackedLinear(steps, scale, 4, 8)(torch.ones(2, 40, dtype=torch.int64)), "int64"),
        (lambda: PackedLinear(steps, scale, 4, 8)(torch.ones(2, 40, requires_grad=True)), "no gradient"),
        (lambda: PackedLinear(steps, scale, 4, 8)(torch.ones(2, 40, device="meta")), "meta"),
    ]
    for call, words in refused:
        with pytest.raises(DovetailError, match=words):
            call()


def test_threads_of_python_may_multiply_at_once() -> None:
    steps, scale, _ = problem(256, 256, 64, 4)
    layer, x = PackedLinear(steps, scale, 4, 64, arithmetic="int8"), inputs(40, 256)
    before, wrong = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        wanted = layer(x)

        def work() -> None:
            wrong.extend(i for i in range(50) if not torch.equal(layer(x), wanted))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert not wrong


@pytest.mark.parametrize("before", ["layer(torch.ones(64, 256))", "(torch.ones(4_000_000) * 2).sum()"])
def test_a_child_of_fork_can_multiply(before: str) -> None:
    """Whether its parent used those threads for our products, or torch for its own only."""
    code = f"""
import os, torch
from dovetail.runtime.kernels.linear import PackedLinear
torch.set_num_threads(2)
layer = PackedLinear(torch.ones(256, 256, dtype=torch.int8), torch.ones(256, 1), 8)
{before}
child = os.fork()
if child == 0:
    os._exit(0 if float(layer(torch.ones(64, 256)).sum()) == 64 * 256 * 256 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_fastest_variant_is_the_default_and_the_environment_may_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    lib = libraries.library()
    monkeypatch.delenv("DOVETAIL_KERNELS", raising=False)
    assert VARIANTS[lib.variant()] == HERE[-1]
    monkeypatch.setenv("DOVETAIL_KERNELS", "portable")
    assert VARIANTS[lib.variant()] == "portable"
    with pytest.raises(DovetailError, match="does not run here"):
        libraries.Library(lib.path, ("portable",), *[None] * 9).variant("avx512")


@pytest.fixture
def afresh() -> object:
    """`find` without what it remembers, before and after."""
    find.cache_clear()
    yield
    find.cache_clear()


@pytest.mark.usefixtures("afresh")
def test_without_a_compiler_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "BUILT", tmp_path / "a")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert libraries.expected() is False
    assert find() == Missing("no C++ compiler is on the PATH", "apt install g++, or another C++ compiler")
    with pytest.raises(DovetailError, match="no C\\+\\+ compiler"):
        libraries.library()


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize(
    ("given", "why"),
    [('g++ "', "CXX is no command: .*No closing quotation"), ("no-such-cxx -O1", "CXX names 'no-such-cxx', which is")],
)
def test_what_cxx_says_is_quoted(given: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "BUILT", tmp_path / "a")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("CXX", given)
    assert not libraries.expected()
    with pytest.raises(building.CannotBuildError, match=why):
        building.build(tmp_path / "a")
    with pytest.raises(DovetailError, match=why):
        libraries.library()


@pytest.mark.usefixtures("afresh")
def test_a_compile_that_failed_is_not_expected_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "BUILT", tmp_path / "a")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("CXX", compiler_that(tmp_path, "exit 1"))
    assert libraries.expected()  # nobody has tried
    assert isinstance(find(), Missing)
    assert not libraries.expected()


@pytest.mark.usefixtures("afresh")
def test_kernels_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOVETAIL_KERNELS", "off")
    assert find() == Missing("DOVETAIL_KERNELS is off", "unset DOVETAIL_KERNELS")


def compiler_that(tmp_path: Path, script: str) -> str:
    path = tmp_path / "cxx"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler_that(tmp_path, "echo 'tiles.cpp:1: error: no such thing' >&2; exit 1"))
    with pytest.raises(building.CannotBuildError, match="no such thing"):
        building.build(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".lock"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_compiler_older_than_an_instruction_set_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = 'for a in "$@"; do case $a in -mavx*) exit 1;; -O[23]) set -- "$@" -O0;; esac; done; exec g++ "$@"'
    monkeypatch.setenv("CXX", compiler_that(tmp_path, old))
    made = libraries._loaded(building.build(tmp_path / "out"))
    assert made.variants == ("portable",)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no variants")
@pytest.mark.parametrize("end", ["kill -9 $$", "echo 'error: out of memory' >&2; exit 1"])
def test_a_variant_that_fails_is_not_left_out(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that knows the instructions and fails for another reason leaves no weaker library behind."""
    fails = f'case "$*" in *-mavx2*tiles.cpp*) {end};; *-O[23]*) exec g++ "$@" -O0;; esac; exec g++ "$@"'
    monkeypatch.setenv("CXX", compiler_that(tmp_path, fails))
    with pytest.raises(building.CannotBuildError):
        building.build(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.so"))


@pytest.mark.usefixtures("afresh")
def test_systems_without_locks_compile_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    quick = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && touch "$2"; shift; done'
    monkeypatch.setenv("CXX", compiler_that(tmp_path, quick))
    spec = importlib.util.spec_from_file_location("alone", building.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.build(tmp_path / "out").is_file()


def test_a_killed_compile_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that held the lock is gone in the middle; the next takes the lock and finishes."""
    out, mark = tmp_path / "out", tmp_path / "started"
    env = {**os.environ, "CXX": compiler_that(tmp_path, f"touch {mark}; exec sleep 60")}
    code = f"from pathlib import Path; from dovetail.runtime.kernels.build import build; build(Path({str(out)!r}))"
    hung = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
    while not mark.exists():
        assert hung.poll() is None
    os.killpg(hung.pid, signal.SIGKILL)
    hung.wait()
    assert list(out.glob(".part-*"))
    quick = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && touch "$2"; shift; done'
    monkeypatch.setenv("CXX", compiler_that(tmp_path, quick))
    assert building.build(out).is_file()
    assert not list(out.glob(".part-*"))
