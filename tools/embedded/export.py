"""Turn a training state into the shipped Hugging Face folder, bf16, and check that it computes the same function.

python -m tools.embedded.export --state /path/to/state.pt --out dovetail/model/embedded
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM

from tools.embedded.config import Shape, Training
from tools.embedded.model import Llama


def to_hf(shape: Shape, weights: dict[str, Tensor]) -> LlamaForCausalLM:
    """Return `LlamaForCausalLM` with these weights in float32; the names are already its own."""
    model = LlamaForCausalLM(shape.to_hf()).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0)
    return model


@torch.no_grad()
def largest_difference(shape: Shape, weights: dict[str, Tensor], model: LlamaForCausalLM, tokens: int = 512) -> float:
    """Return the largest absolute difference of logits between the training model and the exported one, in float32."""
    ours = Llama(shape)
    ours.load_state_dict(weights)
    ids = torch.randint(shape.vocabulary, (1, tokens), generator=torch.Generator().manual_seed(0))
    return float((ours.logits(ids) - model(ids).logits).abs().max())


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` in bf16, each beside and then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        model.to(torch.bfloat16).save_pretrained(beside)
        for path in Path(beside).iterdir():
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def main() -> None:
    """Load the state, check, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    state, shape = torch.load(options.state, weights_only=True, map_location="cpu"), Training().shape
    model = to_hf(shape, state["model"])
    difference = largest_difference(shape, state["model"], model)
    if difference > 1e-3:
        raise SystemExit(f"the exported model differs: {difference:.2e} on a logit")
    save(model, options.out)
    print(f"{model.num_parameters():,} parameters after {state['seen']:,} tokens; logits within {difference:.1e}")


if __name__ == "__main__":
    main()
