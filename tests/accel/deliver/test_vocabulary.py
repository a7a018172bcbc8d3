"""A tokenizer as a file, and the program that reads it: the same tokens, the same text."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dovetail.accel.deliver import decoder
from dovetail.accel.deliver.vocabulary import vocabulary_text
from dovetail.model.find import SHIPPED
from dovetail.runtime.corpus import documents
from dovetail.runtime.load import tokenizer_of

STORIES = Path(os.environ.get("DOVETAIL_DATA", "")) / "models" / "stories260K" / "hf"
# A simulator that repeats its prompt: the tokens in the image, in the harness's words.
ECHO = r"""#!/usr/bin/env python3
import struct, sys
image = open(sys.argv[1], "rb").read()
count = int(next(word for word in sys.argv if word.startswith("prompt=")).split("=")[1])
for at in range(count):
    print("token", at, struct.unpack_from("<i", image, 64 + at * 4)[0])
print("ids", *(struct.unpack_from("<i", image, 64 + at * 4)[0] for at in range(count)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("decode")
    (folder / "decode.cpp").write_text(decoder.TEXT)
    subprocess.run(
        [compiler, "-O1", "-std=c++17", "-Wall", "-Werror", "-o", "decode", "decode.cpp"], cwd=folder, check=True
    )
    (folder / "echo").write_text(ECHO)
    (folder / "echo").chmod(0o755)
    (folder / "image").write_bytes(bytes(1 << 16))
    return folder


def tokenizers() -> list[Any]:
    return [pytest.param(SHIPPED["embedded"], id="bytes"), pytest.param(STORIES, id="characters")]


@pytest.mark.parametrize("folder", tokenizers())
@pytest.mark.parametrize("text", ["Once upon a time, there was a girl.", "Zoë's naïve café – 12 €", "a\n\tb = c[1, 2]"])
def test_a_prompt_is_cut_and_shown_as_the_tokenizer_does(program: Path, folder: Path, text: str) -> None:
    if not folder.is_dir():
        pytest.skip("no DOVETAIL_DATA")
    known = tokenizer_of(folder)
    ids, shown = spoken(program, known, text)
    assert ids == known(text).input_ids
    blank = " " if folder == STORIES else ""  # that its tokens begin with
    assert shown == f"{text}{blank}{text}\n"


def test_code_is_cut_nearly_as_the_tokenizer_cuts_it(program: Path) -> None:
    known = tokenizer_of(SHIPPED["embedded"])
    text = documents("validation")[0].text[:3000]
    mine, real = spoken(program, known, text)[0], known(text).input_ids
    assert known.decode(mine) == text
    assert abs(len(mine) - len(real)) <= 0.05 * len(real)  # patterns that part words first cut runs of blanks otherwise


def spoken(folder: Path, tokenizer: Any, text: str) -> tuple[list[int], str]:
    """Tokens of a prompt, and what is printed: the prompt, and then its echo."""
    (folder / "vocabulary.txt").write_text(vocabulary_text(tokenizer))
    options = ["list=4", "word=16", "columns=4", "context=4000", "program=0", "latency=1", "bytes=1", "cycles=1"]
    done = subprocess.run(
        ["./decode", "vocabulary.txt", "image", "./echo", *options], cwd=folder, env={**os.environ, "PROMPT": text},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(word) for word in done.stderr.splitlines()[0].split()[1:]], done.stdout
