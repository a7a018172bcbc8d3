"""How the default plan lays layers on chips: within a node, over chips that the heads divide over."""

import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.design import Plan, estimate
from dovetail.design.explain import explain
from dovetail.design.headroom import headroom
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.workload import Workload


@pytest.mark.parametrize(
    ("on", "model", "ways"),
    [
        ("h100-sxm", "Qwen/Qwen3-8B", 1), ("8 x h100-sxm", "Qwen/Qwen3-8B", 8), ("2 x dgx-h100", "Qwen/Qwen3-8B", 8),
        ("16 x h100-sxm", "meta-llama/Llama-3.1-8B", 8), ("dgx-h100", "Qwen/Qwen2.5-7B", 4),  # 28 heads, 4 KV heads
        ("dgx-h100", "openai-community/gpt2", 4), ("6 x l4", "openai-community/gpt2", 6),  # 12 heads
        ("4 x rtx-5090", "Qwen/Qwen3-8B", 4), ("2 x raspberry-pi-5", "Qwen/Qwen3-8B", 1),  # no link: side by side
        ("gb200-nvl72", "meta-llama/Llama-3.1-8B", 8), ("3 x h100-sxm", "Qwen/Qwen3-8B", 1),
    ],
)  # fmt: skip
def test_default(on: str, model: str, ways: int) -> None:
    machine = load_machine(on)
    assert Plan().ways(machine, Model.load(model)) == ways
    assert Plan().replicas(machine, Model.load(model)) == machine.count // ways


def test_what_is_asked_is_done_or_refused() -> None:
    pods, model = load_machine("2 x dgx-h100"), Model.load("meta-llama/Llama-3.1-8B")
    assert Plan(tp=16).ways(pods, model) == 16
    with pytest.raises(DovetailError, match="tp=3 does not divide 16 chips"):
        Plan(tp=3).ways(pods, model)
    with pytest.raises(DovetailError, match="do not divide over 16 chips") as error:
        estimate("Qwen/Qwen2.5-7B", pods, plan=Plan(tp=16))
    assert error.value.exit_code == INFEASIBLE


@pytest.mark.parametrize("tp", [-1, 1.5, 2.0, "2", True, None])
def test_a_plan_is_a_number_of_chips(tp: object) -> None:
    with pytest.raises(DovetailError, match=r"tp: .* is not a number of chips"):
        Plan(tp)  # type: ignore[arg-type]


def test_a_layer_over_two_nodes_pays_the_network() -> None:
    model, work = "meta-llama/Llama-3.1-8B", Workload(prompt=512, output=64, batch=16)
    inside, across = (estimate(model, "2 x dgx-h100", work, plan=Plan(tp=tp)) for tp in (8, 16))

    def link(found) -> float:
        return sum(float(o.link_s) for o in found.steps.decode.operators)

    assert link(across) > 2 * link(inside) > 0
    assert across.trust.kind("tpot") == "literature"  # the latency of the network is read, not measured
    assert inside.trust.kind("tpot") == "calibrated"


def test_links_nobody_measured_make_a_time_modelled_and_its_range_wide() -> None:
    alone, two = estimate("Qwen/Qwen3-8B", "h200-sxm"), estimate("Qwen/Qwen3-8B", "2 x h200-sxm")
    assert (alone.trust.kind("tpot"), two.trust.kind("tpot")) == ("calibrated", "modelled")
    assert alone.trust.factor("tpot") < 1.5 <= two.trust.factor("tpot")


def test_explain_names_the_algorithm_and_its_source() -> None:
    tree = explain(estimate("meta-llama/Llama-3.1-8B", "dgx-h100"), "tpot")
    step = dict(tree.parts)["decode step at the mean context"]
    link = dict(dict(step.parts)["o.all_reduce"].parts)["link"]
    assert "all_reduce among 8 by vllm one-shot" in link.formula
    parts = dict(link.parts)
    assert "aiconfigurator" in parts["vllm one-shot: launch"].source
    assert parts["NVLink 4: bandwidth"].value == 450e9
    assert parts["message"].value == 2 * 4096  # one token of bf16


def test_more_chips_than_a_node_are_offered_with_the_plan_that_uses_them() -> None:
    found = estimate("meta-llama/Llama-3.1-405B", "8 x h100-sxm")
    assert not found.feasible
    assert any("'16 x h100-sxm' --tp 16 fits" in change for change in headroom(found).changes)
    found = estimate("meta-llama/Llama-3.1-405B", "dgx-h100")
    assert any("'2 x dgx-h100' --tp 16 fits" in change for change in headroom(found).changes)
