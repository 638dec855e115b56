"""A bundle's own Python modules, importable while that bundle is loaded or runs, and at no other time.

Zoo bundles call their package ``scripts``, all of them: two in one worker must not see each other's.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

NEVER = (
    frozenset({"dicom_node", "fhir", "models", "orthanc", "pipeline", "monai", "torch", "numpy"})
    | sys.stdlib_module_names
)
"""Names that a bundle's modules never take the place of; every bundle has a folder ``models``."""
_one_at_a_time = threading.RLock()
"""sys.path and sys.modules are those of the process: one bundle at a time has its modules there."""


class Scripts:
    """The modules of the bundle in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Put the bundle's modules in the place of others of their names; afterwards put those back."""
        with _one_at_a_time:
            names = self._names()
            others = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
            for name in others:
                del sys.modules[name]
            sys.modules.update(self._modules)
            sys.path.insert(0, str(self._folder))
            importlib.invalidate_caches()
            try:
                yield
            finally:
                sys.path.remove(str(self._folder))
                self._modules = {name: sys.modules.pop(name) for name in list(sys.modules) if self._owns(name, names)}
                sys.modules.update(others)
                importlib.invalidate_caches()

    def _names(self) -> frozenset[str]:
        """The top-level modules that the folder offers: files and folders that hold Python files."""
        files = {path.stem for path in self._folder.glob("*.py")}
        packages = {path.name for path in self._folder.iterdir() if path.is_dir() and any(path.glob("*.py"))}
        return frozenset(files | packages) - NEVER

    @staticmethod
    def _owns(name: str, names: frozenset[str]) -> bool:
        return name.partition(".")[0] in names
