"""A bundle of people with evidence, and a store behind it."""

from persona_rm.bundle import User, write_bundle
from persona_rm.inferrers.evidence import Item
from persona_rm.types import Persona, Ugc
from tests.profiles.store_samples import new_store

SOME = 3
"""So many items that agree are enough for a direction."""
STORE = "sqlite:people.sqlite"


def votes(space, dim, way=1):
    return tuple(way * int(i == dim) for i in range(len(space)))


def items(space, dim, name="item", n=SOME):
    """Evidence for the positive pole of one dimension."""
    return [Item(f"{name} {dim} {i}", "ugc", votes(space, dim)) for i in range(n)]


def user(space, name, dim, group="all"):
    return User(Persona(name, ugc=tuple(Ugc("q", f"{name} {i}", votes(space, dim)) for i in range(SOME))), group)


def users_bundle(folder, space, n=2, **keys):
    """u0, u1, ... who like dimensions 0, 1, ...; and "given", whose direction on dimension 5 is not inferred."""
    people = [user(space, f"u{i}", i % len(space), ("cats", "dogs")[i % 2]) for i in range(n)]
    given = User(Persona("given", directions=votes(space, 5)))
    keys = {"method": {"name": "contrast"}, "profiles": STORE, **keys}
    if keys["profiles"] == STORE:
        new_store(folder, STORE.removeprefix("sqlite:"))
    return write_bundle(folder, [*people, given], relative_to=folder, **keys)
