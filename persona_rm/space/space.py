"""A preference space is a YAML file: a new dimension, or another space, is data and needs no code.

AlignX's space (paper, Table 6 and appendix A.3) is `alignx90`: 40 psychological, 7 alignment and 43 interest
dimensions. The positive pole is the first answer of the annotation question, not the nicer one (of age it is Young).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from persona_rm.errors import DataError
from persona_rm.types import Directions

IN_FILE = {-1: 0, 0: 0.5, 1: 1}
"""From a direction to the number that AlignX files write."""
FROM_FILE = {value: direction for direction, value in IN_FILE.items()}


@dataclass(frozen=True, slots=True)
class Pole:
    """One end of a dimension."""

    answer: str
    """The annotator's answer, e.g. "High"."""
    label: str
    """What published files and prompts write, e.g. "High Neuroticism"."""
    wording: str
    """A clause about a user: "is outgoing"."""
    descriptions: tuple[str, ...]
    """Sentences in the first person that users at this pole would write, for encoders."""
    aliases: tuple[str, ...] = ()
    """Other labels that files use for it."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that users differ in."""

    id: str
    name: str
    """As in the paper's Table 6."""
    source: str
    """"psychology", "alignment" or "interest" in alignx90; any word in another space."""
    question: str
    """The annotation question; answers (1) positive, (2) negative, (3) cannot reflect."""
    positive: Pole
    negative: Pole

    def pole(self, direction: int) -> Pole | None:
        """The pole that `direction` points to; None for neutral."""
        return {1: self.positive, -1: self.negative}.get(direction)


@dataclass(frozen=True)
class PreferenceSpace:
    """Named dimensions in a fixed order. Directions are tuples of -1 / 0 / 1 in that order."""

    name: str
    dimensions: tuple[Dimension, ...]

    def __len__(self) -> int:
        return len(self.dimensions)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(dimension.id for dimension in self.dimensions)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {id_: position for position, id_ in enumerate(self.ids)}

    @cached_property
    def _labels(self) -> list[tuple[str, int, int]]:
        """(label, position, direction) of every label and alias, longest first."""
        entries = []
        for position, dimension in enumerate(self.dimensions):
            for direction, pole in ((1, dimension.positive), (-1, dimension.negative)):
                entries += [(text, position, direction) for text in (pole.label, *pole.aliases)]
        return sorted(entries, key=lambda entry: -len(entry[0]))

    @property
    def neutral(self) -> Directions:
        """All dimensions neutral."""
        return (0,) * len(self)

    def index(self, id: str) -> int:
        """The position of a dimension. Raises `DataError` for an id that the space lacks."""
        if id not in self._positions:
            raise DataError(f"no dimension {id!r} in space {self.name}; there is: {', '.join(self.ids)}")
        return self._positions[id]

    def describe(self, directions: Sequence[int]) -> str:
        """ "High Neuroticism, Likes sports": the labels of the directions that are not neutral, in order."""
        checked = self._check(directions)
        poles = (dimension.pole(direction) for dimension, direction in zip(self.dimensions, checked, strict=True))
        return ", ".join(pole.label for pole in poles if pole)

    def parse(self, text: str) -> Directions:
        """The inverse of `describe`, in any order and case, aliases accepted.

        Labels may contain commas, so the text is scanned for the longest label that ends at a comma or at the end.
        Raises `DataError` for a part that is no label, for a label that comes twice and for both poles of a dimension.
        """
        directions = [0] * len(self)
        rest = text.strip()
        while rest:
            size, position, direction = self._match(rest)
            if directions[position]:
                what = "twice" if directions[position] == direction else "after its opposite"
                raise DataError(f"space {self.name}: {rest[:size]!r} comes {what} in {text!r}")
            directions[position] = direction
            rest = rest[size:].lstrip().removeprefix(",").lstrip()
        return tuple(directions)

    def _match(self, rest: str) -> tuple[int, int, int]:
        """(length, position, direction) of the longest label at the start of `rest`."""
        for label, position, direction in self._labels:
            size = len(label)
            if rest[size:].lstrip()[:1] in ("", ",") and rest[:size].casefold() == label.casefold():
                return size, position, direction
        raise DataError(f"space {self.name} has no label {rest.split(',')[0].strip()!r} (read at {rest[:80]!r})")

    def to_file(self, directions: Sequence[int]) -> list[float]:
        """Directions as AlignX files write them: 1 / 0.5 / 0."""
        return [IN_FILE[direction] for direction in self._check(directions)]

    def from_file(self, values: Sequence[float]) -> Directions:
        """The inverse of `to_file`. Raises `DataError` for a wrong length or a value other than 0, 0.5 and 1."""
        if not isinstance(values, list | tuple) or len(values) != len(self):
            given = f"{len(values)} values" if isinstance(values, list | tuple) else repr(values)
            raise DataError(f"space {self.name} needs a list of {len(self)} directions, found {given}")
        # The types first, because True equals 1 and would pass the second test.
        if set(map(type, values)) <= {int, float} and set(values) <= FROM_FILE.keys():
            return tuple(map(FROM_FILE.__getitem__, values))
        raise self._wrong(values)

    def _wrong(self, values: Sequence[object]) -> DataError:
        """The error of the first value that is no direction. True is none, although it equals 1."""
        numbers = (isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        fits = [number and value in FROM_FILE for number, value in zip(numbers, values, strict=True)]
        place = fits.index(False)
        return DataError(f"direction {place + 1} ({self.ids[place]}) is {values[place]!r}; it must be 0, 0.5 or 1")

    def _check(self, directions: Sequence[int]) -> Sequence[int]:
        if len(directions) != len(self):
            raise DataError(f"space {self.name} needs {len(self)} directions, found {len(directions)}")
        if wrong := [direction for direction in directions if direction not in IN_FILE]:
            raise DataError(f"space {self.name}: a direction is -1, 0 or 1, found {wrong[0]!r}")
        return directions


def table(space: PreferenceSpace) -> list[dict[str, str]]:
    """One row per dimension, for display: number, id, name, source and the labels of both poles."""
    return [
        {
            "number": str(number),
            "id": dimension.id,
            "name": dimension.name,
            "source": dimension.source,
            "positive": dimension.positive.label,
            "negative": dimension.negative.label,
        }
        for number, dimension in enumerate(space.dimensions, start=1)
    ]
