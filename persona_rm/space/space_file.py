"""Reads a `PreferenceSpace` from YAML: templates are filled in, an extended space comes first, all is checked.

    name: team
    extends: alignx90            # a packaged name, or a path beside this file
    templates: {...}             # partial dimensions; {name} and {topic} are filled in
    dimensions:
      - {id: likes_chess, name: chess, template: interest}

The fields of a dimension replace those of its template; `descriptions` and `aliases` are added to them.
"""

from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from persona_rm.config import Config
from persona_rm.errors import DataError, UnknownName
from persona_rm.io.text import fill
from persona_rm.io.yaml_file import read_yaml
from persona_rm.space.space import Dimension, Pole, PreferenceSpace

PACKAGED = Path(__file__).parent
MIN_DESCRIPTIONS = 3


class RawPole(Config):
    """A pole as the file has it. What is missing comes from the template."""

    answer: str = ""
    label: str = ""
    wording: str = ""
    descriptions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class RawTemplate(Config):
    """The fields that dimensions of one kind share."""

    source: str = ""
    question: str = ""
    positive: RawPole = RawPole()
    negative: RawPole = RawPole()


class RawDimension(RawTemplate):
    """A dimension as the file has it. `topic` is its name as it reads inside a sentence."""

    id: str
    name: str
    topic: str = ""
    template: str = ""


class RawSpace(Config):
    """A whole file."""

    name: str
    about: str = ""
    extends: str = ""
    templates: dict[str, RawTemplate] = Field(default_factory=dict)
    dimensions: tuple[RawDimension, ...] = ()


def load_space(name_or_path: str | Path = "alignx90") -> PreferenceSpace:
    """The space of a packaged name or of a YAML file. An unchanged file is read once.

    Raises `UnknownName` if there is no such space, and `DataError` naming file and key if the file is malformed.
    """
    path = _find(str(name_or_path), Path())
    return _load(path, path.stat().st_mtime_ns)


@cache
def _load(path: Path, _changed: int) -> PreferenceSpace:
    raw = _flatten(path, ())
    if not raw.dimensions:
        raise DataError("no dimensions: a space needs one or more, its own or those of `extends`", file=path)
    dimensions = tuple(_dimension(dimension, raw.templates, path) for dimension in raw.dimensions)
    _check_unique(dimensions, path)
    return PreferenceSpace(raw.name, dimensions)


def _find(name: str, beside: Path) -> Path:
    packaged = PACKAGED / f"{name}.yaml"
    if packaged.parent == PACKAGED and packaged.is_file():
        return packaged
    if (path := beside / name).is_file():
        return path.resolve()
    names = ", ".join(sorted(file.stem for file in PACKAGED.glob("*.yaml")))
    raise UnknownName(f"no preference space {name!r}: it is neither a file nor one of: {names}")


def _flatten(path: Path, seen: tuple[Path, ...]) -> RawSpace:
    """The file with everything that it extends."""
    if path in seen:
        raise DataError("this space extends itself", file=path, key="extends")
    raw = _read(path)
    if not raw.extends:
        return raw
    base = _flatten(_find(raw.extends, path.parent), (*seen, path))
    templates = {**base.templates, **raw.templates}
    return raw.model_copy(update={"templates": templates, "dimensions": base.dimensions + raw.dimensions})


def _read(path: Path) -> RawSpace:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"a space is a mapping with name and dimensions, found {type(content).__name__}", file=path)
    try:
        return RawSpace.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{first['msg']}, found {first['input']!r}"[:300], file=path, key=key) from error


def _dimension(raw: RawDimension, templates: dict[str, RawTemplate], path: Path) -> Dimension:
    """The dimension with its template filled in. Raises `DataError` for a field that is still missing."""
    if raw.template and raw.template not in templates:
        known = ", ".join(templates) or "none"
        raise DataError(f"no template {raw.template!r}; there is: {known}", file=path, key=f"{raw.id}.template")
    template = templates.get(raw.template, RawTemplate())
    words = {"name": raw.name, "topic": raw.topic or raw.name}
    try:
        dimension = Dimension(
            id=raw.id,
            name=raw.name,
            source=raw.source or template.source,
            question=raw.question or fill(template.question, words),
            positive=_pole(raw.positive, template.positive, words),
            negative=_pole(raw.negative, template.negative, words),
        )
    except DataError as error:
        raise DataError(error.problem, file=path, key=f"templates.{raw.template}") from error
    _check_complete(dimension, path)
    return dimension


def _pole(raw: RawPole, template: RawPole, words: dict[str, str]) -> Pole:
    return Pole(
        answer=raw.answer or fill(template.answer, words),
        label=raw.label or fill(template.label, words),
        wording=raw.wording or fill(template.wording, words),
        descriptions=raw.descriptions + tuple(fill(text, words) for text in template.descriptions),
        aliases=raw.aliases + tuple(fill(text, words) for text in template.aliases),
    )


def _check_complete(dimension: Dimension, path: Path) -> None:
    texts = {"id": dimension.id, "name": dimension.name, "source": dimension.source, "question": dimension.question}
    for side, pole in (("positive", dimension.positive), ("negative", dimension.negative)):
        texts |= {f"{side}.answer": pole.answer, f"{side}.label": pole.label, f"{side}.wording": pole.wording}
        if len(pole.descriptions) < MIN_DESCRIPTIONS:
            problem = f"{len(pole.descriptions)} descriptions; a pole needs {MIN_DESCRIPTIONS} or more"
            raise DataError(problem, file=path, key=f"{dimension.id}.{side}.descriptions")
    for key, text in texts.items():
        if not text:
            raise DataError("missing, here and in the template", file=path, key=f"{dimension.id}.{key}")


def _check_unique(dimensions: tuple[Dimension, ...], path: Path) -> None:
    """Every id and every label must belong to one dimension, or `parse` could not tell them apart."""
    owners: dict[str, str] = {}
    for dimension in dimensions:
        poles = (dimension.positive, dimension.negative)
        labels = [text for pole in poles for text in (pole.label, *pole.aliases)]
        for text in (f"id {dimension.id}", *labels):
            if owner := owners.get(text.casefold()):
                raise DataError(f"{text!r} is already used by {owner}", file=path, key=dimension.id)
            owners[text.casefold()] = dimension.id
