"""Recipes: from names, files and lists; round trips; orders that cannot be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.recipe import Recipe
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.awq import AWQ
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.magnitude import Magnitude
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.methods.smoothquant import SmoothQuant
from dovetail.runtime.checkpoint import record

LISTED = {
    "none": (),
    "w8a16": (RTN(8, 128),),
    "w4a16": (GPTQ(4, 128),),
    "w4a16-gptq": (GPTQ(4, 128),),
    "w4a16-awq": (AWQ(4, 128),),
    "w4a16-rtn": (RTN(4, 128),),
    "w3a16-rtn": (RTN(3, 128),),
    "w2a16-rtn": (RTN(2, 128),),
    "w8a8": (SmoothQuant(0.5), RTN(8, 0, act_bits=8)),
    "prune50": (Magnitude(0.5, "row"),),
}


def test_built_in_recipes_are_what_their_names_say() -> None:
    assert set(LISTED) <= set(Recipe.names())
    for name, methods in LISTED.items():
        assert Recipe.load(name).methods == methods


def test_every_built_in_recipe_survives_json() -> None:
    for name in Recipe.names():
        recipe = Recipe.load(name)
        assert Recipe.load(recipe.to_json()) == recipe
        assert Recipe.load(recipe) is recipe


@given(bits=st.integers(2, 8), group=st.integers(0, 512), fraction=st.floats(0.01, 0.99))
def test_any_recipe_survives_json(bits: int, group: int, fraction: float) -> None:
    recipe = Recipe.load([Magnitude(fraction), {"rtn": {"bits": bits, "group": group}}])
    assert recipe.name == "magnitude+rtn"
    assert Recipe.load(recipe.to_json()) == recipe


def test_parameters_in_the_name() -> None:
    assert Recipe.load("w4a16-rtn:group=64").methods == (RTN(4, 64),)
    assert Recipe.load("prune50: fraction=0.25, per=tensor").methods == (Magnitude(0.25, "tensor"),)
    assert Recipe.load("w4a16-rtn:symmetric=false,bits=3").methods == (RTN(3, symmetric=False),)
    assert Recipe.load("w4a16-gptq:order=False,search=true").methods == (GPTQ(order=False),)
    assert Recipe.load("w4a16-rtn:group=64").name == "w4a16-rtn:group=64"


def test_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("methods:\n  - magnitude: {fraction: 0.5}\n  - rtn: {bits: 4, group: 64}\n")
    assert Recipe.load(file) == Recipe("mine", (Magnitude(0.5), RTN(4, 64)))
    file.write_text("name: other\nmethods: [rtn]\n")
    assert Recipe.load(str(file)) == Recipe("other", (RTN(),))
    file.write_text("- rtn: {bits: 3}\n")
    assert Recipe.load(str(file)) == Recipe("mine", (RTN(3),))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("w4a16-rnt", "did you mean 'w4a16-rtn'"),
        ("w4a16-rtn:grup=4", "did you mean 'group'"),
        ("w4a16-rtn:group", "not key=value"),
        ("w4a16-rtn:group=true", "True is not a whole number"),
        ("w4a16-rtn:symmetric=0", "0 is not true or false"),
        ("w4a16-rtn:group=x", "'x' is not a whole number"),
        ("none:group=4", "this recipe has none"),
        ([{"rnt": {}}], "did you mean 'rtn'"),
        ([{"rtn": {"bit": 4}}], r"recipe: 0.rtn: unknown parameter 'bit'.*'bits'"),
        ([{"rtn": {"bits": True}}], "0.rtn.bits: True is not a whole number"),
        ([{"rtn": {"bits": 4.5}}], "4.5 is not a whole number"),
        ([{"magnitude": {"fraction": "half"}}], "not a number"),
        ([{"rtn": {}, "magnitude": {}}], "is not one method"),
        ([3], "is not one method"),
        ({"name": "x", "method": []}, "did you mean 'methods'"),
        ({"name": "x"}, "is not a list of methods"),
        (["rtn", "rtn"], "rtn needs dense weights, rtn leaves them packed"),
        (["rtn", "magnitude"], "impossible order.*prune first"),
        ("/no/such/file.yaml", "cannot be read"),
        ("nono", "did you mean 'none'\\?; or a YAML file"),
        ([{"rtn": {"bits": 9}}], "recipe: 0.rtn.bits: 9 bits cannot be packed"),
        (["magnitude", {"magnitude": {"fraction": 2}}], "recipe: 1.magnitude.fraction: cannot prune 2"),
    ],
)
def test_what_cannot_be_is_one_sentence(source: object, words: str) -> None:
    with pytest.raises(DovetailError, match=words) as caught:
        Recipe.load(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_broken_yaml_file_is_one_sentence(tmp_path: Path) -> None:
    for text in ("methods: [rtn", "just words", "methods: {rtn: 4}"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(DovetailError, match=r"bad\.yaml") as caught:
            Recipe.load(tmp_path / "bad.yaml")
        assert "\n" not in str(caught.value)
        assert "unicode string" not in str(caught.value)


def test_words_for_a_recipe_have_the_first_layers_only() -> None:
    bits = tuple((f"*.{layer}.*", 3) for layer in range(40))
    assert (
        Recipe("long", (RTN(layers=bits),)).describe() == "rtn(bits=4, layers={*.0.*: 3, *.1.*: 3, *.2.*: 3, 37 more})"
    )


def test_applying_keeps_a_record_and_the_tokenizer(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    source = model_folder("stories260K")
    found = Recipe.load("w4a16-rtn:group=4").apply(source, tmp_path / "out")
    made = record(found.path)
    assert made is not None
    assert made["payload_bytes"] == found.bytes_after < found.bytes_before
    assert Recipe.load(made["recipe"]) == Recipe.load("w4a16-rtn:group=4")
    assert (found.path / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert found.seconds > 0


def test_names_need_no_torch() -> None:
    import subprocess
    import sys

    code = "from dovetail.recipe import Recipe; Recipe.load('w4a16-rtn'); import sys; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0


@pytest.mark.parametrize("name", [name for name in Recipe.names() if name not in ("none", "prune50")])
def test_every_built_in_recipe_writes_a_config_that_compressed_tensors_takes(
    name: str, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its schema forbids what it does not know."""
    from compressed_tensors.quantization import QuantizationConfig

    Recipe.load(name).apply(model_folder("llama"), tmp_path / "out", calibration=Calibration(samples=2, tokens=32))
    written = json.loads((tmp_path / "out" / "config.json").read_text()).get("quantization_config")
    if written is None:
        pytest.skip(f"{name} leaves weights dense")
    parsed = QuantizationConfig.model_validate({k: v for k, v in written.items() if k != "quant_method"})
    assert parsed.config_groups
    assert written["quant_method"] == "compressed-tensors"
