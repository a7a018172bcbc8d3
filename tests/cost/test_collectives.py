"""Collectives against closed forms written out here, invariants, brute force, and measured tables."""

import importlib.util
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.cost import evaluate
from dovetail.cost.collectives import KINDS, candidates, collective_s, fastest, phases, span, transport_s
from dovetail.hardware import Level, Machine, Transport, load_machine
from dovetail.model.graph import Graph
from dovetail.model.operators import Collective

LINK, LAUNCH, HOP = 100e9, 5e-6, 1e-6
RING = Transport("toy", "ring", LAUNCH, HOP, 0.8)
BASE = load_machine("a100-sxm")
ZOO = [load_machine(name) for name in ("dgx-a100", "dgx-h100", "mi300x-8", "8 x l40s", "gb200-nvl72", "8 x l4")]

machines, kinds = st.sampled_from(ZOO), st.sampled_from(KINDS)
sizes, ways = st.floats(16, 1e10), st.sampled_from([2, 4, 8])


def toy(*levels: Level, fabric: tuple[Transport, ...] = (RING,), link: Any = LINK) -> Machine:
    return replace(BASE, fabric=fabric, levels=levels, link=link)


def switch(parts: int, bandwidth: float = LINK, **rest: Any) -> Level:
    return Level(f"switch of {parts}", parts, "switch", bandwidth, **rest)


# --- closed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_chip_takes_no_time(kind: str) -> None:
    assert collective_s(kind, 1e6, 1, toy()) == 0.0
    assert np.array_equal(np.asarray(collective_s(kind, np.array([1e3, 1e6]), 1, toy())), [0.0, 0.0])


@pytest.mark.parametrize("size", [2.0, 1e4, 1e9])
def test_two_chips(size: float) -> None:
    """Each sends half of the message, twice for an all-reduce; one hop each time."""
    sent = size / (0.8 * LINK)
    on = toy(switch(2))
    assert collective_s("all_reduce", size, 2, on) == pytest.approx(LAUNCH + 2 * HOP + sent)
    for kind in ("all_gather", "reduce_scatter"):
        assert collective_s(kind, size, 2, on) == pytest.approx(LAUNCH + HOP + sent / 2)
    assert collective_s("p2p", size, 2, on) == pytest.approx(LAUNCH + HOP + sent)


@pytest.mark.parametrize("count", [2, 3, 8, 16])
def test_a_ring_by_simulation(count: int) -> None:
    """Chunks passed round a ring until every chip has all sums: steps and bytes of one chip are counted."""
    have = [[{i} for _ in range(count)] for i in range(count)]  # what is summed in each chip's copy of each chunk
    steps = 0
    for step in range(2 * (count - 1)):
        passed = [(i, (i - step) % count, set(have[i][(i - step) % count])) for i in range(count)]
        for i, chunk, summed in passed:
            have[(i + 1) % count][chunk] |= summed
        steps += 1
        whole = all(len(summed) == count for chip in have for summed in chip)
        assert whole == (step == 2 * (count - 1) - 1)
    expected = LAUNCH + steps * HOP + steps * (1e6 / count) / (0.8 * LINK)
    assert collective_s("all_reduce", 1e6, count, toy(switch(count))) == pytest.approx(expected)


def test_own_part_and_filling_of_the_pipeline() -> None:
    """With fill 2 the time is (sqrt(latency) + sqrt(transfer))^2, a pipeline of chunks of the best size."""
    on = toy(switch(4), fabric=(replace(RING, own=2.0, fill=2.0),))
    latency = LAUNCH + 6 * HOP
    transfer = 1e6 * 1.5 / (0.8 * LINK) + 1e6 / 4 / (2 * LINK)
    assert collective_s("all_reduce", 1e6, 4, on) == pytest.approx((math.sqrt(latency) + math.sqrt(transfer)) ** 2)


