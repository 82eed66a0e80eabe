"""An import hook that runs a function right after a module was imported."""

from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

Patch = Callable[[ModuleType], None]


class PatchingLoader(Loader):
    """Loads a module with its own loader, then patches it. An exception in the patch makes the import fail."""

    def __init__(self, inner: Loader, patch: Patch) -> None:
        self.inner, self.patch = inner, patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Delegates to the module's own loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module, then patches it. It keeps its own loader, so that tools still find its source."""
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        self.patch(module)


class PostImport(MetaPathFinder):
    """A finder that wraps the loaders of the modules in `patches`. Other imports are not affected."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self.patches = dict(patches)
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the other finders, with a wrapped loader. `_asking` ends the recursion of `find_spec`."""
        if fullname not in self.patches or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = PatchingLoader(spec.loader, self.patches[fullname])
        return spec
