"""One call that erases a user from a folder: a bundle, a run, or a folder that holds several.

Tombstones come first, so that a server that runs knows from its next request on that the user is unknown, and drops
what it keeps in memory. Then stores, and every file below the folder. Last, all files are searched again, so that what
is left is reported and not assumed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persona_rm.bundle.bundle_file import ERASED, YAML, path_in
from persona_rm.bundle.load import read_file, users_in
from persona_rm.errors import DataError, PersonaRMError
from persona_rm.io.log_ids import KEY_FILE, LogIds
from persona_rm.io.text import counted
from persona_rm.io.user_ids import NEAR, near_user
from persona_rm.io.yaml_file import read_yaml
from persona_rm.pipeline.erasure.erased_files import WEIGHTS, still_says, take_out
from persona_rm.pipeline.erasure.erased_user import ErasedUser
from persona_rm.profiles import ENDINGS, ProfileStore, open_store
from persona_rm.profiles.arrow import BESIDE, ArrowSnapshot, write_snapshot
from persona_rm.profiles.base import today
from persona_rm.profiles.tombstones import Tombstones, sha256_of

OUTSIDE = (
    "weights that were fitted or trained with this user (those in this folder are named above): fit them again",
    "statistics of all users together, into which this user's rewards went",
    "copies outside of this folder: backups, snapshots of the disk or of Redis, caches of data sets, TensorBoard",
    "the trainer's own logs and checkpoints, and what a terminal or a log collector kept",
    "the memory of a running server until its next request",
)
"""What no command can reach from here."""


@dataclass
class ErasureReport:
    """What was done about one user."""

    user: str
    logged_as: list[str] = field(default_factory=list)
    """What the logs in the folder write for the id, under each of their keys."""
    removed: dict[str, str] = field(default_factory=dict)
    """Place -> what was removed there."""
    left: dict[str, str] = field(default_factory=dict)
    """File -> what it still says about the user. Nothing changes such files automatically."""
    weights: list[str] = field(default_factory=list)
    """Folders with weights that may have been fitted with this user."""
    problems: list[str] = field(default_factory=list)
    """What could not be erased, and why. The same command tries again."""
    erased_before: str | None = None
    """The date of an earlier erasure."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, with what lies outside of the reach of the command."""
        return {**vars(self), "outside": list(OUTSIDE)}


