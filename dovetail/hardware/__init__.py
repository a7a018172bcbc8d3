"""Machines: chips, hosts and software stacks from YAML files whose every number has a unit and a source."""

from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.load import load_machine, machine_names, machines
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source, Stack

__all__ = [
    "Efficiency",
    "Machine",
    "MemoryLevel",
    "Source",
    "Stack",
    "load_machine",
    "machine_names",
    "machine_to_yaml",
    "machines",
]
