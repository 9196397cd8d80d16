"""Compiles the native decoding step while pip builds, for a wheel and for an editable install.

Without a compiler the build goes on: torch decodes then, and muse-doctor says so.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeStepHook(BuildHookInterface):  # type: ignore[type-arg]
    """The hook that hatchling calls."""

    def dependencies(self) -> list[str]:
        """Return the compiler, if there is something to compile: it is 90 MB to download."""
        compiling = self._compiling()
        if compiling.library_path().is_file() or not compiling.is_supported():
            return []
        return [compiling.ZIGLANG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the step beside its source, from where an editable install loads it, and add it to a wheel."""
        compiling = self._compiling()
        try:
            path: Path = compiling.compile_step()
        except compiling.CompilationError as error:
            self.app.display_warning(f"without the native decoding step: {error}")
            return
        if version != "editable":
            build_data["force_include"][str(path)] = f"muse_shortcut/native/{path.name}"
            build_data["pure_python"] = False
            # Any Python of this platform can load it.
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _compiling(self) -> ModuleType:
        # By its path: importing the package would import its dependencies.
        specification = importlib.util.spec_from_file_location(
            "compiling", Path(self.root, "muse_shortcut", "native", "compiling.py")
        )
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module
