"""Offload: bytes on chip and host are the memory model's, and the link bounds the steps."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dovetail.core.errors import DovetailError
from dovetail.cost.transfer import REACHED, START_S
from dovetail.design import Plan, estimate
from dovetail.workload import Workload

LLAMA, MIXTURE, SMALL = "meta-llama/Llama-3.1-70B", "mistralai/Mixtral-8x7B-v0.1", "meta-llama/Llama-3.1-8B"
WORK = Workload(prompt=1024, output=128, batch=1)
LONG = Workload(prompt=16000, output=128, batch=64)


def both(model, work, offload, on="h100-sxm"):
    return estimate(model, on, work), estimate(model, on, work, plan=Plan(offload=offload))


def streamed(found, phase: str) -> float:
    operators = getattr(found.steps, f"{phase}_graph").operators
    return float(sum(o.size for o in operators if o.name.startswith("offload")))


def test_weights_that_do_not_fit_stream_from_the_host() -> None:
    plain, found = both(LLAMA, WORK, "weights")
    before, held = plain.metrics.memory, found.metrics.memory
    assert not plain.feasible
    assert found.feasible
    assert held.weights + held.host == before.weights
    assert held.total == pytest.approx(held.capacity, rel=1e-12)
    layer = 2 * (8192 * (8192 + 2 * 1024) + 8192 * 8192 + 3 * 8192 * 28672 + 2 * 8192)  # bf16, with two norms
    assert held.staging == 2 * layer
    assert held.host == pytest.approx(float(before.total - before.capacity) + 2 * layer)
    link_s = 80 * START_S + held.host / (64e9 * REACHED["pinned"])
    for phase in ("prefill", "decode"):
        assert streamed(found, phase) == held.host
        assert getattr(found.steps, phase).time_s == pytest.approx(link_s + found.machine.stack.step_s)
    assert found.bottleneck()["decode"].startswith("link")
    assert "offload_weights" in found.bottleneck()["decode"]
    assert found.kind == "modelled"
    assert found.trust.host
    assert not plain.trust.host


def test_caches_fill_the_chip_first() -> None:
    plain, found = both(SMALL, LONG, "kv")
    before, held = plain.metrics.memory, found.metrics.memory
    assert held.kv_cache + held.host == before.kv_cache
    assert held.weights == before.weights
    per_token = 64 * found.model.kv_bytes_per_token
    assert streamed(found, "prefill") == pytest.approx(16000 * per_token - held.kv_cache)
    mean = found.workload.mean_context + 1
    assert streamed(found, "decode") == pytest.approx(mean * per_token - held.kv_cache)
    assert held.staging == pytest.approx(2 * before.kv_cache / 32)
    assert found.metrics.tpot_s > 10 * plain.metrics.tpot_s


def test_what_fits_is_left_alone() -> None:
    for offload in ("weights", "kv"):
        plain, found = both(SMALL, WORK, offload)
        assert found.metrics == plain.metrics
        assert found.steps.decode_graph == plain.steps.decode_graph


def test_experts_that_no_token_meets_do_not_move() -> None:
    _, found = both(MIXTURE, WORK, "weights")
    held = found.metrics.memory
    assert held.host > 0
    assert streamed(found, "prefill") == pytest.approx(held.host, rel=1e-6)
    expert = 3 * 4096 * 14336 * 2
    layers = 32 * (8 * expert + 2 * (4096 * (4096 + 2 * 1024) + 4096 * 4096 + 8 * 4096 + 2 * 4096))
    assert streamed(found, "decode") == pytest.approx(held.host * (1 - 32 * 6 * expert / layers))  # two of eight


def test_too_much_is_still_infeasible_and_arrays_are_each_alone() -> None:
    _, found = both(LLAMA, Workload(prompt=1024, output=128, batch=2000), "weights")
    assert not found.feasible
    assert found.why
    batches = np.array([1, 64, 512])
    plan = Plan(offload="kv")
    together = estimate(SMALL, "h100-sxm", Workload(prompt=8000, output=128, batch=batches), plan=plan).metrics
    for i, batch in enumerate(batches):
        alone = estimate(SMALL, "h100-sxm", Workload(prompt=8000, output=128, batch=int(batch)), plan=plan).metrics
        assert together.tpot_s[i] == pytest.approx(float(alone.tpot_s), rel=1e-12)
        assert np.broadcast_to(together.memory.host, 3)[i] == pytest.approx(float(alone.memory.host), rel=1e-12)


def test_bad_words_and_chips_without_a_host_are_named() -> None:
    with pytest.raises(DovetailError, match="cannot offload 'disk'"):
        Plan(offload="disk")
    with pytest.raises(DovetailError, match="no link from tpu-v6e to its host"):
        both(LLAMA, WORK, "weights", "tpu-v6e")


def test_the_command_line_says_what_moved() -> None:
    from dovetail.app.cli import app

    asked = [LLAMA, "--on", "h100-sxm", "--offload", "weights"]
    run = CliRunner().invoke(app, ["estimate", *asked, "--json"])
    answer = json.loads(run.stdout)
    assert run.exit_code == 0
    assert answer["feasible"]
    assert answer["memory"]["host"]["value"] == pytest.approx(68.2e9, rel=0.01)
    tree = CliRunner().invoke(app, ["explain", "tpot", *asked, "--depth", "4"]).stdout
    assert "host link" in tree
    assert "PCIe Gen5" in tree
    table = CliRunner().invoke(app, ["estimate", *asked, "--explain", "memory"]).stdout
    assert "weights on the host" in table
    assert "staging" in table
