"""Cut-out designs get their context back; foreign labels are looked at; a checkout is read."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("tree_sitter_cpp")

if shutil.which("g++") is None or find_spec("hls4ml") is None:
    pytest.skip("needs g++ and the open headers of the hls4ml wheel", allow_module_level=True)

from dovetail.core.errors import DovetailError
from dovetail.hls.inject.foreign.context import guessed_type, started
from dovetail.hls.inject.foreign.imports import chrysalis, import_from

CUT = """void smooth(data_t in[WIDTH], data_t out[WIDTH]) {
    for (int i = 0; i < WIDTH; i++) {
        int sum = 0;
        sum += scaled<CONFIG_T::gain>(in[i]);
        out[i] = sum;
    }
}

// Content of called function
int scaled(data_t x) {
    return x * CONFIG_T::gain + BIAS;
}
"""


def line(label: str, original: str, faulty: str, **more: str) -> str:
    return json.dumps(
        {
            "suite": "s",
            "design": "smooth",
            "class": label,
            "original": original,
            "faulty": faulty,
            "apply": "exact1",
            **more,
        }
    )


def test_context_is_rebuilt_and_labels_are_audited(tmp_path: Path) -> None:
    rows = [
        line("OOB", "i < WIDTH", "i <= WIDTH", source=CUT),
        line("INIT", "int sum = 0;", "int sum;"),
        line("USE", "int sum = 0;", "int sum = 0 ;"),
        line("INIT", "int sum = 0;", "int sum = 0; int more = 1;"),
        line(
            "SMA",
            "void smooth(data_t in[WIDTH], data_t out[WIDTH]) {",
            "void smooth(data_t in[WIDTH], data_t out[WIDTH]) {\n#pragma HLS interface ap_none port=in\n",
        ),
    ]
    path = tmp_path / "bugs.jsonl"
    path.write_text("\n".join(rows) + "\n")
    summary = import_from("chrysalis", path, tmp_path / "out")
    assert (summary["designs"], summary["compiled"], summary["executed"], summary["stubbed"]) == (1, 1, 1, 0)
    assert summary["initialisers_added"] == 1
    audit = summary["audit"]
    assert audit["OOB"]["shown"] == audit["SMA"]["shown"] == audit["USE"]["none"] == 1
    assert (audit["INIT"]["shown"], audit["INIT"]["none"]) == (1, 1)
    found = [json.loads(text) for text in (tmp_path / "out" / "patches.jsonl").read_text().splitlines()]
    assert {(row["label"], row["fate"]) for row in found} >= {("OOB", "proven"), ("USE", "equivalent")}


def test_callees_come_first_and_template_arguments_go() -> None:
    source = started(CUT).source
    assert source.index("int scaled") < source.index("void smooth")
    assert "scaled(in[i])" in source


@pytest.mark.parametrize(
    ("name", "ctype"),
    [
        ("bit8", "ap_uint<8>"),
        ("uint18_t", "ap_uint<18>"),
        ("int9_t", "ap_int<9>"),
        ("TYPE", "float"),
        ("data_t", "int"),
    ],
)
def test_names_say_what_they_are(name: str, ctype: str) -> None:
    assert guessed_type(name) == ctype


def test_a_checkout_is_read_with_its_headers(tmp_path: Path) -> None:
    (tmp_path / "top.h").write_text("#define N 4\ntypedef int word;\n")
    (tmp_path / "top.cpp").write_text(
        '#include "top.h"\nvoid top(word a[N]) {\n#pragma HLS INTERFACE ap_memory port=a\n'
        "    for (int i = 0; i < N; i++) a[i] += 1;\n}\n"
    )
    (tmp_path / "main.cpp").write_text("int main() { return 0; }\n")
    summary = import_from("folder", tmp_path, execute=False)
    assert (summary["designs"], summary["compiled"]) == (1, 1)


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"suite": 1}\n')
    for kind, path, why in (
        ("chrysalis", tmp_path / "x.jsonl", "not a bug patch"),
        ("chrysalis", tmp_path / "none.jsonl", "could not be read"),
        ("folder", tmp_path, "no HLS sources"),
        ("folder", tmp_path / "none", "no such folder"),
    ):
        with pytest.raises(DovetailError, match=why):
            import_from(kind, path)


def test_the_published_patches_are_all_read() -> None:
    path = Path(os.environ.get("DOVETAIL_DATA", "nowhere")) / "hls" / "chrysalis_permissive_single.jsonl.gz"
    if not path.is_file():
        pytest.skip("needs DOVETAIL_DATA with hls/chrysalis_permissive_single.jsonl.gz")
    sources, patches, standalone = chrysalis(path)
    assert (len(sources), sum(map(len, patches.values())), sum(standalone.values())) == (842, 8432, 36)
