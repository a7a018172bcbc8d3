"""Units against pint, an independent library, and against what a reader sees."""

import math

import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core import units
from dovetail.core.errors import DovetailError

REGISTRY = pint.UnitRegistry()
REGISTRY.define("FLOP = [operation] = flop = OP")
REGISTRY.define("MAC = 2 FLOP")
REGISTRY.define("USD = [currency]")
REGISTRY.define("tok = [token]")

# Our dimension, pint's base unit for it, and the units we accept (ours is pint's spelling unless a pair is given).
DIMENSIONS = {
    "byte": ("byte", ["B", "kB", "MB", "GB", "TB", "PB", "KiB", "MiB", "GiB", "TiB", "bit", "Gbit", "Mibit"]),
    "byte/s": ("byte/s", ["GB/s", "TB/s", "GiB/s", "Gbit/s", "MB/ms", "B/us", "GB/h"]),
    "flop/s": ("FLOP/s", ["FLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s", "TOP/s", "GMAC/s", "MFLOP/us"]),
    "s": ("s", ["s", "ms", "us", "ns", "ps", "min", "h"]),
    "W": ("W", ["W", "mW", "kW", "uW"]),
    "Hz": ("Hz", ["Hz", "MHz", "GHz"]),
    "J": ("J", ["J", "mJ", "pJ", "kJ", "Wh", "kWh"]),
    "J/flop": ("J/FLOP", ["pJ/FLOP", "fJ/FLOP", "J/GFLOP", "pJ/MAC"]),
    "J/byte": ("J/byte", ["pJ/B", "nJ/kB", "pJ/bit"]),
    "mm2": ("mm^2", ["mm^2", "um^2"]),
    "m": ("m", ["nm", "um", "mm"]),
    "USD/s": ("USD/s", ["USD/h", "USD/s"]),
    "tok/s": ("tok/s", ["tok/s", "ktok/s", "tok/ms"]),
    "": ("", ["", "%"]),
}
OURS = {"um^2": "um2"}
PAIRS = [(dimension, base, unit) for dimension, (base, names) in DIMENSIONS.items() for unit in names]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)


@pytest.mark.parametrize(("dimension", "base", "unit"), PAIRS, ids=[f"{d}:{u}" for d, _, u in PAIRS])
def test_scales_agree_with_pint(dimension, base, unit):
    theirs = REGISTRY.Quantity(3.35, "percent" if unit == "%" else unit).to(base or "dimensionless").magnitude
    assert units.parse(f"3.35 {OURS.get(unit, unit)}", dimension) == pytest.approx(theirs, rel=1e-12)


@given(st.sampled_from(PAIRS), NUMBERS, st.sampled_from(["", " ", "  "]))
def test_any_number_agrees_with_pint(pair, number, gap):
    dimension, base, unit = pair
    theirs = REGISTRY.Quantity(number, "percent" if unit == "%" else unit).to(base or "dimensionless").magnitude
    assert units.parse(f"{number!r}{gap}{OURS.get(unit, unit)}", dimension) == pytest.approx(
        theirs, rel=1e-12, abs=1e-300
    )


def test_decimal_and_binary_are_never_confused():
    assert units.parse("1 GB", "byte") == 10**9
    assert units.parse("1 GiB", "byte") == 2**30
    assert units.parse("8 Gbit", "byte") == 10**9


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("80", "byte"),
        ("80 GB", "byte/s"),
        ("80 GB", "flop/s"),
        ("80 gb", "byte"),
        ("80 Watt", "W"),
        ("80 G B", "byte"),
        ("GB", "byte"),
        ("", "byte"),
        ("1,000 GB", "byte"),
        ("80 GB/", "byte/s"),
        ("80 /s", "Hz"),
        ("nan GB", "byte"),
        ("inf GB", "byte"),
        ("1e999 GB", "byte"),
        ("0x10 GB", "byte"),
        ("1 MiHz", "byte"),
        (True, ""),
        (None, "s"),
        ("3 s", ""),
        ([1], "s"),
    ],
)
def test_what_is_refused(text, dimension):
    with pytest.raises(DovetailError) as caught:
        units.parse(text, dimension, where="memory.capacity")
    assert str(caught.value).startswith("memory.capacity: ")
    assert caught.value.hint


def test_numbers_need_no_text():
    assert units.parse(0.8, "") == 0.8
    assert units.parse(3, "") == 3.0


SHOWN = [
    (80e9, "byte"),
    (3.35e12, "byte/s"),
    (989e12, "flop/s"),
    (700.0, "W"),
    (0.44e-12, "J/flop"),
    (4e-9, "m"),
    (1.98e9, "Hz"),
    (3e-6, "s"),
]


@pytest.mark.parametrize(("value", "dimension"), SHOWN)
def test_what_is_shown_parses_back(value, dimension):
    """Three digits of everything."""
    assert units.parse(units.show(value, dimension), dimension) == pytest.approx(value, rel=5e-3)


@given(
    st.floats(1e-12, 1e15), st.sampled_from(["byte", "byte/s", "flop/s", "W", "J", "Hz", "J/byte"]), st.integers(3, 9)
)
def test_shown_numbers_keep_their_digits(value, dimension, digits):
    shown = units.show(value, dimension, digits)
    assert units.parse(shown, dimension) == pytest.approx(value, rel=10.0 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (3.35e12, "byte/s", "3.35 TB/s"),
        (0, "s", "0 s"),
        (120.0, "s", "120 s"),
        (0.0312, "s", "31.2 ms"),
        (2.99 / 3600, "USD/s", "$2.99/h"),
        (0.5, "USD", "$0.5"),
        (12345.0, "tok/s", "12,345 tok/s"),
        (0.25, "", "0.25"),
        (math.nan, "s", "–"),
        (math.inf, "s", "∞"),
        (-math.inf, "s", "−∞"),
        (0.44e-12, "J/flop", "0.44 pJ/FLOP"),
        (814.0, "mm2", "814 mm2"),
        (999.9, "W", "1 kW"),
    ],
)
def test_shown(value, dimension, text):
    assert units.show(value, dimension) == text
