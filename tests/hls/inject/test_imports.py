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
from dovetail.hls.inject.foreign.checkouts import designs_of
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
        line("INF", "out[i] = sum;", "out[i] = sum + 1;"),
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
    assert [row["class"] for row in found if row["label"] == "INF"] == ["MISMATCH"]  # labelled by what was seen


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


KERNEL = "void {name}({type} a[4], {type} b[4]) {{\n    for (int i = 0; i < 4; i++) b[i] = twice(a[i]);\n}}\n"
HELPER = "#pragma once\ninline int twice(int x) { return 2 * x; }\n"


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_project_files_say_which_files_and_which_top(tmp_path: Path) -> None:
    body = '#include "helper.h"\n' + KERNEL
    put(tmp_path, {
        "Array/split/run_hls.tcl": "# adds\nset name split\nadd_files ${name}.cpp -cflags \"-I../inc -O2\"\n"
        "add_files -tb split_test.cpp\nset_top split_top\n",
        "Array/split/split.cpp": body.format(name="split_top", type="int") + "void spare(int *x) { *x = 0; }\n",
        "Array/split/split_test.cpp": "#pragma HLS x\nint main() { return 0; }\n",
        "Array/inc/helper.h": HELPER,
        "Loops/sum/hls_config.cfg": "part=x\n[hls]\nsyn.file=a.cpp\nsyn.file=b.cpp\nsyn.top=sum\ntb.file=t.cpp\n",
        "Loops/sum/a.cpp": HELPER,
        "Loops/sum/b.cpp": KERNEL.format(name="sum", type="int"),
        "Loops/sum/t.cpp": "int main() { return 0; }\n",
    })  # fmt: skip
    found = designs_of(tmp_path)
    assert {name: top for name, (_, top) in found.items()} == {"Array/split": "split_top", "Loops/sum": "sum"}
    summary = import_from("folder", tmp_path)
    assert (summary["designs"], summary["compiled"], summary["executed"], summary["stubbed"]) == (2, 2, 2, 0)


def test_layouts_without_project_files_are_known(tmp_path: Path) -> None:
    bench = (
        "#include <stdlib.h>\n#define TYPE int\nvoid gemm(TYPE a[4], TYPE b[4]);\nstruct bench_args_t { TYPE a[4]; };\n"
    )
    bench += "void run_benchmark(void *v) {\n    struct bench_args_t *args = (struct bench_args_t *)v;\n"
    bench += "    gemm(args->a, args->a);\n}\n"
    put(tmp_path, {
        "machine/gemm/blocked/gemm.c": '#include "gemm.h"\n#include "support.h"\n'
        + KERNEL.format(name="gemm", type="TYPE"),
        "machine/gemm/blocked/gemm.h": bench,
        "machine/gemm/blocked/generate.c": '#include "gemm.h"\nint main() { return 0; }\n',
        "machine/gemm/blocked/local_support.c": '#include "gemm.h"\nint INPUT_SIZE = 4;\n',
        "machine/common/support.h": HELPER,
        "stone/digits/src/sdsoc/top.cpp": '#include "../host/types.h"\n' + KERNEL.format(name="top", type="word")
        + "#pragma HLS DATAFLOW\n",
        "stone/digits/src/host/types.h": "typedef int word;\n" + HELPER.replace("#pragma once\n", ""),
        "stone/digits/src/host/host.cpp": "#pragma HLS x\nint main(int argc, char **argv) { return 0; }\n",
        "problems/benchmark/reference_design/Prob001_ref.cpp": HELPER + KERNEL.format(name="first", type="int"),
        "problems/benchmark/testbench/Prob001_tb.cpp": "int main() { return 0; }\n",
    })  # fmt: skip
    found = designs_of(tmp_path)
    assert {Path(name).name: top for name, (_, top) in found.items()} == {
        "gemm.c": "gemm", "top.cpp": "", "Prob001_ref.cpp": "",
    }  # fmt: skip
    summary = import_from("folder", tmp_path)
    assert (summary["compiled"], summary["executed"]) == (3, 3)


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
    sources, patches, standalone, _ = chrysalis(path)
    assert (len(sources), sum(map(len, patches.values())), sum(standalone.values())) == (842, 8432, 36)
