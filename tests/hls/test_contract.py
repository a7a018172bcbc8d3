"""Contracts: YAML both ways, mistakes named by their path, and ranges found by probing."""

from pathlib import Path

import pytest

from dovetail.core.errors import DovetailError
from dovetail.hls.check.checker import check
from dovetail.hls.check.contract import infer_contract
from dovetail.hls.contract_file import from_plain, load_contract, to_yaml
from dovetail.hls.design import Contract, Design, Port
from dovetail.hls.signature import top_function

FULL = Contract(
    "top",
    (Port("a", "int", "array", "in", (4, 8), low=-3, high=9, order="sorted", mode="m_axi"),
     Port("s", "hls::stream<int>", "stream", "out", (0,), capacity=4),
     Port("n", "int", values=(1, 2, 4), size_of="a")),
    returns="int", calls=3, leftovers=True, call="top<4>",
)  # fmt: skip


def test_a_contract_survives_yaml(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(to_yaml(FULL))
    assert load_contract(tmp_path / "c.yaml") == FULL


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"top": "f", "ports": [{"name": "a", "ctype": "int", "low": 3, "high": 1}]},
            r"ports\.0: low 3 is above high 1",
        ),
        (
            {"top": "f", "ports": [{"name": "a", "ctype": "int", "kind": "array"}]},
            r"ports\.0: an array needs its extents",
        ),
        ({"top": "f", "ports": [{"name": "a", "ctype": "int", "mode": "axi"}]}, r"ports\.0\.mode"),
        ({"top": "f", "portz": []}, "portz"),
        ({"top": "1f"}, "top"),
        ([1], "dictionary"),
        ({"top": "f", "ports": [{"name": "a", "ctype": "int"}] * 2}, "named twice: a"),
    ],
)
def test_mistakes_are_named_by_their_path(data: object, said: str) -> None:
    with pytest.raises(DovetailError, match=said):
        from_plain(data)


def test_signatures_are_read_from_the_text(fir: str) -> None:
    read = top_function(fir)
    assert (read.name, read.returns, read.line) == ("fir", "void", 4)
    assert [(p.name, p.ctype, p.extents, p.const) for p in read.parameters] == [
        ("x", "sample", ("24",), True), ("taps", "sample", ("6",), True), ("y", "sum", ("24",), False),
    ]  # fmt: skip
    with pytest.raises(DovetailError, match="did you mean 'fir'"):
        top_function(fir, "fri")


def test_probing_finds_extents_ranges_and_directions() -> None:
    source = """int gather(const unsigned char *index, const int *table, int *out, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) {
        out[i] = table[index[i]];
        sum += out[i];
    }
    return sum;
}"""
    found = infer_contract(Design(source, Contract("gather")))
    index, table, out, n = found.contract.ports
    assert found.doubts == ()
    assert [p.direction for p in found.contract.ports] == ["in", "in", "inout", "in"] or out.direction == "out"
    assert index.elements == out.elements == n.high
    assert table.elements <= 256
    assert found.contract.returns == "int"


def test_a_port_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(DovetailError, match=r"too large to try .500,000,000 elements"):
        infer_contract(Design("void top(int a[500000000], int b[4]) { b[0] = a[0]; }", Contract("top")))


def test_probing_finds_how_long_streams_are(streams: str) -> None:
    inside, out = infer_contract(Design(streams, Contract("top"))).contract.ports
    assert (inside.shape, inside.direction) == ((8,), "inout") or (inside.shape, inside.direction) == ((8,), "in")
    assert out.direction == "out"


def test_a_contract_that_contradicts_the_code_is_refused(fir: str) -> None:
    wrong = Contract("fir", (Port("x", "int", "array", shape=(24,)),))
    with pytest.raises(DovetailError, match="contradicts the code"):
        check(Design(fir, wrong), static=False)
