"""The base of every config class: frozen, strict, unknown keys are errors that say which keys there are."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def explain(error: ValidationError, type_of: type[Any]) -> str:
    """Every problem in one line each, with the keys that exist where one is unknown."""
    lines = []
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"there is no such key; there is: {', '.join(_fields(type_of, problem['loc']))}"
        lines.append(
            f"{key}: {text} (found {problem['input']!r})" if problem["type"] != "missing" else f"{key}: missing"
        )
    return "; ".join(lines)


def _fields(model: Any, where: tuple[Any, ...]) -> list[str]:
    """The keys of the section in which `where` lies."""
    for part in where[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            continue
        model = next(
            (a for a in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_model(a)), model
        )
    return sorted(model.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)
