"""A training step against what torch counts in a forward and a backward pass of the same module."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear
from tests.model.oracle import contraction_flops


def test_forward_and_backward_flops_are_those_torch_counts(tiny: Model, tiny_config: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    mixture = {"experts_implementation": "eager"} if "num_experts_per_tok" in tiny_config else {}
    config = transformers.AutoConfig.for_model(**tiny_config)
    with FlopCounterMode(display=False) as counter:
        module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", **mixture)
        module(input_ids=torch.randint(3, 48, (2, 7)), use_cache=False).logits.sum().backward()
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    angles = sum(flops for name, flops in counts.items() if name.endswith("rotary_emb"))
    graph = tiny.training_graph(2, 7)
    assert contraction_flops(windowless(graph)) == counts["Global"] - angles
    assert graph.caches == ()
    assert graph.parameters() == tiny.parameters


def windowless(graph: Graph) -> Graph:
    """Without a cache to trim, eager attention makes the whole rectangle of scores."""
    return graph.map_operators(lambda o: replace(o, window=None) if isinstance(o, Attention) else o)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "mistralai/Mixtral-8x7B-v0.1"])
def test_a_step_executes_three_times_the_forward(name: str) -> None:
    model = Model.load(name)
    tokens = np.array([128, 4096])
    forward = model.graph(4, tokens, 0, logit_tokens=tokens)
    step = model.training_graph(4, tokens)

    def executed(graph: Graph) -> Any:
        return sum(o.executed_flops * o.repeat for o in graph.operators if isinstance(o, Linear | Attention))

    assert executed(step) == pytest.approx(3 * executed(forward))
    # 6 FLOPs a parameter and token (Kaplan et al., arXiv 2001.08361) but for attention, embedding and norms
    linear = sum(o.executed_flops * o.repeat for o in step.operators if isinstance(o, Linear))
    met = model.active_parameters - model.architecture.vocab * model.architecture.hidden
    assert linear == pytest.approx(6.0 * met * 4 * tokens, rel=1e-3)


def test_operator_names_are_unique() -> None:
    names = [o.name for o in Model.load("Qwen/Qwen3-0.6B").training_graph(1, 8).operators]
    assert len(names) == len(set(names))
