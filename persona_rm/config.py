"""The base of every config class: frozen, strict, unknown keys are errors that say which keys there are."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class PathMark:
    """Marks a field that holds a path. With `or_name` it may also hold a packaged name."""

    or_name: bool = False


PathText = Annotated[str, PathMark()]
"""The path of a file or folder. In a bundle it is relative to the folder of the bundle."""
NameOrPath = Annotated[str, PathMark(or_name=True)]
"""A packaged name, or the path of a file. In a bundle the path is relative to the folder of the bundle."""
PathChange = Callable[[str, PathMark], str]


class KeyProblem(NamedTuple):
    """What is wrong with one key, which is dotted; "" is the whole config."""

    key: str
    text: str


def problems(error: ValidationError, model: type[Any]) -> list[KeyProblem]:
    """Every problem that pydantic found in a config of class `model`.

    Unknown keys come first and name the keys that exist: a misspelt required key is also reported as missing, and the
    misspelling is what the user has to see.
    """
    unknown, others = [], []
    for detail in error.errors():
        key = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            keys = _keys_beside(model, detail["loc"])
            hint = did_you_mean(str(detail["loc"][-1]), keys)
            text = f"there is no such key; there is: {', '.join(keys)}{hint} (found {detail['input']!r})"
            unknown.append(KeyProblem(key, text))
        elif detail["type"] == "missing":
            others.append(KeyProblem(key, "missing"))
        else:
            text = detail["msg"].removeprefix("Value error, ")
            # The message of a validator that looked into a section names what it found there itself.
            looked_inside = detail["type"] == "value_error" and isinstance(detail["input"], dict | list)
            others.append(KeyProblem(key, text if looked_inside else f"{text} (found {detail['input']!r})"))
    return [*unknown, *others]


def explain(error: ValidationError, type_of: type[Any]) -> str:
    """Every problem, as "key: what is wrong", in one line."""
    return "; ".join(f"{key}: {text}" for key, text in problems(error, type_of))


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown word: "; did you mean 'method'?", or "" if no choice is close."""
    close = get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _keys_beside(model: Any, where: tuple[Any, ...]) -> list[str]:
    """The keys of the section in which the key at `where` lies."""
    for part in where[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        # Positions in a list and members of a union are parts of the place, and no fields.
        if field is None:
            continue
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((one for one in candidates if isinstance(one, type) and issubclass(one, Config)), model)
    return sorted(model.model_fields)


def map_paths(model: type[Config], values: Mapping[str, Any], change: PathChange) -> dict[str, Any]:
    """The values of a config of class `model`, as YAML has them, with `change` applied to every path in them."""
    changed = dict(values)
    for key, field in model.model_fields.items():
        value = changed.get(key)
        # `PathText | None` keeps the mark at the member of the union, `PathText` at the field.
        members = [field.annotation, *get_args(field.annotation)]
        marks = [*field.metadata]
        for member in members:
            if get_origin(member) is Annotated:
                marks += member.__metadata__
        for mark in marks:
            if isinstance(mark, PathMark) and isinstance(value, str):
                changed[key] = change(value, mark)
        nested = next((one for one in members if isinstance(one, type) and issubclass(one, Config)), None)
        if nested is not None and isinstance(value, Mapping):
            changed[key] = map_paths(nested, value, change)
    return changed


def absolute_in(folder: Path) -> PathChange:
    """Make paths absolute that are relative to `folder`. A packaged name stays as it is unless such a file exists."""

    def change(text: str, mark: PathMark) -> str:
        path = (folder / Path(text).expanduser()).resolve()
        return text if mark.or_name and not path.exists() else str(path)

    return change


def relative_in(folder: Path) -> PathChange:
    """Make absolute paths that lie in `folder` relative to it, so that the folder can be moved."""
    root = folder.resolve()

    def change(text: str, _mark: PathMark) -> str:
        path = Path(text).expanduser()
        inside = path.is_absolute() and path.resolve().is_relative_to(root)
        return path.resolve().relative_to(root).as_posix() if inside else text

    return change
