"""An empty response in a user's history, or from the policy, is scored like any other."""

import math

import pytest

from persona_rm import Backends, Pair, Persona, RewardRequest, Ugc, load_bundle, write_bundle
from persona_rm.methods.ica import ICA, ICAConfig
from persona_rm.methods.states import items_of

ANN = Persona("ann", (Ugc("Hi?", ""),), (Pair("Tea?", "", "Black."), Pair("Milk?", "No.", "")))
REQUESTS = [RewardRequest("ann", "And now?", text) for text in ("", "Coffee.")]


@pytest.mark.parametrize(
    "keys",
    [
        {"method": {"name": "ica"}, "inferrer": None},
        {"method": {"name": "contrast", "persona_as": "ica"}, "inferrer": None},
        {"method": {"name": "pba_linear"}, "annotator": {"name": "encoder"}, "inferrer": {"name": "llm"}},
    ],
    ids=["ica", "contrast", "pba_linear"],
)
def test_a_bundle_scores_users_with_empty_responses(tmp_path, tiny_model, keys):
    models = {} if "annotator" in keys else {"policy": str(tiny_model()), "reference": str(tiny_model(1))}
    bundle = load_bundle(write_bundle(tmp_path / "bundle", [ANN], **models, **keys))
    results = bundle.score(REQUESTS)
    assert [result.status for result in results] == ["ok", "ok"]
    assert all(math.isfinite(result.reward) for result in results)


def test_a_tie_is_no_example_of_what_a_user_prefers(space):
    tie = Pair("Tea?", "Black.", "Green.", strength=0.0)
    method = ICA(ICAConfig(), space, Backends())
    state = method.adapt(Persona("ann", pairs=(tie, Pair("Tea?", "Black.", "White.", strength=1.0))))
    assert items_of(state).pairs == (Pair("Tea?", "Black.", "White."),)
    assert (state.n_items, method.adapt(Persona("bob", pairs=(tie,))).cold) == (1, True)
