"""Compile the kernels while dovetail is installed; where no compiler is, they are compiled or done without later."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("dovetail", "runtime", "kernels")


class CustomBuildHook(BuildHookInterface):
    """A wheel with the library in it is for this kind of computer, and for any Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library into the package folder, and put it into the wheel unless that is editable."""
        building, here = _building(Path(self.root)), FOLDER / "_build"
        try:
            library = building.build(Path(self.root) / here)
        except building.CannotBuildError as error:
            self.app.display_warning(f"dovetail installs without its kernels for packed weights: {error}")
            return
        if version != "editable":
            build_data["force_include"][str(library)] = str(here / library.name)
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _building(root: Path) -> ModuleType:
    """``build.py`` by its path: what it imports of the package needs none of the dependencies, which are not there."""
    if str(root) not in sys.path:
        sys.path.append(str(root))
    spec = importlib.util.spec_from_file_location("dovetail_kernels_build", root / FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module
