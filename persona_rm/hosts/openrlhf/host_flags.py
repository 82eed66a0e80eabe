"""The flags that the installed OpenRLHF takes, read from the source of its command, and what is wrong in a command.

The parsers of cli/train_ppo_ray.py and cli/train_dpo.py are built below `if __name__ == "__main__"`, so they cannot be
imported. Their calls of `add_argument` hold literals, which are read without running anything of the host.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from persona_rm.config import did_you_mean
from persona_rm.errors import HostError
from persona_rm.hosts.command_records import CommandFault, OwnCommand, TrainerKind

MODULES: Mapping[TrainerKind, str] = {"ppo": "train_ppo_ray", "dpo": "train_dpo"}
TYPES: Mapping[str, type] = {"int": int, "float": float}
"""Types whose values can be wrong. Every text is right for the others."""
SWITCHES = ("store_true", "store_false")


@dataclass(frozen=True, slots=True)
class HostFlag:
    """One flag of a trainer, as its parser has it."""

    name: str
    """Dotted, without dashes."""
    kind: str = "str"
    switch: bool = False
    """It takes no value."""
    choices: tuple[str, ...] = ()
    several: bool = False
    """It takes more than one value."""


@cache
def known_flags(trainer: TrainerKind) -> Mapping[str, HostFlag]:
    """Name -> flag of the installed trainer. Raises `HostError` if none is installed, or none of its flags is read."""
    spec = find_spec("openrlhf")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    source = next((file for one in folders if (file := Path(one) / "cli" / f"{MODULES[trainer]}.py").is_file()), None)
    if source is None:
        raise HostError("openrlhf is not installed here, so the command's flags are not checked")
    known = {flag.name: flag for flag in _flags_in(source)}
    if not known:
        raise HostError(f"no flag could be read in {source}, so the command's flags are not checked")
    return known


def flag_faults(command: OwnCommand) -> list[CommandFault]:
    """Every flag of the command that the trainer refuses or does not know. Raises as `known_flags` does."""
    known = known_flags(command.trainer)
    faults = []
    for name, value in command.args.items():
        flag = known.get(name) or _abbreviated(name, known)
        if flag is None:
            what = f"--{name} is no flag of {MODULES[command.trainer]}{_near(name, known)}"
            faults.append(CommandFault(name, what, "The trainer ends at once with an unknown flag: correct it"))
        elif problem := _value_fault(flag, value):
            faults.append(CommandFault(name, f"--{flag.name}: {problem}", "Correct the value"))
    return faults


def _flags_in(source: Path) -> Iterator[HostFlag]:
    main = next(
        (node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.If)), None
    )
    for call, names in _calls(main.body if main else [], {}):
        given = {word.arg: word.value for word in call.keywords}
        kind, choices = given.get("type"), _literal(given.get("choices")) or ()
        for arg in call.args:
            yield HostFlag(
                _text(arg, names).removeprefix("--"),
                kind.id if isinstance(kind, ast.Name) else "str",
                _literal(given.get("action")) in SWITCHES,
                tuple(map(str, choices)),
                "nargs" in given,
            )


def _calls(statements: list[ast.stmt], names: Mapping[str, str]) -> Iterator[tuple[ast.Call, Mapping[str, str]]]:
    """The calls of `add_argument`, each with the names that a loop around it gives their values."""
    for node in statements:
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            for value in _literal(node.iter) or ():
                yield from _calls(node.body, {**names, node.target.id: str(value)})
            continue
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            yield call, names


def _text(node: ast.expr, names: Mapping[str, str]) -> str:
    """A text, or a formatted one whose parts are texts and names."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        return names.get(node.value.id, "")
    return str(_literal(node))


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:  # an expression
        return None


def _abbreviated(name: str, known: Mapping[str, HostFlag]) -> HostFlag | None:
    """The flag that a beginning of its name stands for, as argparse takes it; None if there is not exactly one."""
    longer = [flag for whole, flag in known.items() if whole.startswith(name)]
    return longer[0] if len(longer) == 1 else None


def _near(name: str, known: Mapping[str, HostFlag]) -> str:
    """The flag that is meant: one with the same last part (older releases had no dots), or a similar name."""
    last = name.rpartition(".")[2]
    same = [whole for whole in known if whole.rpartition(".")[2] == last]
    if len(same) == 1:
        return f"; did you mean --{same[0]}?"
    if same:
        return f"; did you mean one of --{', --'.join(same)}?"
    return did_you_mean(name, known)


def _value_fault(flag: HostFlag, value: Any) -> str:
    """What is wrong with a value; "" if nothing."""
    values = value if isinstance(value, list) else [value]
    if flag.switch:
        return "" if value is True else f"it is a switch, which takes no value; found {' '.join(map(str, values))!r}"
    if value is True:
        return "it needs a value"
    if len(values) > 1 and not flag.several:
        return f"it takes one value, found {len(values)}; quote a value that holds spaces"
    for one in values:
        if flag.choices and str(one) not in flag.choices:
            return f"{one!r} is none of {', '.join(flag.choices)}{did_you_mean(str(one), flag.choices)}"
        if flag.kind in TYPES:
            try:
                TYPES[flag.kind](one)
            except ValueError:
                return f"{one!r} is no {flag.kind}"
    return ""
