"""English and Python text that every CPython carries, split by file into train, validation and test.

The embedded model was trained on the `train` split; perplexity on `test` is therefore measured on files it never saw.
The text needs no download: the sources of the standard library, the topics of `pydoc` and the docstrings of the modules
written in C. Another Python version gives slightly other text; the split of a name never changes.

Left out: tests; `encodings` (one template filled with a code-page table per file); files that are tables
(`html/entities`, `msilib/schema`, `msilib/sequence`; three quarters of `locale`) or that the build generates
(`_sysconfigdata_*`, `config-*`).
"""

import hashlib
import importlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from dovetail.core.errors import DovetailError, did_you_mean

Split = Literal["train", "validation", "test"]

_SHARE = {"train": 0.92, "validation": 0.03, "test": 0.05}
_PACKAGES = {"site-packages", "dist-packages", "__pycache__"}
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "encodings"} | _PACKAGES)
_TABLES = {"html/entities.py", "msilib/schema.py", "msilib/sequence.py", "locale.py"}
_SKIPPED_FILES = frozenset(_TABLES | {"pydoc_data/topics.py"})  # the topics are documents of their own
_SKIPPED_MODULES = ("_test", "_xx", "xx", "readline", "_tkinter")  # test fixtures; those that touch the terminal


@dataclass(frozen=True, slots=True)
class Document:
    """One file, topic or module: `name` decides its split, for example `json/decoder.py` or `topics/with`."""

    name: str
    text: str


def split_of(name: str) -> Split:
    """Return the split of a document by the SHA-256 of its name: about 92, 3 and 5 % of the names."""
    point = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if point < _SHARE["train"]:
        return "train"
    return "validation" if point < _SHARE["train"] + _SHARE["validation"] else "test"


def documents(split: Split) -> list[Document]:
    """Return the documents of one split, sorted by name.

    Raises
    ------
    DovetailError
        If `split` is not one of `train`, `validation`, `test`.
    """
    if split not in get_args(Split):
        raise DovetailError(f"no split '{split}'", where="corpus", hint=did_you_mean(split, list(get_args(Split))))
    readers = {**_source_files(), **_topics(), **_extension_modules()}
    texts = ((name, readers[name]()) for name in sorted(readers) if split_of(name) == split)
    return [Document(name, text) for name, text in texts if text.strip()]


def held_out_text(limit_bytes: int | None = None) -> str:
    """Return the `test` split as one text, documents in an order mixed by hash and parted by a blank line.

    Parameters
    ----------
    limit_bytes
        Stop after so many bytes of UTF-8, at a whole character; `None` gives all of it (about 0.5 MB).
    """
    joined = "\n\n".join(document.text for document in _mixed()).encode()
    return joined[:limit_bytes].decode(errors="ignore")


def held_out_documents(limit_bytes: int) -> list[str]:
    """Return a piece of every document of the `test` split: equal shares of `limit_bytes` of UTF-8 at most.

    Pieces of many documents say more of a model than the whole of one. Each is from the middle of its document, from
    the beginning of a line on; a document shorter than its share is whole.
    """
    mixed = _mixed()
    return [_middle(document.text, limit_bytes // len(mixed)) for document in mixed]


def _mixed() -> list[Document]:
    return sorted(documents("test"), key=lambda document: hashlib.sha256(document.name.encode()).digest()[8:])


def _middle(text: str, size: int) -> str:
    if len(text.encode()) <= size:
        return text
    begin = text.rfind("\n", 0, max(0, len(text) - size) // 2) + 1
    return text[begin:].encode()[:size].decode(errors="ignore")


Reader = Callable[[], str]


def _source_files() -> dict[str, Reader]:
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Reader] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("config-")]
        for path in (Path(folder) / name for name in files if name.endswith(".py")):
            name = path.relative_to(root).as_posix()
            if name not in _SKIPPED_FILES and not name.startswith("_sysconfigdata"):
                found[name] = partial(path.read_text, "utf-8", errors="ignore")
    return found


def _topics() -> dict[str, Reader]:
    from pydoc_data.topics import topics

    return {f"topics/{name}": partial("{}\n".format, text.strip()) for name, text in topics.items()}


def _extension_modules() -> dict[str, Reader]:
    folder = Path(sysconfig.get_path("platstdlib")) / "lib-dynload"
    names = {path.name.partition(".")[0] for path in folder.glob("*.so")} | set(sys.builtin_module_names)
    return {f"c/{name}": partial(_module_text, name) for name in names if not name.startswith(_SKIPPED_MODULES)}


def _module_text(name: str) -> str:
    """Return the docstrings of a C module, its functions and its classes, or "" where it does not import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
        except ImportError:
            return ""
    return "\n\n".join(_described(name, module))


def _described(path: str, thing: object, classes_open: bool = True) -> Iterator[str]:
    own = thing.__doc__ if isinstance(thing.__doc__, str) else ""
    signature = getattr(thing, "__text_signature__", None) or ""
    if own.strip():
        yield f"{path}{signature}\n\n{inspect.cleandoc(own)}"
    if not isinstance(thing, ModuleType) and not (inspect.isclass(thing) and classes_open):
        return
    for key, member in sorted(vars(thing).items()):
        if key == "last_type":  # sys keeps the class of the last uncaught error there: no part of the library
            continue
        if inspect.isroutine(member) or (inspect.isclass(member) and isinstance(thing, ModuleType)):
            yield from _described(f"{path}.{key}", member)
