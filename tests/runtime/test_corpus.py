"""The corpus: three disjoint splits of what CPython carries, the same on every call, no table or test among them."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping

import pytest

from dovetail.core.errors import DovetailError
from dovetail.runtime import corpus
from dovetail.runtime.corpus import Document, documents, held_out_text, split_of

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def by_split() -> Mapping[str, list[Document]]:
    return {split: documents(split) for split in SPLITS}


def test_no_document_is_in_two_splits_by_name_or_by_text(by_split: Mapping[str, list[Document]]) -> None:
    names = [document.name for split in SPLITS for document in by_split[split]]
    assert len(names) == len(set(names))
    held_out = {d.text for split in ("validation", "test") for d in by_split[split]}
    assert not held_out & {d.text for d in by_split["train"]}


def test_every_document_lies_in_the_split_of_its_name(by_split: Mapping[str, list[Document]]) -> None:
    assert all(split_of(document.name) == split for split in SPLITS for document in by_split[split])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("json/decoder.py", "train"),
        ("c/builtins", "train"),
        ("email/header.py", "validation"),
        ("topics/calls", "validation"),
        ("asyncio/streams.py", "test"),
        ("c/itertools", "test"),
    ],
)
def test_the_split_of_a_name_never_changes(name: str, split: str) -> None:
    """The shipped weights have seen the training names: moving one would turn held-out text into seen text."""
    assert split_of(name) == split


def test_shares_are_about_92_3_and_5_percent_of_many_names() -> None:
    found = [split_of(f"package/module_{number}.py") for number in range(20_000)]
    for split, share in zip(SPLITS, (0.92, 0.03, 0.05), strict=True):
        assert found.count(split) / len(found) == pytest.approx(share, abs=0.006)


def test_sources_topics_and_c_modules_are_all_there(by_split: Mapping[str, list[Document]]) -> None:
    texts = {document.name: document.text for split in SPLITS for document in by_split[split]}
    assert "class JSONDecoder" in texts["json/decoder.py"]
    assert "context manager" in texts["topics/with"]
    assert "c/itertools.chain" not in texts
    assert "Return a chain object" in texts["c/itertools"]
    assert 8e6 < sum(len(text.encode()) for text in texts.values()) < 20e6


def test_no_tests_tables_or_installed_packages(by_split: Mapping[str, list[Document]]) -> None:
    names = [document.name for split in SPLITS for document in by_split[split]]
    unwanted = ("test/", "tests/", "idle_test", "site-packages", "encodings/", "entities", "_sysconfigdata", "config-")
    assert not [name for name in names if any(part in f"/{name}" for part in (f"/{u}" for u in unwanted))]


def test_two_calls_give_the_same_and_sorted(by_split: Mapping[str, list[Document]]) -> None:
    again = documents("test")
    assert again == by_split["test"]
    assert [d.name for d in again] == sorted(d.name for d in again)


def test_no_memory_address_leaks_into_the_text(by_split: Mapping[str, list[Document]]) -> None:
    assert not [d.name for split in SPLITS for d in by_split[split] if d.name.startswith("c/") and " at 0x7" in d.text]


def test_held_out_text_is_the_test_split_and_nothing_else(by_split: Mapping[str, list[Document]]) -> None:
    text = held_out_text()
    assert all(document.text in text for document in by_split["test"])
    parts = sum(len(document.text) for document in by_split["test"])
    assert len(text) == parts + 2 * (len(by_split["test"]) - 1)


@pytest.mark.parametrize("limit", [0, 65_536])
def test_held_out_text_stops_at_the_limit(limit: int) -> None:
    cut = held_out_text(limit)
    assert limit - 3 <= len(cut.encode()) <= limit
    assert held_out_text().startswith(cut)


def test_held_out_text_never_cuts_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "documents", lambda split: [Document("one", "a€")])
    assert [held_out_text(limit) for limit in range(5)] == ["", "a", "a", "a", "a€"]


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(DovetailError, match="did you mean 'validation'"):
        documents("valid")  # type: ignore[arg-type]


def test_importing_it_is_light() -> None:
    code = "import sys, dovetail.runtime.corpus; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_split_is_a_plain_hash_that_anyone_can_recompute() -> None:
    point = int(hashlib.sha256(b"asyncio/streams.py").hexdigest()[:16], 16) / 16**16
    assert point >= 0.95
