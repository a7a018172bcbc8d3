"""What an estimate says of quality: the forecast of the scheme that the recipe's graph shows, or why there is none."""

from dataclasses import dataclass, replace

import pytest

from dovetail.core.formats import MXFP4, packed_int
from dovetail.design import estimate
from dovetail.design.quality_forecast import quality_forecast, table_of
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.published.forecast import Scheme, forecast
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.targets import map_targets

QWEN = "Qwen/Qwen3-8B"


@pytest.fixture(scope="module")
def qwen() -> Model:
    return Model.load(QWEN)


@dataclass(frozen=True)
class Mixed:
    """Eight bits in one kind of layer, four in the others; nobody registered it, so no table knows its name."""

    def rewrite(self, graph: Graph) -> Graph:
        def stored(weight):  # type: ignore[no-untyped-def]
            return replace(weight, format=packed_int(8 if "down_proj" in weight.name else 4, 128))

        return map_targets(graph, stored)

    @classmethod
    def examples(cls, columns):  # type: ignore[no-untyped-def]
        return (cls(),)


@pytest.mark.parametrize(
    ("recipe", "scheme"),
    [
        ("w4a16-rtn", Scheme(4, group=128)),
        ("w4a16-rtn:group=0", Scheme(4)),
        ("w8a16", Scheme(8, group=128)),
    ],
)
def test_the_scheme_is_read_from_the_graph(qwen: Model, recipe: str, scheme: Scheme) -> None:
    found = quality_forecast(qwen, Recipe.load(recipe))
    assert found.ratio == forecast("rtn", scheme, float(qwen.parameters), name=QWEN)
    assert not found.why


def test_parts_of_other_bits_count_with_their_share(qwen: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "to_json", lambda self: {"methods": [{"rtn": {}}]})
    found = quality_forecast(qwen, Recipe("mixed", (Mixed(),))).ratio
    four, eight = (quality_forecast(qwen, Recipe.load(name)).ratio for name in ("w4a16-rtn", "w8a16"))
    hidden, inner, head, heads, kv_heads = 4096, 12288, 128, 32, 8  # of its config.json
    share = hidden * inner / (3 * hidden * inner + 2 * hidden * head * (heads + kv_heads))
    assert found
    assert four
    assert eight
    assert found.value - 1 == pytest.approx(share * (eight.value - 1) + (1 - share) * (four.value - 1))


def test_nothing_is_said_without_a_recipe(qwen: Model) -> None:
    found = quality_forecast(qwen, Recipe.load("none"))
    assert (found.ratio, found.why) == (None, "")


def test_what_no_table_holds_says_why(qwen: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pruned" in quality_forecast(qwen, Recipe.load("prune50")).why
    assert "dovetail compress" in quality_forecast(Model.load("embedded"), Recipe.load("w8a16")).why
    monkeypatch.setattr(Mixed, "rewrite", lambda self, graph: map_targets(graph, lambda w: replace(w, format=MXFP4)))
    assert "mxfp4" in quality_forecast(qwen, Recipe("floats", (Mixed(),))).why
    monkeypatch.setattr(
        Mixed, "rewrite", lambda self, graph: map_targets(graph, lambda w: replace(w, format=packed_int(4)))
    )
    assert "Mixed" in quality_forecast(qwen, Recipe("unheard of", (Mixed(),))).why


@pytest.mark.parametrize(
    ("methods", "table"),
    [
        ({"rtn": {}}, "rtn"), ({"gptq": {"act_order": False}}, "gptq"), ({"gptq": {"act_order": True}}, "gptq-r"),
        ({"smoothquant": {}, "rtn": {}}, "smoothquant"), ({"rotation": {}, "gptq": {"act_order": True}}, "quarot"),
        ({"hadamard": {}, "rtn": {}}, "quarot-rtn"), ({"awq": {}}, "awq"), ({"x": {}, "a": {}}, "a+x"),
    ],
)  # fmt: skip
def test_recipes_have_the_name_of_their_table(methods: dict, table: str) -> None:  # type: ignore[type-arg]
    assert table_of(methods) == table


def test_estimates_carry_it_in_json() -> None:
    found = estimate(QWEN, "h100-sxm", recipe="w4a16-rtn").to_json()["perplexity_ratio"]
    assert found["kind"] == "literature"
    assert 1 < found["low"] < found["value"] < found["high"]
    assert estimate(QWEN, "h100-sxm").to_json()["perplexity_ratio"] is None
