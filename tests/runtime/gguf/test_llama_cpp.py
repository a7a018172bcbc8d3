"""llama.cpp runs the files as this package runs the checkpoints: equal greedy tokens.

Its Python binding may live in an environment of its own: ``DOVETAIL_LLAMA_CPP_PYTHON`` names that environment's Python.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decode import generate
from dovetail.runtime.gguf.write import Gguf
from dovetail.runtime.load import Loaded, load
from tests.runtime.gguf.conftest import FAMILIES, save

PYTHON = os.environ.get("DOVETAIL_LLAMA_CPP_PYTHON") or sys.executable
EMBEDDED = Path(__import__("dovetail").__file__).parent / "model" / "embedded"
NEW = 32
TIE = 0.05  # of the spread of the logits
RECIPES = {
    "int8": [{"rtn": {"bits": 8, "group": 0}}],
    "int4": [{"rtn": {"bits": 4, "group": 0}}],
    "int4-zeros": [{"rtn": {"bits": 4, "group": 0, "symmetric": False}}],
}
PROGRAM = """
import json, sys
import llama_cpp
asked = json.load(sys.stdin)
model = llama_cpp.Llama(asked["file"], n_ctx=256, n_threads=1, verbose=False, logits_all=True)
out = []
for token in model.generate(asked["tokens"], temp=0.0, top_k=1, repeat_penalty=1.0) if asked["new"] else ():
    out.append(token)
    if len(out) == asked["new"]:
        break
if not out:
    model.eval(asked["tokens"])
logits = None if out else model.scores[len(asked["tokens"]) - 1].tolist()
ids = model.tokenize(asked["text"].encode(), add_bos=True, special=False) if asked["text"] else []
json.dump({"tokens": out, "logits": logits, "ids": ids}, sys.stdout)
"""


def llama_cpp(file: Path, tokens: list[int], new: int = 0, text: str = "") -> dict[str, list[float]]:
    asked = json.dumps({"file": str(file), "tokens": tokens, "new": new, "text": text})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM], input=asked, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="session", autouse=True)
def _binding() -> None:
    pytest.importorskip("gguf")
    if subprocess.run([PYTHON, "-c", "import llama_cpp"], capture_output=True).returncode:
        pytest.skip(f"llama-cpp-python is not installed for {PYTHON}: set DOVETAIL_LLAMA_CPP_PYTHON")


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Path:
    if request.param == "embedded":
        return EMBEDDED
    return Path(request.getfixturevalue("data_folder")) / "models" / "stories260K" / "hf"


@pytest.mark.parametrize("recipe", ["none", "int8", "int4", "int4-zeros"])
@pytest.mark.parametrize(("model", "prompt"), [
    ("embedded", "def parse(self, text):"), ("stories260K", "Once upon a time"),
], indirect=["model"])  # fmt: skip
def test_greedy_tokens_are_ours(model: Path, prompt: str, recipe: str, tmp_path: Path) -> None:
    folder = model if recipe == "none" else Recipe.load(RECIPES[recipe]).apply(model, tmp_path / "m").path
    written = Gguf.of(folder).write(tmp_path / "m.gguf", "tiny")
    assert written.carried > 0 or recipe == "none"
    loaded = load(folder)
    tokens = loaded.tokenizer(prompt).input_ids
    ours = list(generate(loaded, tokens, NEW).tokens)
    theirs = llama_cpp(tmp_path / "m.gguf", tokens, NEW, prompt)
    assert theirs["ids"] == tokens
    assert len(ours) == NEW
    if recipe == "none":
        assert theirs["tokens"] == ours
    else:
        assert_alike(loaded, tokens, ours, [int(t) for t in theirs["tokens"]])


def assert_alike(loaded: Loaded, prompt: list[int], ours: list[int], theirs: list[int]) -> None:
    """Equal tokens up to a tie: its kernels of quantised weights round inputs to 8 bits, ours do not."""
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), NEW)
    if same < NEW:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([prompt + ours[:same]])).logits[0, -1]
        assert float(logits[ours[same]] - logits[theirs[same]]) < TIE * float(logits.std())


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_of_every_architecture_are_ours(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path / "m", "float32")
    Gguf.of(folder).write(tmp_path / "m.gguf", "tiny")
    tokens = torch.randint(0, 96, (24,), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.no_grad():
        ours = load(folder).model(torch.tensor([tokens])).logits[0, -1]
    theirs = torch.tensor(llama_cpp(tmp_path / "m.gguf", tokens)["logits"])
    assert float((theirs - ours).norm() / ours.norm()) < 2e-3  # its cache keeps 16 bits
    assert theirs.argmax() == ours.argmax()
