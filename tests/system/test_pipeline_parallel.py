"""A graph cut into stages is the same work; layers are dealt out evenly; messages pass the level where stages meet."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.cost.collectives import phases
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Collective
from dovetail.recipe.recipe import Recipe
from dovetail.system.pipeline_parallel import all_requests, pipeline_parallel, stage_layers
from dovetail.system.tensor_parallel import tensor_parallel

MODELS = [
    "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-0.6B", "mistralai/Mixtral-8x7B-v0.1", "google/gemma-3-4b-it",
    "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3", "openai-community/gpt2",
]  # fmt: skip
NODE = load_machine("dgx-h100")


@given(st.integers(1, 200), st.data())
def test_layers_are_dealt_out_evenly_and_the_last_stage_has_least(layers: int, data: st.DataObject) -> None:
    stages = stage_layers(layers, data.draw(st.integers(1, layers)))
    assert [x for stage in stages for x in stage] == list(range(layers))
    sizes = [len(stage) for stage in stages]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes)


def test_what_is_left_over_goes_to_the_stages_before_the_last() -> None:
    """As `get_pp_indices` of vLLM has it."""
    assert [len(s) for s in stage_layers(8, 3)] == [3, 3, 2]
    assert [len(s) for s in stage_layers(10, 4)] == [2, 3, 3, 2]
    assert [len(s) for s in stage_layers(3, 2)] == [2, 1]


def test_more_stages_than_layers() -> None:
    with pytest.raises(DovetailError, match="3 layers do not fill 4 stages") as error:
        stage_layers(3, 4)
    assert error.value.exit_code == INFEASIBLE


def cut(name: str, stages: int, ways: int = 1, machine: Machine = NODE, **shape: int) -> tuple[Graph, list[Graph]]:
    model = Model.load(name)
    whole = tensor_parallel(model.graph(**({"batch": 3, "tokens": 1, "context": 70} | shape)), ways)
    return whole, list(pipeline_parallel(whole, stage_layers(model.layers, stages), machine, ways))


def received(graph: Graph) -> list[Collective]:
    names = ("stage", "tokens")
    return [o for o in graph.operators if isinstance(o, Collective) and o.name.partition(".")[0] in names]


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_stages_do_what_the_whole_does(name: str, stages: int) -> None:
    """Each operator in each layer once, FLOPs and caches in all; a tied table is on the first stage and the last."""
    whole, parts = cut(name, stages)
    own = [(o.name, layer) for p in parts for o in p.operators if o not in received(p) for layer in o.layers or (-1,)]
    assert Counter(own) == Counter((o.name, layer) for o in whole.operators for layer in o.layers or (-1,))
    assert parts[0].operators[1].name == "embed"
    assert parts[-1].operators[-1].name == "lm_head"
    cached = [sum(np.sum(c.batch * c.length * c.elements_per_token) for c in g.caches) for g in (whole, *parts)]
    assert sum(cached[1:]) == pytest.approx(cached[0])
    tied = Model.load(name).architecture.tied
    twice = sum(float(w.payload_bytes) for w in whole.operators[-1].weights) if tied else 0.0
    assert sum(float(p.weight_bytes()) for p in parts) == pytest.approx(float(whole.weight_bytes()) + twice, rel=1e-12)


def test_one_stage_is_the_graph_as_it_was() -> None:
    whole, parts = cut(MODELS[0], 1)
    assert parts == [whole]
    assert parts[0] is whole


@pytest.mark.parametrize("ways", [1, 2])
def test_the_residual_stream_is_received_in_shares_and_gathered(ways: int) -> None:
    _, parts = cut(MODELS[0], 4, ways, tokens=5, context=0)
    assert received(parts[0]) == []
    for part in parts[1:]:
        (sent, *gathered) = received(part)
        assert (sent.kind, float(sent.elements) * ways, sent.repeat) == ("p2p", 3 * 5 * 4096, 1)
        assert [(g.kind, float(g.elements), g.ways) for g in gathered] == [("all_gather", 3 * 5 * 4096, 2)] * (ways - 1)
    _, parts = cut(MODELS[0], 4, ways)
    (back,) = received(parts[0])
    assert (back.kind, float(back.elements), back.act) == ("p2p", 3, "fp32")  # the sampled tokens


@pytest.mark.parametrize(("on", "ways", "stages"), [("2 x dgx-h100", 2, 8), ("2 x dgx-h100", 8, 2), ("dgx-h100", 2, 4),
                                                    ("3 x dgx-h100", 2, 3), ("4 x dgx-h100", 4, 8)])  # fmt: skip
def test_a_message_passes_the_level_where_its_stages_meet(on: str, ways: int, stages: int) -> None:
    """Chip by chip: of every replica the outermost level at which a chip and its peer differ."""
    machine = load_machine(on)
    _, parts = cut(MODELS[0], stages, ways, machine)
    for stage, part in enumerate(parts):
        (phase,) = phases("p2p", 1e6, received(part)[0].ways, machine)
        crosses = any(
            (first + stage * ways) // 8 != (first + (stage - 1) % stages * ways) // 8
            for first in range(0, machine.count, ways * stages)
        )
        assert phase.level.name == machine.levels[1 if crosses else 0].name


def test_more_stages_than_the_levels_join() -> None:
    with pytest.raises(DovetailError, match="16 stages of 1 chips are more than dgx-h100 joins") as error:
        cut(MODELS[0], 16, 1, replace(NODE, levels=NODE.levels[:1]))
    assert error.value.exit_code == INFEASIBLE


def test_the_caches_of_all_requests_stand_beside_one_micro_batch() -> None:
    _, parts = cut(MODELS[0], 2)
    full = all_requests(parts[0], 12)
    assert full.operators == parts[0].operators
    assert [float(c.batch) for c in full.caches] == [12.0]


def test_what_guesses_is_on_the_last_stage_and_the_models_own_layers_cannot() -> None:
    model, stages = Model.load(MODELS[0]), stage_layers(32, 2)
    step = model.graph(batch=2, tokens=1, context=50)
    for name in ("medusa", "eagle:length=2"):
        first, last = pipeline_parallel(Recipe.load(name).rewrite(step), stages, NODE, 1)
        extra = [o for o in last.operators if "medusa" in o.name or "eagle" in o.name]
        assert extra
        assert not any("medusa" in o.name or "eagle" in o.name for o in first.operators)
    with pytest.raises(DovetailError, match="cannot guess in a pipeline") as error:
        pipeline_parallel(Recipe.load("early-exit:layers=4,acceptance=0.6").rewrite(step), stages, NODE, 1)
    assert error.value.exit_code == INFEASIBLE
