"""The door through which all code reaches torchaudio.

torchaudio's wheel carries a compiled extension that links CUDA libraries. Beside a CPU-only torch
they are absent, the extension cannot be loaded, and `import torchaudio` fails as a whole, although
what is used here (mel filter banks, spectrograms, resampling) is plain Python on torch. While
torchaudio is imported beside such a torch, its own question "is the extension there?" is answered
with no: the same answer that it gets where the extension was never built. No file is touched, and
beside a torch with CUDA or ROCm nothing is changed at all.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from visage.errors import SpecError

__all__ = ["load_torchaudio"]

_LIBRARY_LOADER = "torchaudio._extension.utils"
_lock = threading.Lock()


def load_torchaudio() -> ModuleType:
    """The torchaudio module, with its compiled extension where torch can carry it.

    Raises SpecError if torchaudio is not installed.
    """
    import torch

    with _lock:
        loaded = sys.modules.get("torchaudio")
        if loaded is not None:
            return loaded
        if importlib.util.find_spec("torchaudio") is None:
            raise SpecError(
                "torchaudio is not installed; install it in the version of pyproject.toml"
            )
        if torch.version.cuda is not None or torch.version.hip is not None:
            return importlib.import_module("torchaudio")
        return _import_without_extension()


def _import_without_extension() -> ModuleType:
    # A failed plain import leaves submodules behind; they would bypass the guard.
    # A copy, for other threads import meanwhile.
    for name in [name for name in list(sys.modules) if name.startswith("torchaudio.")]:
        sys.modules.pop(name, None)
    guard = _ExtensionGuard()
    sys.meta_path.insert(0, guard)
    try:
        return importlib.import_module("torchaudio")
    finally:
        sys.meta_path.remove(guard)


class _ExtensionGuard(MetaPathFinder):
    """Finds the one module that loads shared libraries, and hands it out tamed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the library loader with a tamed loader; None for every other module."""
        if fullname != _LIBRARY_LOADER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _TamedLoader(spec.loader)
        return spec


class _TamedLoader(Loader):
    """Runs the original module, then lets it find no library."""

    def __init__(self, original: Loader) -> None:
        self._original = original

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the original."""
        return self._original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the original, then replace what looks for libraries."""
        self._original.exec_module(module)
        module.__dict__["_load_lib"] = _no_library


def _no_library(library: str) -> bool:
    return False
