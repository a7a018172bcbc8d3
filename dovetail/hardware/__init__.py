"""Machines: chips, hosts and software stacks from YAML files whose every number has a unit and a source."""

from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.fabric import Level, Transport
from dovetail.hardware.load import load_machine, machine_names, machines, systems
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source, Stack
from dovetail.hardware.systems import system_names

__all__ = [
    "Efficiency",
    "Level",
    "Machine",
    "MemoryLevel",
    "Source",
    "Stack",
    "Transport",
    "load_machine",
    "machine_names",
    "machine_to_yaml",
    "machines",
    "system_names",
    "systems",
]
