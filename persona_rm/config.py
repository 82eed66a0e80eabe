"""The base of every config class: frozen, strict, unknown keys are errors that say which keys there are."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        if field is None:
            continue
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((one for one in candidates if isinstance(one, type) and issubclass(one, Config)), model)
    return sorted(model.model_fields)
