"""The shipped weights: they load, have the promised shape, and know held-out text; two bits of rounding ruin them."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dovetail.runtime.corpus import documents

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FOLDER = Path(__file__).parents[2] / "dovetail" / "model" / "embedded"
SAMPLE_BYTES = 4096  # of each of the first documents: a slice of many files says more than the whole of one
DOCUMENTS = 8
MARGIN = 0.8  # bits per byte


@pytest.fixture(scope="module")
def model() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def sample() -> list[str]:
    long = [d.text for d in documents("test") if len(d.text) > SAMPLE_BYTES]
    return [text[:SAMPLE_BYTES] for text in long[:DOCUMENTS]]


def bits_per_byte(model: Any, tokenizer: Any, texts: list[str]) -> float:
    nats = 0.0
    for text in texts:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text).input_ids]])
        with torch.no_grad():
            nats += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


@contextmanager
def rounded(model: Any, bits: int, group: int = 128) -> Iterator[Any]:
    """Round every linear of the layers to the nearest of `2**bits` levels per group, for a while."""
    linears = [module for module in model.model.layers.modules() if isinstance(module, torch.nn.Linear)]
    kept = [linear.weight.data for linear in linears]
    for linear in linears:
        grouped = linear.weight.data.unflatten(1, (-1, group))
        scale = grouped.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        linear.weight.data = ((grouped / scale).round() * scale).flatten(1)
    try:
        yield model
    finally:
        for linear, weight in zip(linears, kept, strict=True):
            linear.weight.data = weight


def test_the_file_is_small_and_the_config_as_promised() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 16 * 2**20
    config = json.loads((FOLDER / "config.json").read_text())
    promised = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "vocab_size": 4096,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_theta": 100_000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    assert {key: config[key] for key in promised} == promised


def test_it_loads_whole_and_every_linear_divides_by_128(model: Any) -> None:
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert all(size % 128 == 0 for linear in linears for size in linear.weight.shape)


def test_the_config_survives_a_round_trip(model: Any, tmp_path: Path) -> None:
    model.config.save_pretrained(tmp_path)
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters == model.config.rope_parameters
    assert again.num_hidden_layers == len(model.model.layers)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    if x:\n        return [1, 23]\n\n\n\tpass  # ok\n",
        "naïve – ½ 日本 \x00\r\n",
        "   leading",
        "<|endoftext|>",
    ],
)
def test_the_tokenizer_is_lossless(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.parametrize("blanks", [4, 8, 12, 16])
def test_a_line_break_and_its_indentation_are_one_token(tokenizer: Any, blanks: int) -> None:
    assert len(tokenizer("\n" + " " * blanks).input_ids) == 1
    assert tokenizer("\n" + " " * blanks + "return").input_ids[0] == tokenizer("\n" + " " * blanks).input_ids[0]


def test_digits_stand_alone(tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer("1234").input_ids) == ["1", "2", "3", "4"]


def test_one_special_token_parts_the_documents(tokenizer: Any) -> None:
    assert len(tokenizer) == 4096
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.bos_token_id == 0
    assert tokenizer("x").input_ids[0] != 0


def test_a_token_stands_for_many_bytes_of_held_out_text(tokenizer: Any, sample: list[str]) -> None:
    text = "".join(sample)
    assert len(text.encode()) / len(tokenizer(text).input_ids) > 3.2


def test_it_beats_an_order_3_byte_model_by_far(model: Any, tokenizer: Any, sample: list[str]) -> None:
    baseline = pytest.importorskip("tools.embedded.baseline", reason="a checkout has it, an installed package has not")
    order_3 = baseline.WittenBell([document.text for document in documents("train")]).bits_per_byte(sample)
    assert 1.7 < order_3 < 2.4
    assert bits_per_byte(model, tokenizer, sample) < order_3 - MARGIN


def test_eight_bits_change_nothing_and_two_bits_ruin_it(model: Any, tokenizer: Any, sample: list[str]) -> None:
    full = bits_per_byte(model, tokenizer, sample)
    with rounded(model, 8):
        assert bits_per_byte(model, tokenizer, sample) == pytest.approx(full, abs=0.01)
    with rounded(model, 2):
        assert bits_per_byte(model, tokenizer, sample) > full + 0.5


def test_greedy_continuation_is_python(model: Any, tokenizer: Any) -> None:
    prompt = "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self."
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt).input_ids]])
    out = model.generate(ids, max_new_tokens=4, do_sample=False)
    assert tokenizer.decode(out[0, ids.shape[1] :]).startswith("y = y")
