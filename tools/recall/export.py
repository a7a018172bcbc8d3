"""Turn a training state into the shipped folder, bf16, with its tokenizer; check that it computes the same function.

python -m tools.recall.export --state /path/to/state.pt --out dovetail/model/recall
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dovetail.runtime.recall.words import BEGIN, WORDS
from tools.recall.config import Shape, Training
from tools.recall.train import Recaller


def tokenizer() -> PreTrainedTokenizerFast:
    """Return what turns words between blanks into ids, with the opening token before them."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[BEGIN]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    opening = WORDS[BEGIN]
    made.post_processor = processors.TemplateProcessing(single=f"{opening} $A", special_tokens=[(opening, BEGIN)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=opening,
        eos_token=opening,
        clean_up_tokenization_spaces=False,
        model_max_length=Shape().context,
    )


def to_hf(shape: Shape, weights: dict[str, Tensor]) -> LlamaForCausalLM:
    """Return `LlamaForCausalLM` with these weights in float32; the names, behind ``twin.``, are its own."""
    model = LlamaForCausalLM(shape.to_hf()).float().eval()
    named = {name.removeprefix("twin."): weight for name, weight in weights.items()}
    missing, unexpected = model.load_state_dict(named, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=BEGIN, eos_token_id=BEGIN)
    return model


@torch.no_grad()
def largest_difference(shape: Shape, weights: dict[str, Tensor], model: LlamaForCausalLM, tokens: int = 512) -> float:
    """Return the largest difference of logits between the training model and the exported one, of the largest logit."""
    ours = Recaller(shape)
    ours.load_state_dict(weights)
    ids = torch.randint(shape.vocabulary, (1, tokens), generator=torch.Generator().manual_seed(0))
    wanted = ours(ids, torch.arange(tokens).unsqueeze(0))
    return float((wanted - model(ids).logits).abs().max() / wanted.abs().max())


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config, weights in bf16 and tokenizer, each beside and then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        model.to(torch.bfloat16).save_pretrained(beside)
        tokenizer().save_pretrained(beside)
        for path in Path(beside).iterdir():
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def main() -> None:
    """Load the state, check, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    state, shape = torch.load(options.state, weights_only=True), Training().shape
    model = to_hf(shape, state["model"])
    difference = largest_difference(shape, state["model"], model)
    if difference > 1e-3:  # scores of many nats in the first layer magnify the rounding of fp32
        raise SystemExit(f"the exported model differs: {difference:.2e} of a logit")
    save(model, options.out)
    print(f"{model.num_parameters():,} parameters after {state['step']:,} steps; logits within {difference:.1e}")


if __name__ == "__main__":
    main()