def test_the_best_number_of_chunks_is_what_the_formula_says() -> None:
    """Brute force over chunks of a pipeline of s stages: n chunks take (s + n - 1) (hop + transfer / n)."""
    stages, hop, transfer = 400, 1e-6, 3e-3
    best = min((stages + n - 1) * (hop + transfer / (n * stages)) for n in range(1, 20_000))
    latency = stages * hop
    assert best == pytest.approx((math.sqrt(latency) + math.sqrt(transfer / stages)) ** 2, rel=0.01)


def test_shots_and_switches_that_add_up() -> None:
    on = toy(switch(4, in_network=True))
    one, two, net = (Transport("toy", name, LAUNCH, HOP, 0.5) for name in ("one_shot", "two_shot", "in_network"))
    rate = 0.5 * LINK
    assert transport_s(one, "all_reduce", 1e6, 4, on) == pytest.approx(LAUNCH + 3e6 / rate)
    assert transport_s(two, "all_reduce", 1e6, 4, on) == pytest.approx(LAUNCH + HOP + 1.5e6 / rate)
    assert transport_s(net, "all_reduce", 1e6, 4, on) == pytest.approx(LAUNCH + 1.25e6 / rate)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "p2p"])
def test_two_levels_do_the_work_inside_first(kind: str) -> None:
    """16 chips, 8 to a node: between nodes goes only the eighth that each chip holds."""
    on = toy(switch(8), switch(4, LINK / 10, latency_s=4e-6))
    inner, outer = 0.8 * LINK, 0.08 * LINK
    late = HOP + 4e-6
    expected = {
        "all_reduce": 14 * HOP + 2 * late + 1.75e6 / inner + 1e6 / 8 / outer,
        "all_gather": 7 * HOP + late + 0.875e6 / inner + 0.5e6 / 8 / outer,
        "reduce_scatter": 7 * HOP + late + 0.875e6 / inner + 0.5e6 / 8 / outer,
        "all_to_all": 6 * HOP + 2 * late + 1e6 * 7 / 16 / inner + 1e6 * 8 / 16 / outer,
        "broadcast": 7 * HOP + late + 1e6 / inner + 1e6 / 8 / outer,
    }
    assert collective_s(kind, 1e6, 16, on) == pytest.approx(LAUNCH + expected[kind])


