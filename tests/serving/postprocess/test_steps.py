import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.serving.postprocess import Floor, PostprocessConfig, Postprocessor
from persona_rm.types import RewardResult, RewardStep
from tests.serving.postprocess.postprocess_samples import applied, raw

CALM = settings(deadline=None, max_examples=40, database=None)
ORDER = ["shrinkage", "standardise", "mix", "clip", "length", "cut", "floor"]
ALL_ON = {
    "shrinkage": {}, "standardise": "user", "minimum": 2, "mix": {"weight": 0.3, "standardise": True}, "clip": (-2, 2),
    "length": {"coefficient": 0.01, "free": 5}, "cut_penalty": 0.5, "floor": {"below": 0, "reward": -3},
    "monitor": True,
}  # fmt: skip


EVERYTHING = {"n_items": 4, "std": 0.5, "prior": 0.2, "universal": 0.3, "safety": 1.0, "length": 10, "cut": 1.0}
FULL = raw(1.0, **EVERYTHING)


def postprocess(**keys):
    return Postprocessor(PostprocessConfig(**keys))


def one(reward, config, **keys):
    """The reward that is given, and the logs without their prefix."""
    given_, logs = applied(postprocess(**config), raw(reward, **keys))
    return given_, {key.removeprefix("persona_rm/postprocess/"): value for key, value in logs.items()}


def test_all_is_off_by_default_and_then_nothing_is_changed_or_logged():
    assert not PostprocessConfig().on
    assert postprocess().apply(raw(-7.5)) == raw(-7.5)


def test_thin_by_std_is_the_lower_bound():
    assert one(2.0, {"shrinkage": {"c": 0.5}}, std=3.0) == (0.5, {"raw": 2.0, "shrinkage": -1.5, "shrinkage_std": 1.0})


def test_thin_by_items_goes_toward_the_priors_reward():
    config = {"shrinkage": {"k": 6}}
    assert one(2.0, config, prior=1.0, n_items=2) == (1.25, {"raw": 2.0, "shrinkage": -0.75, "shrinkage_std": 0.0})
    assert one(2.0, config, prior=1.0, n_items=0)[0] == 1.0
    assert one(2.0, {"shrinkage": {"by": "items", "k": 6}}, std=3.0, prior=1.0, n_items=6)[0] == 1.5


def test_clip_and_its_effect():
    assert one(5.0, {"clip": (-1, 2)}) == (2.0, {"raw": 5.0, "clip": -3.0})
    assert one(-5.0, {"clip": (-1, 2)})[0] == -1.0
    assert one(0.5, {"clip": (-1, 2)}) == (0.5, {"raw": 0.5, "clip": 0.0})


def test_length_costs_above_what_is_free_and_after_clipping():
    config = {"length": {"coefficient": 0.25, "free": 10}, "clip": (-1, 1)}
    assert one(9.0, config, length=14) == (0.0, {"raw": 9.0, "clip": -8.0, "length": -1.0})
    assert one(0.5, config, length=10)[0] == one(0.5, config, length=0)[0] == 0.5
    assert PostprocessConfig(length={"coefficient": 1, "unit": "characters"}).needs_length == "characters"


def test_mix_on_the_scale_that_is_given():
    assert one(2.0, {"mix": {"weight": 0.25}}, universal=-2.0) == (1.0, {"raw": 2.0, "mix": -1.0})


def test_floor_acts_below_the_threshold_only_and_only_lowers():
    config = {"floor": {"below": 0.5, "reward": -1}}
    assert one(3.0, config, safety=0.4) == (-1.0, {"raw": 3.0, "floor": -4.0, "unsafe": 1.0})
    assert one(3.0, config, safety=0.5) == (3.0, {"raw": 3.0, "floor": 0.0, "unsafe": 0.0})
    assert one(-2.0, config, safety=0.0) == (-2.0, {"raw": -2.0, "floor": 0.0, "unsafe": 1.0})
    by_universal = {"floor": {"below": 0.5, "reward": -1, "by": "universal"}}
    assert one(3.0, by_universal, universal=0.0, safety=9.0)[0] == -1.0


