"""Timing, memory and energy: what is counted, with clocks and counters of our own making."""

import mmap
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.decode import step
from dovetail.runtime.energy import EnergyMeter, Rapl, rapl_domains
from dovetail.runtime.load import Loaded
from dovetail.runtime.memory import PeakMemory, resident_bytes
from dovetail.runtime.speed import decode_speed, filled_cache, prefill_speed
from dovetail.runtime.timing import MIN_REPEATS, repeat


class Clock:
    """Seconds that pass only when work says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_median_and_quartiles_leave_out_the_warm_up_and_the_preparation() -> None:
    clock, costs = Clock(), iter([50.0, 3.0, 1.0, 2.0, 9.0, 4.0])
    seen: list[float] = []

    def work() -> None:
        seen.append(next(costs))
        clock.now += seen[-1]

    def prepare() -> None:
        clock.now += 0.5

    found = repeat(work, budget_s=20.0, before=prepare, clock=clock)
    timed = [3.0, 1.0, 2.0, 9.0, 4.0]
    assert seen == [50.0, *timed]
    assert (found.low_s, found.median_s, found.high_s) == tuple(np.quantile(timed, (0.25, 0.5, 0.75)))
    assert found.repeats == 5


def test_a_spent_budget_still_gives_three_repeats() -> None:
    assert repeat(lambda: None, budget_s=0.0).repeats == MIN_REPEATS


def test_prefill_and_decode_count_their_tokens(tiny: Loaded) -> None:
    first = prefill_speed(tiny, 32, batch=2, budget_s=0.0)
    assert first.tokens_per_s == pytest.approx(64 / first.step_s)
    assert (first.batch, first.context, first.tokens) == (2, 0, 32)
    later = decode_speed(tiny, 40, batch=3, budget_s=0.0)
    assert later.tokens_per_s == pytest.approx(3 / later.step_s)
    assert later.low <= later.tokens_per_s <= later.high
    assert (later.batch, later.context, later.tokens, later.threads) == (3, 40, 1, torch.get_num_threads())


def test_decode_is_timed_at_the_context_asked(tiny: Loaded) -> None:
    """Every forward pass is watched: no timed one has a cache below the context, nor does it grow over repeats."""
    held: list[int] = []

    def watch(module: object, given: tuple[object, ...], named: dict[str, object]) -> None:
        ids, cache = named["input_ids"], named["past_key_values"]
        if ids.shape[1] == 1:  # type: ignore[attr-defined]
            held.append(cache.get_seq_length())  # type: ignore[attr-defined]

    hook = tiny.model.register_forward_pre_hook(watch, with_kwargs=True)
    decode_speed(tiny, 20, budget_s=0.0)
    decode_speed(tiny, 63, budget_s=0.0)  # one step is left
    hook.remove()
    assert set(held) - {0} == {*range(20, 28), 63}  # one token into an empty cache tells its shapes


def test_a_cache_filled_in_chunks_is_the_cache_of_one_prefill(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    from dovetail.runtime import speed
    from dovetail.runtime.decode import new_cache

    ids = torch.arange(3, 43).reshape(2, 20)
    monkeypatch.setattr(speed, "_CHUNK", 7)
    pieces = filled_cache(tiny, ids)
    with torch.inference_mode():
        whole = step(tiny, ids, new_cache(tiny))[1]
    for ours, theirs in zip(pieces.layers, whole.layers):
        torch.testing.assert_close(ours.keys, theirs.keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("context", "batch"), [(0, 1), (64, 1), (65, 1), (8, 0)])
def test_speed_beyond_the_model_is_refused(tiny: Loaded, context: int, batch: int) -> None:
    with pytest.raises(DovetailError):
        decode_speed(tiny, context, batch=batch)
    with pytest.raises(DovetailError):
        prefill_speed(tiny, context + 1 if context == 64 else context, batch=batch)


def test_peak_memory_sees_what_was_freed_again() -> None:
    if resident_bytes() is None:
        pytest.skip("this kernel has no /proc/self/status")
    size = 64 << 20
    for _ in range(5):  # a kernel that takes back idle pages meanwhile hides as much of the rise
        # new pages: an allocator may hand out some that are resident already
        with PeakMemory() as peak, mmap.mmap(-1, size) as block:
            for _ in range(size >> 20):
                block.write(b"1" * (1 << 20))
        assert peak.bytes is not None
        if peak.bytes >= size * 0.9:
            break
    assert size * 0.9 <= peak.bytes < size * 2
    with PeakMemory() as nothing:
        pass
    assert nothing.bytes is not None
    assert nothing.bytes < size / 2  # the mark is reset between blocks


def test_a_status_file_is_read_in_kibibytes(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  12 kB\n")
    assert resident_bytes("VmHWM", tmp_path / "status") == 20 * 1024
    assert resident_bytes("VmPeak", tmp_path / "status") is None
    assert resident_bytes("VmHWM", tmp_path / "none") is None


def domain(root: Path, name: str, energy_uj: int, most: int = 262_143_328_850) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_rapl_adds_packages_and_survives_a_wrap(tmp_path: Path) -> None:
    first, second = domain(tmp_path, "intel-rapl:0", 1_000_000), domain(tmp_path, "intel-rapl:1", 900, most=1000)
    domain(tmp_path, "intel-rapl:0:0", 5)  # cores: inside package 0
    assert rapl_domains(tmp_path) == [first, second]
    meter = Rapl(tmp_path)
    domain(tmp_path, "intel-rapl:0", 3_500_000)
    domain(tmp_path, "intel-rapl:1", 100, most=1000)
    assert meter.joules() == pytest.approx(2.5 + 200e-6)
    domain(tmp_path, "intel-rapl:0", 4_500_000)
    assert meter.joules() == pytest.approx(3.5 + 200e-6)


def test_without_a_counter_energy_is_unknown(tmp_path: Path) -> None:
    assert Rapl(tmp_path / "nothing").joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert Rapl(tmp_path).joules() is None


def test_this_machines_energy_is_none_or_positive() -> None:
    with EnergyMeter() as meter:
        sum(range(1_000_000))
    assert meter.joules is None or meter.joules >= 0
    with EnergyMeter("cuda") as graphics:
        pass
    assert graphics.joules is None or re.match(r"\d", str(graphics.joules))
