"""A design in a pipeline against the same worked out by hand, stage by stage; its memory; plans that cannot be."""

import shlex
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.cost import evaluate, memory
from dovetail.design import Estimate, Plan, estimate
from dovetail.design.explain import explain
from dovetail.design.feasibility import largest_batch
from dovetail.design.graphs import step_graph
from dovetail.design.headroom import headroom
from dovetail.design.operators import operators
from dovetail.design.points import flat, table
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Images, Workload

D, HEADS, KV, HEAD, F, VOCAB = 64, 4, 2, 16, 128, 256
LAYER = D * (HEADS + 2 * KV) * HEAD + D * D + 3 * D * F + 2 * D  # weights of one
IDLE, LINK = 20.0, 10e9


def stage(layers: int, first: bool, last: bool, batch: int, tokens: int, context: float) -> tuple[float, float]:
    """Seconds and joules of a stage of the toy Llama for one micro-batch on a chip, receiving included."""
    seconds, joules = 50e-6, 50e-6 * IDLE
    for repeat, flops, size in work(layers, first, last, batch, tokens, context):
        one = max(flops / 0.5e12, size / 80e9) + 3e-6
        seconds += repeat * one
        joules += repeat * min(IDLE * one + flops * 1e-12 + size * 1e-10, 100 * one)
    message = batch * 4.0 if first else batch * tokens * D * 2.0
    if not first or context:
        seconds += message / LINK + 3e-6
        joules += IDLE * (message / LINK + 3e-6)
    return seconds, joules


def work(
    layers: int, first: bool, last: bool, batch: int, tokens: int, context: float
) -> Iterator[tuple[int, float, float]]:
    """(repetitions, FLOPs, bytes) of a bf16 step's operators, from the definition of a Llama."""
    rows, kv_len, q, kv = batch * tokens, context + tokens, HEADS * HEAD, KV * HEAD
    seen = sum(context + i + 1 for i in range(tokens))

    def product(m: float, n: int, k: int) -> tuple[float, float]:
        return 2 * m * n * k, 2 * n * k + 2 * m * (n + k)

    yield int(first), 0, 4 * rows * D
    yield 2 * layers + int(last), 4 * rows * D, 4 * rows * D
    yield layers, *product(rows, q + 2 * kv, D)
    yield layers, 3 * rows * (q + kv), 4 * rows * (q + kv)
    yield layers, 4 * batch * HEADS * HEAD * seen, 2 * (2 * batch * kv_len * kv + 2 * rows * q)
    yield layers, *product(rows, D, q)
    yield 2 * layers, rows * D, 6 * rows * D
    yield layers, *product(rows, 2 * F, D)
    yield layers, 5 * rows * F, 6 * rows * F
    yield layers, *product(rows, D, F)
    yield int(last), *product(batch, VOCAB, D)


SHAPES = {2: [(2, True, False), (1, False, True)], 3: [(1, True, False), (1, False, False), (1, False, True)]}


