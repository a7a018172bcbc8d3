"""Copies between chips and hosts against closed forms and a simulated pipeline."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.cost.collectives import collective_s
from dovetail.cost.evaluate import evaluate
from dovetail.cost.transfer import REACHED, START_S, handover, host_copy_s
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.model.host_transfer import HostTransfer

H100 = load_machine("h100-sxm")
MODEL = Model.load("Qwen/Qwen3-8B")


def test_a_copy_takes_its_start_and_its_bytes() -> None:
    assert host_copy_s(51.2e9, H100) == pytest.approx(START_S + 51.2e9 / (64e9 * REACHED["pinned"]))
    assert host_copy_s(1e9, H100, "pageable", copies=3) == pytest.approx(3 * START_S + 1e9 / (64e9 * 0.4))
    assert host_copy_s(0.0, H100, copies=3) == 0.0


def test_slow_links_of_gpus_lead_to_their_hosts() -> None:
    assert load_machine("l40s").host_link == load_machine("l40s").link == 32e9
    assert load_machine("gh200").host_link == 450e9
    with pytest.raises(DovetailError, match="no link from tpu-v6e to its host") as caught:
        host_copy_s(1.0, load_machine("tpu-v6e"))
    assert "host_link" in str(caught.value.hint)


def simulated(work: float, copy: float, layers: int) -> float:
    """A layer's copy starts when it is done and the copy before it has ended."""
    done = ended = 0.0
    for _ in range(layers):
        done += work / layers
        ended = max(done, ended) + copy / layers
    return ended


@given(st.floats(1e-4, 10.0), st.integers(1, 4096))
def test_a_cache_is_handed_over_as_its_layers_finish(work_s, tokens) -> None:
    graph = MODEL.graph(batch=4, tokens=tokens)
    size = 4 * tokens * MODEL.kv_bytes_per_token
    for to, copies_s in (
        ("host", host_copy_s(size, H100, copies=36)),
        ("chip", 36 * collective_s("p2p", size / 36, 2, H100)),
    ):
        found = handover(graph, H100, work_s, to=to)
        assert found.size == size
        assert found.time_s == pytest.approx(copies_s)
        assert found.whole_s == pytest.approx(simulated(work_s, found.time_s, 36))
        assert found.exposed_s >= found.time_s / 36 * (1 - 1e-9)
    assert found.energy_j == pytest.approx(2 * size * H100.j_per_byte)


@given(st.floats(0, 200e9), st.floats(0, 200e9))
def test_a_stream_runs_beside_the_step(size, more) -> None:
    graph = MODEL.graph(context=1000)
    plain = evaluate(graph, H100).time_s - H100.stack.step_s

    def step_s(bytes_: float) -> float:
        streamed = replace(graph, operators=(*graph.operators, HostTransfer("offload", (0, 1), (), bytes_)))
        return float(evaluate(streamed, H100).time_s - H100.stack.step_s)

    assert step_s(size) == pytest.approx(max(plain, host_copy_s(size, H100, copies=2)), rel=1e-9)
    assert step_s(size + more) >= step_s(size) * (1 - 1e-12)


def test_many_streams_equal_each_alone() -> None:
    sizes = np.array([0.0, 1e8, 1e10, 1e11])
    graph = MODEL.graph(context=1000)

    def cost(size):
        return evaluate(replace(graph, operators=(*graph.operators, HostTransfer("o", (), (), size))), H100)

    together = cost(sizes)
    for i, size in enumerate(sizes):
        alone = cost(float(size))
        assert together.time_s[i] == pytest.approx(float(alone.time_s), rel=1e-12)
        assert together.energy_j[i] == pytest.approx(float(alone.energy_j), rel=1e-12)
