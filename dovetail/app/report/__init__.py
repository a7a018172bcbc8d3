"""The report: one offline HTML file, and its twin in the terminal."""

from dovetail.app.report.data import (
    Commands,
    Crossover,
    CrossoverSeries,
    Measured,
    MeasuredRow,
    Memory,
    MemoryBar,
    Pareto,
    ParetoPoint,
    Report,
    Roof,
    Roofline,
    RooflinePoint,
    Section,
    Summary,
    Table,
)
from dovetail.app.report.page import render, write_report

__all__ = [
    "Commands",
    "Crossover",
    "CrossoverSeries",
    "Measured",
    "MeasuredRow",
    "Memory",
    "MemoryBar",
    "Pareto",
    "ParetoPoint",
    "Report",
    "Roof",
    "Roofline",
    "RooflinePoint",
    "Section",
    "Summary",
    "Table",
    "render",
    "write_report",
]
