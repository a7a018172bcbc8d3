"""Tasks of lm-eval, where it is installed: a task of our own against log-likelihoods written out here."""

import json
from pathlib import Path

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.load import Loaded
from dovetail.runtime.tasks import Score, _name, _scores, check_tasks, evaluate

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
ROWS = [
    ("Once upon a time, there was a", ["little girl", "mathematical invoice"], 0),
    ("She loved to", ["play", "refinance"], 0),
    ("Tom had a big red", ["ball", "the"], 1),
    ("They went to the", ["park", "quark"], 0),
    ("The dog was very", ["of", "happy"], 0),
]  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [json.dumps({"question": q, "choices": c, "label": right}) for q, c, right in ROWS]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    (tmp_path / "mine.yaml").write_text(TASK.format(name="dovetail_mine", data=tmp_path / "data.jsonl"))
    return tmp_path / "mine.yaml"


def likelihood(loaded: Loaded, question: str, choice: str) -> float:
    """Nats of a choice after a question, parted by a blank and tokenized together as lm-eval does."""
    whole = loaded.tokenizer(f"{question} {choice}").input_ids
    begin = len(loaded.tokenizer(question).input_ids)
    with torch.inference_mode():
        log_p = loaded.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return float(sum(log_p[i - 1, whole[i]] for i in range(begin, len(whole))))


def test_a_task_of_ones_own_is_scored_as_its_likelihoods_say(
    trained: Loaded, stories: Path, task: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    check_tasks([str(task)])
    right = [
        max(range(2), key=lambda i, q=q, c=c: likelihood(trained, q, c[i])) == label  # type: ignore[misc]
        for q, c, label in ROWS
    ]
    (found,) = evaluate(stories, [str(task)])
    assert (found.task, found.metric, found.examples) == ("dovetail_mine", "acc", len(ROWS))
    assert found.value == pytest.approx(sum(right) / len(right))
    assert 0 < found.value < 1
    assert found.to_json()["low"] < found.value < found.to_json()["high"]
    (few,) = evaluate(stories, [str(task)], limit=2)
    assert few.value == pytest.approx(sum(right[:2]) / 2)


def test_unknown_tasks_and_data_that_are_not_here_are_said(stories: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    with pytest.raises(DovetailError, match=r"no task 'arc_esy'.*'arc_easy'"):
        check_tasks(["arc_esy"])
    with pytest.raises(DovetailError, match="arc_easy: the task cannot be run") as caught:
        evaluate(stories, ["arc_easy"], limit=2)
    assert "\n" not in str(caught.value)


def test_scores_are_read_from_what_the_harness_answers() -> None:
    row = {"alias": "mine", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,strict": 0.25, "f1_stderr,strict": "N/A"}
    one, two = _scores("mine", row, 25)
    assert one == Score("mine", "acc", 0.5, 0.1, 25)
    assert (two.metric, two.value) == ("f1 (strict)", 0.25)
    found = one.to_json()
    assert (found["low"], found["value"], found["high"]) == pytest.approx((0.304, 0.5, 0.696))
    assert two.to_json()["low"] == two.to_json()["high"] == 0.25


@pytest.mark.parametrize(("text", "words"), [("group: x\n", "no field 'task'"), (None, "cannot read the task")])
def test_files_that_are_no_tasks_are_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "task.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DovetailError, match=words):
        _name(path)