def test_bytes_of_all_to_all_over_levels_by_counting_pairs() -> None:
    on = toy(switch(4), switch(3))
    found = [float(p.sent) for p in phases("all_to_all", 12.0, 12, on)]
    pairs = [sum(a // 4 == b // 4 for b in range(12) if b != a) for a in range(12)]
    assert set(pairs) == {3}
    assert found == pytest.approx([3.0, 8.0])  # a twelfth of the message to each of 3 in the node and 8 outside


def test_a_mesh_uses_the_links_to_its_partners() -> None:
    mesh = toy(Level("mesh", 8, "mesh", LINK, ports=7), link=7e10)
    for count in (2, 4, 8):
        sent = 2 * (count - 1) / count * 1e9
        expected = LAUNCH + 2 * (count - 1) * HOP + sent / (0.8 * 1e10 * (count - 1))
        assert collective_s("all_reduce", 1e9, count, mesh) == pytest.approx(expected)


@pytest.mark.parametrize(("side", "dimensions"), [(2, 1), (4, 1), (8, 1), (2, 2), (4, 2), (8, 2)])
def test_all_to_all_on_a_torus_by_counting_hops(side: int, dimensions: int) -> None:
    """Every chip sends its share to every other by shortest ways; all links of all chips carry the same."""
    places = list(itertools.product(range(side), repeat=dimensions))
    hops = sum(min(x, side - x) for place in places for x in place)
    count, ports = len(places), 2 * dimensions
    on = toy(Level("torus", count, "torus", LINK, ports=ports), fabric=(Transport("toy", "ring"),))
    found = float(collective_s("all_to_all", 1e9, count, on))
    used = min(count - 1, ports) / ports
    assert found == pytest.approx(hops * 1e9 / count / (LINK * used))


# --- invariants --------------------------------------------------------------------------------------------------


@given(machines, kinds, sizes, ways, st.floats(1, 100))
def test_more_bytes_are_never_faster_and_more_bandwidth_never_slower(on, kind, size, count, factor) -> None:
    base = float(collective_s(kind, size, count, on))
    assert base > 0
    assert float(collective_s(kind, size * factor, count, on)) >= base * (1 - 1e-12)
    faster = replace(on, link=on.link * factor)
    assert float(collective_s(kind, size, count, faster)) <= base * (1 + 1e-12)


@given(machines, kinds, st.lists(sizes, min_size=1, max_size=6), ways)
def test_points_together_equal_points_alone(on, kind, size, count) -> None:
    together = np.asarray(collective_s(kind, np.array(size), count, on))
    assert together == pytest.approx([float(collective_s(kind, s, count, on)) for s in size], rel=1e-12)


@given(machines, kinds, sizes, ways)
def test_never_above_the_speed_of_the_link(on, kind, size, count) -> None:
    """Of an all-reduce in the network, a chip still sends its message once."""
    least = {"all_reduce": 1.0, "p2p": 1.0, "broadcast": 1.0}.get(kind, (count - 1) / count)
    assert float(collective_s(kind, size, count, on)) >= size * least / float(on.link)


@given(kinds, sizes, ways)
def test_one_level_is_flat(kind, size, count) -> None:
    flat, single = toy(), toy(switch(8))
    wide = toy(switch(8), switch(4, LINK / 10, latency_s=1e-3))  # the level that is not reached costs nothing
    found = [float(collective_s(kind, size, count, on)) for on in (flat, single, wide)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


@given(machines, sizes, ways)
def test_the_fastest_algorithm_is_taken(on, size, count) -> None:
    times = {t.name: float(transport_s(t, "all_reduce", size, count, on)) for t in candidates(on, "all_reduce", count)}
    assert float(collective_s("all_reduce", size, count, on)) == min(times.values())
    assert times[fastest("all_reduce", size, count, on).name] == min(times.values())


def test_a_link_of_many_design_points() -> None:
    links = np.array([1e11, 2e11, 4e11])
    found = np.asarray(collective_s("all_reduce", 1e8, 8, replace(load_machine("8 x a100-sxm"), link=links)))
    alone = [float(collective_s("all_reduce", 1e8, 8, replace(load_machine("8 x a100-sxm"), link=x))) for x in links]
    assert found == pytest.approx(alone, rel=1e-12)


# --- what is chosen, what is refused -----------------------------------------------------------------------------


def test_kernels_of_an_engine_need_the_engine_and_direct_links() -> None:
    dgx = load_machine("dgx-h100")
    assert {t.library for t in candidates(dgx, "all_reduce", 8)} == {"nccl", "vllm"}
    eager = replace(dgx, stack=replace(dgx.stack, name="transformers"))
    assert {t.library for t in candidates(eager, "all_reduce", 8)} == {"nccl"}
    assert {t.algorithm for t in candidates(load_machine("l40s-8"), "all_reduce", 8)} == {"ring"}
    assert {t.algorithm for t in candidates(load_machine("2 x dgx-h100"), "all_reduce", 16)} == {"ring"}
    assert {t.algorithm for t in candidates(dgx, "all_gather", 8)} == {"ring"}
    rack = load_machine("gb200-nvl72")
    assert {t.name for t in candidates(rack, "all_reduce", 24)} == {"nccl ring", "nccl in-network"}
    assert {t.library for t in candidates(rack, "all_reduce", 8)} == {"nccl", "vllm"}


def test_small_messages_go_by_one_shot_and_large_ones_by_the_library() -> None:
    on = load_machine("dgx-a100")
    order = [fastest("all_reduce", size, 8, on).name for size in (1e3, 1e6, 1e9)]
    assert order == ["vllm one-shot", "vllm two-shot", "nccl ring"]


def test_groups_fill_nodes_evenly() -> None:
    on = load_machine("4 x dgx-h100")
    assert [parts for _, parts in span(on, 16)] == [8, 2]
    assert [parts for _, parts in span(on, 12)] == [6, 2]
    with pytest.raises(DovetailError, match="16 chips do not form equal groups on 16 x l40s") as error:
        collective_s("all_reduce", 1e6, 16, load_machine("16 x l40s"))
    assert error.value.exit_code == INFEASIBLE


def test_no_link_and_no_such_collective() -> None:
    with pytest.raises(DovetailError, match="no link"):
        collective_s("all_reduce", 1e6, 2, toy(link=0.0))
    with pytest.raises(DovetailError, match="all_reduc") as error:
        collective_s("all_reduc", 1e6, 2, toy())
    assert "all_reduce" in str(error.value.hint)


def test_constants_without_a_ring_are_refused() -> None:
    on = toy(fabric=(Transport("toy", "one_shot", LAUNCH),))
    with pytest.raises(DovetailError, match="no library on a100-sxm does all_gather") as error:
        collective_s("all_gather", 1e6, 2, on)
    assert "ring" in str(error.value.hint)


def test_in_a_graph_the_launch_counts_once() -> None:
    on = load_machine("dgx-h100")
    graph = Graph((Collective("sum", (0, 1), elements=1e6, ways=8),), (), 1, 1, 0, 8)
    found = evaluate(graph, on)
    assert found.time_s - on.stack.step_s == pytest.approx(2 * float(collective_s("all_reduce", 2e6, 8, on)))


# --- measured ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(root: Path) -> Iterator[ModuleType]:
    """bench/collectives.py, which reads the tables and draws the shapes of the fit."""
    pytest.importorskip("pyarrow", reason="the measured tables are parquet files")
    sys.path.insert(0, str(root / "bench"))
    spec = importlib.util.spec_from_file_location("collectives_bench", root / "bench" / "collectives.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(root / "bench"))


GATES = {  # per cent, held-out rows: what docs/benchmarks.md says and one point
    ("a100-sxm", "nccl", "all_reduce"): 9.0, ("a100-sxm", "vllm", "all_reduce"): 10.4,
    ("h100-sxm", "nccl", "all_reduce"): 10.4, ("h100-sxm", "vllm", "all_reduce"): 8.7,
    ("a100-sxm", "nccl", "all_gather"): 9.8, ("h100-sxm", "nccl", "all_gather"): 12.0,
    ("a100-sxm", "nccl", "reduce_scatter"): 11.6, ("h100-sxm", "nccl", "reduce_scatter"): 12.7,
    ("a100-sxm", "nccl", "all_to_all"): 11.3, ("h100-sxm", "nccl", "all_to_all"): 20.2,
}  # fmt: skip


def test_held_out_tables(bench: ModuleType, data_folder: Path) -> None:
    tables = [rows for chip in bench.CHIPS for rows in bench.read(data_folder, chip)]
    chosen = bench.drawn(tables, 5.0)
    for (chip, library, kind), gate in GATES.items():
        rows = next(r for r in tables if (r.chip, r.library) == (chip, library))
        part = rows.pick(np.array([s[0] == kind and (library, s) not in chosen for s in rows.shapes]))
        assert len(part.shapes) >= 60
        on = bench.node(chip, library)
        found = part.predict(lambda k, b, w, on=on: np.asarray(collective_s(k, b, w, on)))
        assert 100 * bench.score(found, part.time_s)[0] <= gate, (chip, library, kind)


def test_the_fit_has_seen_a_twentieth_of_the_shapes(bench: ModuleType, data_folder: Path) -> None:
    tables = [rows for chip in bench.CHIPS for rows in bench.read(data_folder, chip)]
    shapes = {(r.library, s) for r in tables for s in r.shapes}
    chosen = bench.drawn(tables, 5.0)
    assert chosen < shapes
    assert len(chosen) / len(shapes) == pytest.approx(0.05, abs=0.005)
