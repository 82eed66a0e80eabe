"""Construction with a language model in our own Ray actors: real vLLM annotates and describes."""

from importlib.resources import files

import pytest

from persona_rm.construct.config import ConstructConfig, DemoConfig
from persona_rm.construct.job import AnnotatorSpec, BuildJob, build
from persona_rm.construct.pairing.rules import demo
from persona_rm.io.alignx_format import read_examples
from persona_rm.sources import SOURCES

ENGINE = {
    "model": str(files("persona_rm") / "assets" / "simulator_lm"), "dtype": "float32", "max_model_len": 4096,
    "gpu_memory_utilization": 0.15, "enforce_eager": True,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_vllm_annotates_and_describes_inside_ray_actors(space, tmp_path):
    """The packaged model has read no instructions: what it says is noise in the form that was asked for, which is
    enough to see that levels come from its answers, and that a description which does not agree is not taken."""
    cls = SOURCES.load("simulator")
    source = cls(cls.Config(users=20, test_users=2, posts=12), space)
    annotator = AnnotatorSpec("llm", {"engine": ENGINE, "form": "json", "examples": False, "max_answer_tokens": 512})
    config = ConstructConfig(
        min_items=1,
        threshold=0.3,
        max_errors=1.0,
        shard=24,
        demo=DemoConfig(by="llm", generator=ENGINE, max_tokens=96),
    )
    result = build(BuildJob(source, annotator, config, space, 0, tmp_path, "asked"))
    card = result.card
    assert card["rows"]["examples"] > 0
    assert 0 < card["levels"]["shares"]["none"] < 1
    assert 0 < card["annotation"]["mean confidence"] <= 1
    said = {name: n for name, n in card["annotation"].items() if name.startswith("demo ")}
    assert sum(said.values()) == card["rows"]["examples"]
    for example in read_examples(tmp_path / "data" / "train-*", space):
        assert example.persona.demo
        if "demo by the model" not in said:
            assert example.persona.demo == demo(example.directions, space)