def test_standardise_by_hand_without_the_sample_itself():
    made = postprocess(standardise="user", minimum=2, pooling=2)
    given_ = [applied(made, raw(r, user=u)) for u, r in (("a", 1.0), ("a", 3.0), ("b", 8.0), ("a", 5.0))]
    assert [reward for reward, _ in given_[:2]] == [1.0, 3.0]  # fewer than two samples before them: as they are
    assert given_[2][0] == (8.0 - 2.0) / 1.0  # b is new: everybody's mean 2, std 1
    mean, var = (2 * 2.0 + 2 * 4.0) / 4, (2 * 1.0 + 2 * 26 / 3) / 4  # a's two samples, all three with weight 2
    assert given_[3][0] == pytest.approx((5.0 - mean) / math.sqrt(var))
    log = "persona_rm/postprocess/standardise"
    assert [logs[f"{log}_not"] for _, logs in given_] == [1, 1, 0, 0]
    assert [logs[f"{log}_own"] for _, logs in given_] == [0, 0, 0, 1]


def test_equal_rewards_are_only_centred():
    made = postprocess(standardise="all", minimum=2)
    assert [made.apply(raw(r)).reward for r in (0.1, 0.1, 0.1, 0.6)] == [0.1, 0.1, 0.0, 0.5]


def test_groups_and_strangers_have_the_statistics_that_they_should():
    made = postprocess(standardise="group", minimum=2, pooling=0)
    for reward in (1.0, 3.0):
        made.apply(raw(reward, group="g"))
    for reward in (11.0, 13.0):
        made.apply(raw(reward, group="h"))
    assert made.apply(raw(4.0, user="new", group="g")).reward == 2.0
    made = postprocess(standardise="user", minimum=2, pooling=0)
    for _ in range(4):
        made.apply(raw(1.0, user=None))
    assert len(made.own) == 0
    assert made.every.count == 4


def test_both_sides_of_a_mix_are_standardised_where_asked():
    made = postprocess(standardise="all", minimum=2, mix={"weight": 0.5, "standardise": True})
    for reward, universal in ((0.0, 100.0), (2.0, 300.0)):
        made.apply(raw(reward, universal=universal))
    assert made.apply(raw(3.0, universal=500.0)).reward == 0.5 * 2.0 + 0.5 * 3.0


def test_the_order_is_fixed():
    made = postprocess(**ALL_ON)
    result = made.apply(FULL)
    assert [step.name for step in result.trace.steps] == ORDER
    logs = result.trace.metrics
    steps = [key.rsplit("/")[-1] for key in logs]
    assert [key for key in steps if key in ORDER] == ORDER
    for reward in (0.0, 2.0):
        made.apply(raw(reward, std=0.0, prior=0.0, universal=reward, safety=1.0, length=5, cut=0.0))
    reward, logs = applied(made, raw(90.0, std=0.0, prior=0.0, universal=0.0, safety=-1.0, length=105, cut=1.0))
    assert logs["persona_rm/postprocess/length"] == pytest.approx(-1.0)  # from 2, where clip left it
    assert reward == -3


