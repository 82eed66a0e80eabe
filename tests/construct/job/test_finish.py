"""What the end of a build reports, from stage folders that hold two examples."""

from types import SimpleNamespace

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job.finish import _errors
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.records import from_example
from persona_rm.construct.split.sides import SplitConfig
from persona_rm.construct.stages.shards import Shards
from persona_rm.construct.stages.split_stage import split_examples
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Example, Persona, Ugc

SMALL = PreferenceSpace("small", load_space("alignx90").dimensions[:2])
CONFIG = ConstructConfig(split=SplitConfig(test=0.5, near_duplicates=None))


def errors_of(folder, users):
    shards = Shards(folder / "mix")
    (folder / "mix").mkdir(parents=True)
    (folder / "split").mkdir()
    for side, user in users.items():
        persona = Persona(user, (Ugc(f"{side} post", f"{side} comment", (1, 0)),))
        example = Example(side, f"{side} prompt", f"{side} chosen", f"{side} rejected", (1, 0), persona)
        shards.add(side, from_example(example))
    shards.close()
    split_examples(folder / "mix", CONFIG, SMALL, 0, folder / "split")
    return list(_errors(Stages(folder), {}, SimpleNamespace(config=CONFIG)))


def test_a_leak_is_an_error_of_the_card_that_names_it(tmp_path):
    assert errors_of(tmp_path / "clean", {"train": "u1", "test": "u2"}) == []
    (error,) = errors_of(tmp_path / "leak", {"train": "u1", "test": "u1"})
    assert error == "train and test share something (user: 1); `persona-rm leakage` shows it"