def erase_user(folder: Path, user_id: str, *, dry_run: bool = False) -> ErasureReport:
    """Erase the user from the folder and everything that its bundles name. `dry_run`: only say where the user is.

    Raises `DataError` if there is no such folder, or if the user is nowhere in it.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder; name a bundle or a run", file=folder)
    work = _Erasure(folder.resolve(), user_id)
    work.look()
    if not dry_run:
        work.erase()
        work.look_again()
    return work.report


class _Erasure:
    """The steps on one folder."""

    def __init__(self, folder: Path, user_id: str) -> None:
        self.folder, self.report = folder, ErasureReport(user_id)
        keys = [LogIds.existing(path.parent) for path in sorted(folder.rglob(KEY_FILE))]
        self.user = ErasedUser(user_id, [ids.of(user_id) for ids in keys if ids is not None])
        self.report.logged_as = sorted(self.user.names - {user_id})
        self.bundles = {path.parent: read_file(path.parent) for path in sorted(folder.rglob(YAML))}
        self.stores = self._stores()

    def look(self) -> None:
        """Where the user is now. Raises `DataError` if that is nowhere."""
        self.report.left = self._still()
        dates = [Tombstones(bundle / ERASED).dates() for bundle in self.bundles]
        sha256 = sha256_of(self.user.user)
        earlier = [date[sha256] for date in dates if sha256 in date]
        for where, store in self.stores.items():
            with store:
                if store.get([self.user.user]):
                    self.report.left[where] = "has a state of the user"
                earlier += store.erased([self.user.user]).values()
        self.report.erased_before = min(earlier, default=None)
        if not self.report.left and not earlier:
            problem = f"user {self.user.user!r} is nowhere in this folder, so nothing was erased"
            raise DataError(f"{problem}{near_user(self.user.user, self._known())}", file=self.folder)
        for where, names in {**self.report.left}.items():
            if names and Path(where).suffix in WEIGHTS:
                del self.report.left[where]

    def erase(self) -> None:
        """Tombstones, stores, files."""
        for bundle in self.bundles:
            Tombstones(bundle / ERASED).add({sha256_of(self.user.user): today()})
        for where, store in self.stores.items():
            self._try(where, "state", lambda store=store: _erase_from(store, self.user.user))
        for path in self._files():
            if not path.is_symlink():
                self._try(str(path), "record", lambda path=path: take_out(path, self.user))

    def look_again(self) -> None:
        """What is left."""
        self.report.left = self._still()
        self.report.weights = sorted({str(path.parent) for path in self.folder.rglob("*") if path.suffix in WEIGHTS})

    def _try(self, where: str, what: str, erase: Any) -> None:
        """One place. A failure is reported and the other places are erased all the same."""
        try:
            if n := erase():
                self.report.removed[where] = counted(n, what)
        except (PersonaRMError, OSError) as error:
            self.report.problems.append(f"{where}: {error}")

    def _stores(self) -> dict[str, ProfileStore]:
        """Every store that a bundle names or that lies in the folder, by its location."""
        urls = [file.profiles for file in self.bundles.values() if file.profiles]
        urls += [f"arrow:{path}" for path in self._fitted()]
        inside = [path for path in sorted(self.folder.rglob("*")) if path.suffix in ENDINGS and path.is_file()]
        urls += [f"{ENDINGS[path.suffix]}:{path}" for path in inside if _is_store(path)]
        stores: dict[str, ProfileStore] = {}
        for url in urls:
            store = open_store(url)
            stores.setdefault(str(getattr(store, "path", store.where)), store)
            # Each is opened again when it is its turn, so that no connection stays in between.
            store.close()
        return stores

    def _fitted(self) -> list[Path]:
        given = [(folder, file.fitted_states) for folder, file in self.bundles.items()]
        return [path_in(folder, states) for folder, states in given if states is not None]

    def _files(self) -> list[Path]:
        """Every file below the folder and every users file that a bundle names, without stores and tombstones."""
        named = [path_in(folder, file.users).resolve() for folder, file in self.bundles.items()]
        every = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        own = {*self.stores, *(f"{where}{end}" for where in self.stores for end in ("-wal", "-shm", BESIDE))}
        skipped = {ERASED, KEY_FILE}
        return [path for path in dict.fromkeys([*named, *every]) if path.name not in skipped and str(path) not in own]

    def _still(self) -> dict[str, str]:
        """The files that say something about the user, those outside that a recipe or a bundle names included."""
        left = {}
        for path in dict.fromkeys([*self._files(), *self._named_outside()]):
            try:
                if says := still_says(path, self.user):
                    left[str(path)] = says
            except (PersonaRMError, OSError, EOFError, ValueError) as error:
                left[str(path)] = f"cannot be searched ({type(error).__name__}): look for the user yourself"
        return left

    def _named_outside(self) -> Iterator[Path]:
        """Files elsewhere that recipes and bundles in the folder name, such as a team's own users file."""
        for path in sorted(self.folder.rglob("*.yaml")):
            for text in _texts(read_yaml(path)):
                named = path.parent / text
                if len(text) < NEAR and "\0" not in text and named.is_absolute() and named.is_file():
                    yield named.resolve()

    def _known(self) -> Iterator[str]:
        for folder, file in self.bundles.items():
            yield from (user.persona.user_id for user in users_in(folder, file))


def _erase_from(store: ProfileStore, user: str) -> int:
    """Remove the state and leave a tombstone. A snapshot is written again, so that no byte of the state stays."""
    with store:
        there = store.erase([user])
        if isinstance(store, ArrowSnapshot) and there:
            ids = list(store.ids())
            write_snapshot(store.path, store.get(ids).values())
        return there


def _is_store(path: Path) -> bool:
    """True if the file is a profile store; a data set may have the same ending."""
    try:
        open_store(f"{ENDINGS[path.suffix]}:{path}").close()
    except PersonaRMError:
        return False
    return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