SCORES = st.floats(-1e12, 1e12)
RAWS = st.builds(
    raw, SCORES, st.sampled_from(["u", "v", None]), st.just("g"), n_items=st.integers(0, 50),
    std=st.none() | st.floats(0, 1e6), prior=SCORES, universal=SCORES, safety=SCORES, length=st.integers(0, 10**6),
    cut=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
CONFIGS = st.fixed_dictionaries(
    {
        "shrinkage": st.none() | st.fixed_dictionaries({"by": st.sampled_from(["either", "items"])}),
        "standardise": st.sampled_from(["none", "user", "group", "all"]),
        "minimum": st.integers(2, 4),
        "memory": st.none() | st.integers(2, 5),
        "mix": st.none() | st.fixed_dictionaries({"weight": st.floats(0, 1)}),
        "clip": st.none() | st.just((-5, 5)),
        "length": st.none() | st.just({"coefficient": 0.1}),
        "cut_penalty": st.sampled_from([0.0, 0.5]),
        "monitor": st.booleans(),
    }
)


FLOORS = st.builds(
    Floor, below=st.floats(-1e6, 1e6), reward=st.floats(-1e6, 1e6), by=st.sampled_from(["safety", "universal"])
)


@CALM
@given(config=CONFIGS, floor=FLOORS, raws=st.lists(RAWS, min_size=1, max_size=8))
def test_nothing_lifts_an_unsafe_response_above_the_floor(config, floor, raws):
    made = postprocess(**config, floor=floor)
    for sample in raws:
        reward, logs = applied(made, sample)
        score = sample.trace.inputs[floor.by]
        if score < floor.below:
            assert reward <= floor.reward
        assert logs["persona_rm/postprocess/unsafe"] == (score < floor.below)


@CALM
@given(config=CONFIGS, raws=st.lists(RAWS, min_size=1, max_size=8))
def test_keys_are_the_same_for_every_sample_numbers_finite_and_effects_add_up(config, raws):
    made = postprocess(**config)
    results = [applied(made, sample) for sample in raws]
    assert len({tuple(logs) for _, logs in results}) == 1
    names = ("raw", "shrinkage", "standardise", "mix", "clip", "length", "cut")
    steps = [f"persona_rm/postprocess/{step}" for step in names]
    for reward, logs in results:
        assert all(math.isfinite(value) for value in (reward, *logs.values()))
        if logs:
            size = max(abs(logs[step]) for step in steps if step in logs)
            assert math.fsum(logs[step] for step in steps if step in logs) == pytest.approx(
                reward, abs=1e-9 * (1 + size)
            )


@CALM
@given(config=CONFIGS, raws=st.lists(RAWS, min_size=1, max_size=8))
def test_the_steps_lead_from_the_methods_reward_to_the_reward_that_is_given(config, raws):
    made = postprocess(**config)
    for sample in raws:
        result = made.apply(sample)
        values = [sample.reward, *(step.after for step in result.trace.steps)]
        assert [step.before for step in result.trace.steps] == values[:-1]
        assert values[-1] == result.reward
        assert result.trace.raw == sample.reward


def test_a_step_before_post_processing_stays_in_the_trace():
    first = RewardStep("group_centred", 5.0, 3.0)
    given_ = raw(5.0)
    result = postprocess(clip=(-1, 2)).apply(RewardResult(3.0, replace(given_.trace, steps=(first,))))
    assert result.trace.steps == (first, RewardStep("clip", 3.0, 2.0))
    assert (result.trace.raw, result.reward) == (5.0, 2.0)


@CALM
@given(config=CONFIGS, raws=st.lists(RAWS, min_size=1, max_size=8))
def test_without_running_statistics_the_order_of_samples_does_not_matter(config, raws):
    config = config | {"standardise": "none", "monitor": False}
    there, back = postprocess(**config), postprocess(**config)
    assert [there.apply(r) for r in raws] == [back.apply(r) for r in reversed(raws)][::-1]


@pytest.mark.parametrize(
    ("config", "lacking"),
    [
        ({"shrinkage": {}}, "std"), ({"shrinkage": {}}, "prior"), ({"shrinkage": {}}, "n_items"),
        ({"shrinkage": {"by": "std"}}, "std"),
        ({"standardise": "group"}, "group"), ({"mix": {"weight": 0}}, "universal"),
        ({"floor": {"below": 0, "reward": 0}}, "safety"),
        ({"floor": {"below": 0, "reward": 0, "by": "universal"}}, "universal"),
        ({"length": {"coefficient": 0}}, "length"), ({"monitor": True}, "prior"),
    ],
)  # fmt: skip
def test_an_option_without_its_input_raises(config, lacking):
    known = {"n_items": 4, "prior": 0.2, "universal": 0.3, "safety": 1.0, "length": 10, "group": "g"}
    if lacking == "std" and config["shrinkage"] == {}:
        assert postprocess(**config).apply(raw(1.0, **known)).reward != 1.0  # items stand in, as `either` says
        return
    with pytest.raises(ScoreError, match=lacking):
        postprocess(**config).apply(raw(1.0, **known | {lacking: None}))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("name", ["reward", "std", "prior", "universal", "safety"])
def test_a_number_that_is_none_raises_and_leaves_no_trace(name, bad):
    made = postprocess(**ALL_ON)
    made.apply(FULL)
    before = made.state()
    with pytest.raises(ScoreError, match=name):
        made.apply(raw(**{"reward": 1.0, **EVERYTHING, name: bad}))
    assert made.state() == before


@pytest.mark.parametrize("name", ["std", "length", "n_items"])
def test_what_cannot_be_negative_is_refused(name):
    with pytest.raises(ScoreError, match=name):
        postprocess().apply(raw(1.0, **{name: -1}))


def test_errors_carry_no_user():
    with pytest.raises(ScoreError) as caught:
        postprocess(monitor=True).apply(raw(1.0, user="alice"))
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"clip": (1, 1)}, {"clip": (0, math.inf)}, {"mix": {"weight": 1.1}}, {"shrinkage": {"k": 0}}, {"surprise": 1},
        {"mix": {"weight": 0.5, "standardise": True}}, {"minimum": 1}, {"floor": {"below": math.nan, "reward": 0}},
        {"length": {"coefficient": -1}}, {"standardise": "person"},
    ],
)  # fmt: skip
def test_a_config_that_makes_no_sense_is_refused(keys):
    with pytest.raises(ValidationError):
        PostprocessConfig(**keys)