@pytest.mark.parametrize("pp", [2, 3])
@pytest.mark.parametrize(("batch", "prompt", "output"), [(1, 64, 9), (2, 100, 2), (6, 64, 33), (12, 300, 200)])
def test_an_estimate_is_what_a_hand_works_out(
    toy: Machine, llama: Model, pp: int, batch: int, prompt: int, output: int
) -> None:
    """GPipe's fill, Megatron-LM's bubble: micro-batches of whole prompts, as many as there are stages or requests."""
    machine, asked = replace(toy, count=pp, fabric=()), Workload(prompt=prompt, output=output, batch=batch)
    found = estimate(llama, machine, asked, plan=Plan(1, pp))
    count = min(pp, batch)
    each = batch // count
    first = [stage(*shape, each, prompt, 0) for shape in SHAPES[pp]]
    later = [stage(*shape, each, 1, prompt + max(output - 2, 0) / 2) for shape in SHAPES[pp]]
    ttft = sum(t for t, _ in first) + (count - 1) * max(t for t, _ in first)
    tpot = max(sum(t for t, _ in later), count * max(t for t, _ in later))
    e2e, tokens = ttft + (output - 1) * tpot, batch * output

    def joules(stages: list[tuple[float, float]], time: float) -> float:
        return sum(count * j + IDLE * (time - count * t) for t, j in stages)

    spent = joules(first, ttft) + (output - 1) * joules(later, tpot)
    expected = {
        "ttft": ttft, "tpot": tpot, "e2e": e2e, "throughput": tokens / e2e, "energy_per_token": spent / tokens,
        "usd_per_mtok": pp * e2e * 1e-3 / tokens * 1e6, "power": spent / e2e,
    }  # fmt: skip
    assert {name: flat(found.metrics)[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_memory_is_that_of_the_fullest_stage(toy: Machine, llama: Model) -> None:
    """Two layers, and the table of the vocabulary, against one layer, the head and the logits of a micro-batch."""
    held = estimate(
        llama, replace(toy, count=2), Workload(prompt=100, output=50, batch=4), plan=Plan(1, 2)
    ).metrics.memory
    assert held.weights == 2 * (VOCAB * D + 2 * LAYER)
    assert held.kv_cache == 2 * 4 * 149 * 2 * KV * HEAD * 2  # of all four requests
    assert held.activations == 2 * 200 * (3 * D + max(D + 2 * F, 3 * F))  # of two
    assert held.workspace == 0
    assert held.communication > 0
    wide = estimate(llama, replace(toy, count=3), Workload(prompt=1, output=1, batch=3), plan=Plan(1, 3)).metrics.memory
    assert wide.weights == 2 * (VOCAB * D + LAYER + D)  # the last stage: one more norm than the first, and logits
    assert wide.workspace == 1 * VOCAB * 4


@pytest.mark.parametrize("on", ["4 x h100-sxm", "2 x l4"])
def test_one_stage_is_what_there_was_bit_for_bit(on: str) -> None:
    """Composed here of graphs, costs and memory, as for a layer split over chips alone."""
    model, machine, recipe = Model.load("Qwen/Qwen3-8B"), load_machine(on), Recipe.load("w8a16")
    work, tp = Workload(prompt=np.array([100, 3000]), output=50, batch=np.array([3, 64])), machine.count
    found = estimate(model, machine, work, recipe, Plan(tp, 1))
    first, later, last = (
        step_graph(model, machine, recipe, Plan(tp), work.batch, tokens, context)
        for tokens, context in ((work.prompt, 0), (1, work.mean_context), (1, work.cached_tokens - 1))
    )
    prefill, decode = (evaluate(graph, machine, detail=False) for graph in (first, later))
    assert np.array_equal(found.metrics.ttft_s, prefill.time_s)
    assert np.array_equal(found.metrics.tpot_s, decode.time_s)
    joules = (prefill.energy_j + decode.energy_j * 49) * tp
    assert np.array_equal(found.metrics.energy_per_token_j, joules / (work.batch * 50))
    assert np.array_equal(found.metrics.memory.total, memory(first, last, machine).total)


requests = st.tuples(st.integers(1, 900), st.integers(1, 900), st.integers(1, 64))


@given(st.lists(requests, min_size=1, max_size=5), st.sampled_from([(1, 2), (1, 3), (2, 2), (2, 3)]), st.booleans())
def test_arrays_are_points_together(toy: Machine, llama: Model, points, plan: tuple[int, int], twice: bool) -> None:
    tp, pp = plan
    machine = replace(toy, count=tp * pp * (1 + twice), stack=replace(toy.stack, chunk=512))
    prompt, output, batch = (np.array(column) for column in zip(*points))
    columns = table(llama, machine, Recipe.load("none"), Plan(tp, pp), Workload(prompt, output, batch))
    for i, (p, o, b) in enumerate(points):
        alone = estimate(llama, machine, Workload(prompt=p, output=o, batch=b), plan=Plan(tp, pp))
        for name, value in flat(alone.metrics).items():
            assert columns[name][i] == pytest.approx(value, rel=1e-12)


def test_a_chunk_says_how_many_prompts_a_micro_batch_of_the_prefill_has(toy: Machine, llama: Model) -> None:
    chunked = replace(toy, count=2, fabric=(), stack=replace(toy.stack, chunk=100))
    found = estimate(llama, chunked, Workload(prompt=40, output=2, batch=12), plan=Plan(1, 2))
    assert (found.steps.prefill_graph.batch, found.steps.decode_graph.batch) == (2, 6)
    times = [stage(*shape, 2, 40, 0)[0] for shape in SHAPES[2]]
    assert found.metrics.ttft_s == pytest.approx(sum(times) + 5 * max(times), rel=1e-9)
    long = estimate(llama, chunked, Workload(prompt=300, output=2, batch=12), plan=Plan(1, 2))
    assert long.steps.prefill_graph.batch == 1  # no prompt is cut


MODEL = "meta-llama/Llama-3.1-70B"


def asked(tp: int, pp: int, **shape: int) -> Estimate:
    return estimate(MODEL, "4 x h100-sxm", Workload(**shape), "fp8", Plan(tp, pp))


def test_a_chip_reads_its_weights_once_a_micro_batch() -> None:
    """Alone, a request waits for all weights, whatever the stages; those beside it cost little up to their number."""
    one, more = (asked(1, 4, prompt=512, output=64, batch=batch) for batch in (1, 4))
    assert one.metrics.tpot_s < more.metrics.tpot_s < 1.1 * one.metrics.tpot_s  # the last stage, with the head, is slow
    assert more.metrics.throughput > 3.5 * one.metrics.throughput
    assert float(more.steps.decode.bytes) == pytest.approx(4 * float(one.steps.decode.bytes))
    assert asked(4, 1, prompt=512, output=64).metrics.tpot_s < 0.5 * one.metrics.tpot_s


def test_full_pipelines_save_the_all_reduces() -> None:
    """Where products are bound by arithmetic, chips in a row prefill more a second than chips side by side."""
    row, wide = (asked(tp, pp, prompt=4000, output=1, batch=32).metrics.ttft_s for tp, pp in ((1, 4), (4, 1)))
    assert row < wide


def test_rows_of_operators_add_up_and_explain_holds_its_stages() -> None:
    for batch in (1, 2, 13):
        found = asked(2, 2, prompt=700, output=32, batch=batch)
        rows = operators(found)
        for phase, whole in (("prefill", found.metrics.ttft_s), ("decode", found.metrics.tpot_s)):
            assert sum(r.time.value for r in rows if r.phase == phase) == pytest.approx(float(whole))
        assert any(r.name == "stage.p2p" and r.bound in ("link", "launch") for r in rows)
        for metric in ("ttft", "tpot", "throughput", "energy_per_token", "usd_per_mtok", "memory"):
            tree = explain(found, metric)
            assert tree.value > 0
        step = dict(explain(found, "tpot").parts)["round of the pipeline at the mean context"]
        assert sum(part.value for _, part in step.parts) == pytest.approx(step.value)
        parts = dict(explain(found, "memory").parts)
        assert sum(q.value for q in parts.values()) == pytest.approx(float(found.metrics.memory.total))
        assert sum(q.value for _, q in parts["weights"].parts) == pytest.approx(float(found.metrics.memory.weights))


def test_the_answer_says_the_plan() -> None:
    found = asked(2, 2, prompt=512, output=64, batch=8).to_json()
    assert (found["tp"], found["pp"], found["chips"]) == (2, 2, 4)
    assert Plan(pp=2).ways(load_machine("4 x h100-sxm"), Model.load(MODEL)) == 2
    assert Plan(pp=2).replicas(load_machine("2 x dgx-h100"), Model.load(MODEL)) == 1
    assert Plan(2, 2).replicas(load_machine("2 x dgx-h100"), Model.load(MODEL)) == 4


@pytest.mark.parametrize("pp", [0, -1, 1.5, "2", True, None])
def test_a_plan_is_a_number_of_stages(pp: object) -> None:
    with pytest.raises(DovetailError, match=r"pp: .* is not a number of stages"):
        Plan(1, pp)  # type: ignore[arg-type]


def test_plans_that_cannot_be(toy: Machine, llama: Model) -> None:
    with pytest.raises(DovetailError, match="pp=3 does not divide 4 chips"):
        asked(1, 3, batch=1)
    with pytest.raises(DovetailError, match="tp=3 x pp=2 does not divide 4 chips"):
        asked(3, 2, batch=1)
    with pytest.raises(DovetailError, match="3 layers do not fill 4 stages") as layers:
        estimate(llama, replace(toy, count=4), plan=Plan(1, 4))
    with pytest.raises(DovetailError, match="has no link to other chips") as alone:
        estimate(llama, replace(toy, count=2, link=0.0), plan=Plan(1, 2))
    assert layers.value.exit_code == alone.value.exit_code == INFEASIBLE


def test_what_does_not_fit_is_told_of_the_fullest_stage_and_more_chips_keep_the_stages() -> None:
    found = estimate("meta-llama/Llama-3.1-405B", "8 x h100-sxm", Workload(prompt=1024, output=128), plan=Plan(pp=2))
    assert not found.feasible
    assert "each chip of the fullest of 2 stages of h100-sxm" in found.why[0]
    (change,) = (c for c in headroom(found).changes if "--on" in c)
    assert change == "--on '16 x h100-sxm' --pp 2 fits"
    assert estimate(found.model, "16 x h100-sxm", found.workload, plan=Plan(pp=2)).feasible
    tight = asked(1, 4, prompt=1024, output=128, batch=100_000)
    most = largest_batch(tight.model, tight.machine, tight.recipe, tight.plan, tight.workload)
    assert asked(1, 4, prompt=1024, output=128, batch=most).feasible
    assert not asked(1, 4, prompt=1024, output=128, batch=most + 1).feasible


def test_images_pass_the_first_stage_before_their_prompt() -> None:
    name, shape = "Qwen/Qwen2.5-VL-7B-Instruct", {"prompt": 200, "output": 20, "batch": 4}
    seen, plain = Workload(**shape, images=Images(1, 448, 448)), Workload(**shape)
    found, without = (estimate(name, "2 x h200-sxm", work, plan=Plan(1, 2)) for work in (seen, plain))
    alone = estimate(name, "2 x h200-sxm", replace(seen, batch=1), plan=Plan(1, 2))
    assert alone.steps.images is not None
    tower = evaluate(alone.steps.image_graph, found.machine)
    assert alone.steps.images.time_s == pytest.approx(tower.time_s)
    assert found.metrics.ttft_s == pytest.approx(found.steps.prefill.time_s + found.steps.images.time_s)
    assert found.metrics.ttft_s > without.metrics.ttft_s + tower.time_s
    assert sum(r.time.value for r in operators(found) if r.phase != "decode") == pytest.approx(found.metrics.ttft_s)


def test_guesses_and_offload_go_with_stages() -> None:
    work = Workload(prompt=512, output=64, batch=8)
    plain, guess = (estimate("Qwen/Qwen3-8B", "2 x h100-sxm", work, r, Plan(1, 2)) for r in ("none", "medusa"))
    assert guess.metrics.tpot_s < plain.metrics.tpot_s
    assert guess.steps.decode_graph.tokens_per_step > 1
    lacking, moved = (
        estimate("meta-llama/Llama-3.1-405B", "8 x h100-sxm", replace(work, batch=1), plan=Plan(4, 2, offload))
        for offload in ("", "weights")
    )
    assert (lacking.feasible, moved.feasible) == (False, True)
    held = moved.metrics.memory
    assert held.host > 0
    assert held.weights + held.host == pytest.approx(float(lacking.metrics.memory.weights))
    assert moved.metrics.tpot_s > lacking.metrics.tpot_s


def test_the_serving_command_has_the_stages(embedded_stages: list[str]) -> None:
    flags = dict(zip(embedded_stages[3::2], embedded_stages[4::2], strict=False))
    assert (flags["--tensor-parallel-size"], flags["--pipeline-parallel-size"]) == ("2", "2")


@pytest.fixture(scope="module")
def embedded_stages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from dovetail.design.build import build

    out = tmp_path_factory.mktemp("built") / "out"
    made = build("embedded", "4 x h100-sxm", Workload(prompt=64, output=8), "none", out, plan=Plan(2, 2))
    return shlex.split(made["serve"])
