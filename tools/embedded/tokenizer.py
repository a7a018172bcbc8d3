"""Train the tokenizer of the embedded model: byte-level BPE, 4096 tokens, on the training split.

The pre-tokenizer is made for source code: line breaks together with the indentation that follows them are one piece, so
that "newline, eight spaces" is one token; digits stand alone; a word takes at most one leading blank or dot.

    python -m tools.embedded.tokenizer --out dovetail/model/embedded
"""

import argparse
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dovetail.runtime.corpus import documents

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 4096
PIECES = "|".join(
    [
        r"\n[\n ]*",  # line breaks and the indentation after them
        r"[ .]?[\p{L}_]+",  # words and identifiers: " def", ".append", "__init__"
        r"\p{N}",  # one digit at a time
        r" ?[^\s\p{L}\p{N}_]+",  # punctuation and operators
        r" +(?!\S)",  # alignment inside a line, all but the last blank
        r"\s",
    ]
)


def train(texts: list[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on `texts`; token 0 is `<|endoftext|>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int = 8192) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` as `transformers.AutoTokenizer` reads them."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    ).save_pretrained(folder)


def main() -> None:
    """Train on the training split, save, and print how many bytes a validation token stands for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    tokenizer = train([document.text for document in documents("train")])
    save(tokenizer, folder)
    text = "\n\n".join(document.text for document in documents("validation"))
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text, "the tokenizer must be lossless"
    print(f"{len(text.encode()) / len(ids):.3f} bytes per token on the validation split")


if __name__ == "__main__":
    main()
