"""User-level rewards for an RLHF stack that a team already runs.

The names below are the public interface. They are loaded when they are first used, so `import persona_rm` is cheap and
needs none of the optional packages.

    from persona_rm import RewardRequest, load_bundle
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persona_rm.annotators import ANNOTATORS
    from persona_rm.annotators.base import Annotator
    from persona_rm.backends.base import Backends
    from persona_rm.benchmarks import BENCHMARKS
    from persona_rm.benchmarks.base import Benchmark
    from persona_rm.bundle import Bundle, load_bundle, write_bundle
    from persona_rm.config import Config
    from persona_rm.errors import (
        DataError,
        HostError,
        MemberError,
        MissingExtra,
        PersonaRMError,
        RecipeError,
        ScoreError,
        UnknownName,
    )
    from persona_rm.features import FEATURES
    from persona_rm.hosts import HOSTS
    from persona_rm.inferrers import INFERRERS
    from persona_rm.inferrers.base import Inferrer, Posterior, StatefulInferrer
    from persona_rm.methods import METHODS
    from persona_rm.methods.base import Method, PromptedMethod
    from persona_rm.profiles import open_store
    from persona_rm.recipe import Recipe, load_recipe
    from persona_rm.registry import Registry
    from persona_rm.serving.client import RewardClient
    from persona_rm.sources import SOURCES
    from persona_rm.sources.base import Source
    from persona_rm.space import PreferenceSpace, load_space
    from persona_rm.types import (
        Comment,
        Comparison,
        Example,
        Pair,
        Persona,
        RewardRequest,
        RewardResult,
        RewardStep,
        RewardTrace,
        Thread,
        Ugc,
        UserState,
    )
    from persona_rm.users.read_file import UsersData, read_users_data
    from persona_rm.users.users_file import User, read_users

__version__ = "0.1.0"

_MODULES = {
    "persona_rm.annotators": ("ANNOTATORS",),
    "persona_rm.annotators.base": ("Annotator",),
    "persona_rm.backends.base": ("Backends",),
    "persona_rm.benchmarks": ("BENCHMARKS",),
    "persona_rm.features": ("FEATURES",),
    "persona_rm.benchmarks.base": ("Benchmark",),
    "persona_rm.bundle": ("Bundle", "load_bundle", "write_bundle"),
    "persona_rm.config": ("Config",),
    "persona_rm.errors": (
        "DataError", "HostError", "MemberError", "MissingExtra", "PersonaRMError", "RecipeError", "ScoreError",
        "UnknownName",
    ),
    "persona_rm.hosts": ("HOSTS",),
    "persona_rm.inferrers": ("INFERRERS",),
    "persona_rm.inferrers.base": ("Inferrer", "Posterior", "StatefulInferrer"),
    "persona_rm.methods": ("METHODS",),
    "persona_rm.methods.base": ("Method", "PromptedMethod"),
    "persona_rm.profiles": ("open_store",),
    "persona_rm.recipe": ("Recipe", "load_recipe"),
    "persona_rm.registry": ("Registry",),
    "persona_rm.serving.client": ("RewardClient",),
    "persona_rm.sources": ("SOURCES",),
    "persona_rm.sources.base": ("Source",),
    "persona_rm.space": ("PreferenceSpace", "load_space"),
    "persona_rm.types": (
        "Comment", "Comparison", "Example", "Pair", "Persona", "RewardRequest", "RewardResult", "RewardStep",
        "RewardTrace", "Thread", "Ugc", "UserState",
    ),
    "persona_rm.users.read_file": ("UsersData", "read_users_data"),
    "persona_rm.users.users_file": ("User", "read_users"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ANNOTATORS", "BENCHMARKS", "FEATURES", "HOSTS", "INFERRERS", "METHODS", "SOURCES",
    "Annotator", "Backends", "Benchmark", "Bundle", "Comment", "Comparison", "Config", "DataError", "Example",
    "HostError", "Inferrer", "MemberError", "Method", "MissingExtra", "Pair", "Persona", "PersonaRMError",
    "Posterior", "PreferenceSpace", "PromptedMethod", "Recipe", "RecipeError", "Registry", "RewardClient",
    "RewardRequest", "RewardResult", "RewardStep", "RewardTrace", "ScoreError", "Source", "StatefulInferrer",
    "Thread", "Ugc", "UnknownName", "User", "UserState", "UsersData",
    "load_bundle", "load_recipe", "load_space", "open_store", "read_users", "read_users_data", "write_bundle",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name from its module at the first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'persona_rm' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
