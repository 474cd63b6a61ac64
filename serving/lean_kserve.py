"""Import KServe without pandas and the Kubernetes client, which a predictor never calls.

That saves 114 MiB of memory (120 instead of 234) and half of the time of the import. KServe uses
these packages only in annotations and in its clients. Stand-ins take their place during the import
and are removed afterwards, so that a later `import pandas` gets pandas.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

UNUSED = ("httpx", "kubernetes", "pandas", "requests", "tabulate")


class _StandIn(ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # A class, so that it can be an annotation, a base, or in isinstance.
        return type(name, (), {})


class _StandInFinder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in UNUSED:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def import_kserve() -> None:
    """Import KServe; afterwards `import kserve` finds it anywhere."""
    if any(name in sys.modules for name in ("kserve", *UNUSED)):
        importlib.import_module("kserve")
        return
    # KServe parses the process's own arguments on import, abbreviations included.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    finder = _StandInFinder()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("kserve")
    finally:
        sys.argv = arguments
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in UNUSED]:
            del sys.modules[name]
