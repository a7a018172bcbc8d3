"""Parameters of the 210 shapes of litgpt: described as a family of ours, counted anew from litgpt's own fields.

    python bench/litgpt_shapes.py

Each shape becomes a config of the family whose layers it has, with the vocabulary padded and the head of its own that
litgpt gives it. Beside that: where the zoo has the model under its hub id, the zoo's count against the same sum with
the zoo's vocabulary and tied head. Data: ``configs/litgpt/configs.json`` in ``$DOVETAIL_DATA`` (or ``../shared/data``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dovetail.model import Model

Shape = Mapping[str, Any]


def shapes(data: Path) -> dict[str, Shape]:
    """Every shape by litgpt's name."""
    found: dict[str, Shape] = json.loads((data / "configs" / "litgpt" / "configs.json").read_text())
    return found


def family(shape: Shape) -> str:
    """The `model_type` whose layers a shape has."""
    maker = shape["hf_config"]["org"]
    match shape["mlp_class_name"], shape["norm_class_name"]:
        case "GemmaMLP", _:
            windows = "gemma2" if shape["sliding_window_size"] else "gemma"
            return "gemma3_text" if shape["norm_qk"] else windows
        case "GptNeoxMLP", _:
            return {"tiiuae": "falcon", "microsoft": "phi"}.get(maker, "gpt_neox")
        case "LLaMAMLP", "LayerNorm":
            return "olmo" if maker == "allenai" else "stablelm"
        case "LLaMAMoE", _:
            return "qwen3_moe" if shape["norm_qk"] else "mixtral"
    if shape["norm_qk"]:
        return "olmo2" if maker == "allenai" else "qwen3"
    return "qwen2" if shape["attn_bias"] else "phi3" if maker == "microsoft" else "llama"


def config(shape: Shape) -> dict[str, Any]:
    """Fields of a ``config.json`` that describe a shape as a member of its `family`."""
    kind, experts = family(shape), shape["n_expert"]
    fields: dict[str, Any] = {
        "model_type": kind, "vocab_size": shape["padded_vocab_size"], "hidden_size": shape["n_embd"],
        "intermediate_size": shape["intermediate_size"], "num_hidden_layers": shape["n_layer"],
        "num_attention_heads": shape["n_head"], "num_key_value_heads": shape["n_query_groups"],
        "head_dim": shape["head_size"], "max_position_embeddings": shape["block_size"], "tie_word_embeddings": False,
        "rope_theta": shape["rope_base"], "partial_rotary_factor": shape["rotary_percentage"],
    }  # fmt: skip
    if experts:
        fields |= {"num_experts": experts, "num_local_experts": experts}
        fields |= {"num_experts_per_tok": shape["n_expert_per_token"]}
        fields |= {"moe_intermediate_size": shape["moe_intermediate_size"]} if shape["moe_intermediate_size"] else {}
    if kind == "falcon":
        grouped = shape["n_query_groups"] > 1
        fields |= {"new_decoder_architecture": grouped, "num_kv_heads": shape["n_query_groups"]}
    return fields


def expected(shape: Shape, vocab: int, *, tied: bool) -> int:
    """The sum over a shape's tensors, from its fields and what of its families those do not say.

    Not among the fields: norms after the blocks as well (Gemma 2 and 3), one norm for both blocks (Phi 1 and 2, Falcon
    7B), norms without weights (OLMo), norms of queries and keys over all heads at once (OLMo 2), a bias of the head
    (Phi 1 and 2).
    """
    kind, width, heads = family(shape), shape["n_embd"], shape["n_head"] * shape["head_size"]
    wide = heads + 2 * shape["n_query_groups"] * shape["head_size"]
    attention = width * (wide + heads) + wide * (shape["bias"] or shape["attn_bias"]) + width * shape["bias"]
    normed = heads + shape["n_query_groups"] * shape["head_size"] if kind == "olmo2" else 2 * shape["head_size"]
    attention += normed * shape["norm_qk"]
    norm = 0 if kind == "olmo" else width * (2 if shape["norm_class_name"] == "LayerNorm" else 1)
    shared = kind == "phi" or (kind == "falcon" and shape["n_query_groups"] == 1)
    norms = 1 if shared else 4 if kind in ("gemma2", "gemma3_text") else 2
    layer = attention + _feed_forward(shape) + norms * norm
    head = 0 if tied else vocab * width
    return vocab * width + head + vocab * (kind == "phi") + norm + shape["n_layer"] * layer


def _feed_forward(shape: Shape) -> int:
    width, inner, bias = shape["n_embd"], shape["moe_intermediate_size"] or shape["intermediate_size"], shape["bias"]
    matrices = 2 if shape["mlp_class_name"] == "GptNeoxMLP" else 3
    block: int = matrices * width * inner + bias * ((matrices - 1) * inner + width)
    return block * shape["n_expert"] + width * shape["n_expert"] if shape["n_expert"] else block


def hub_id(shape: Shape) -> str:
    """The name on the hub."""
    return f"{shape['hf_config']['org']}/{shape['hf_config']['name']}"


def in_zoo(found: Mapping[str, Shape]) -> Iterator[tuple[Shape, Model]]:
    """Shapes of models that the zoo has under the same hub id; language models only, as litgpt's are."""
    known = {name.lower(): name for name in Model.names()}
    for shape in found.values():
        name = known.get(hub_id(shape).lower())
        if name and "vision_config" not in (model := Model.load(name)).config:
            yield shape, model


def main() -> None:
    """Print what is wrong, and the totals."""
    data = Path(os.environ.get("DOVETAIL_DATA", Path(__file__).parents[1] / "../shared/data"))
    if not (data / "configs" / "litgpt").is_dir():
        print(f"no data in {data}: set DOVETAIL_DATA")
        return
    found = shapes(data)
    wrong, zoo = [], list(in_zoo(found))
    for name, shape in found.items():
        ours, theirs = Model.load(config(shape)).parameters, expected(shape, shape["padded_vocab_size"], tied=False)
        wrong += [f"{name}: {ours:,} here, {theirs:,} from litgpt's fields"] if ours != theirs else []
    for shape, model in zoo:
        theirs = expected(shape, int(model.architecture.vocab), tied=model.architecture.tied)
        wrong += [f"{model.name}: {model.parameters:,} in the zoo, {theirs:,}"] if model.parameters != theirs else []
    print("\n".join(f"WRONG   {line}" for line in wrong))
    right = len(found) + len(zoo) - len(wrong)
    print(f"litgpt's {len(found)} shapes, {len(zoo)} of them in the zoo too: {right} counts equal, {len(wrong)} wrong")


if __name__ == "__main__":
    main()