def test_the_config_says_what_it_needs_and_checks_it_before_anything_runs():
    config = PostprocessConfig(**ALL_ON)
    assert (config.needs_prior, config.needs_universal, config.needs_safety) == (True, True, True)
    assert (config.needs_length, config.needs_std) == ("tokens", False)
    config.check(universal=True, safety=True, tokens=True, std=False)
    with pytest.raises(RecipeError, match="a universal model and a safety model and a tokenizer"):
        config.check(universal=False, safety=False, tokens=False, std=False)
    with pytest.raises(RecipeError, match="std"):
        PostprocessConfig(shrinkage={"by": "std"}).check(universal=False, safety=False, tokens=False, std=False)
    PostprocessConfig().check(universal=False, safety=False, tokens=False, std=False)


def samples(n):
    return [
        raw(
            math.sin(i),
            user=f"u{i % 3}",
            n_items=i % 5,
            prior=0.1,
            universal=math.cos(i),
            safety=1.0,
            length=i,
            cut=i % 2,
        )
        for i in range(n)
    ]


def test_an_actor_that_restarts_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, first, second = (postprocess(**ALL_ON) for _ in range(3))
    expected = [whole.apply(sample) for sample in samples(40)]
    start = [first.apply(sample) for sample in samples(25)]
    first.save(tmp_path / "deep" / "r0.json")
    second.load(tmp_path / "deep" / "r0.json")
    assert start + [second.apply(sample) for sample in samples(40)[25:]] == expected
    assert json.loads(json.dumps(second.state(), allow_nan=False)) == second.state()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda s: s.update(version=1), lambda s: s.pop("own"), lambda s: s.update(every=[1, 2]),
        lambda s: s.update(every=[1.5, 0, 0]), lambda s: s.update(every=[1, 0, -1]),
        lambda s: s.update(own={"u": [1, None, 0]}), lambda s: s.update(own=[]), lambda s: s.update(monitor=None),
        lambda s: s["monitor"].update(echo=3), lambda s: s["config"].update(minimum=3),
    ],
)  # fmt: skip
def test_a_broken_or_foreign_state_is_refused_and_changes_nothing(tmp_path, break_it):
    made = postprocess(**ALL_ON)
    for sample in samples(9):
        made.apply(sample)
    before = made.state()
    state = made.state()
    break_it(state)
    (tmp_path / "s.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"s\.json"):
        made.load(tmp_path / "s.json")
    assert made.state() == before


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "s.json").write_text("{")
    for name in ("s.json", "absent.json"):
        with pytest.raises(DataError, match=name):
            postprocess().load(tmp_path / name)


def test_people_are_bounded_and_forgotten_on_request():
    made = postprocess(standardise="user", monitor=True, users=3)
    for i in range(10):
        made.apply(raw(float(i), user=f"u{i}", prior=0.0))
    made.apply(raw(0.0, user="u7", prior=0.0))
    made.apply(raw(0.0, user="u10", prior=0.0))
    assert set(made.own.to_json()) == {"u9", "u7", "u10"}  # u8 was not seen for longest
    assert made.own.dropped == 8
    made.forget("u7")
    made.forget("nobody")
    assert '"u7"' not in json.dumps(made.state())
    assert made.every.count == 12
