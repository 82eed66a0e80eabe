from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.io.log_ids import LogIds
from persona_rm.serving.failure_line import failure_line
from persona_rm.types import RewardRequest

SECRET = "my neighbour Theodora owes me 300"
IDS = LogIds(b"a key")
REQUEST = RewardRequest("ann", SECRET, SECRET, request_id="r1")


def raised(error):
    try:
        raise error
    except (ScoreError, DataError, ValueError) as caught:
        return caught


def test_the_line_names_request_user_hash_kind_and_cause():
    error = ScoreError(f"{SECRET}: 9 tokens", kind="too_long", cause="9 tokens, and the limit is 8")
    assert failure_line(REQUEST, error, IDS) == (
        f"request r1, user {IDS.of('ann')}: too_long, 9 tokens, and the limit is 8"
    )
    assert failure_line(RewardRequest(None, "p", "r"), RecipeError("pba needs an annotator"), IDS) == (
        "request -, no user: RecipeError, pba needs an annotator"
    )


def test_messages_that_may_hold_a_text_are_replaced_by_type_and_place():
    for error in (ValueError(SECRET), DataError(SECRET), ScoreError(SECRET)):
        line = failure_line(REQUEST, raised(error), IDS)
        assert "Theodora" not in line
        assert "ann," not in line
        assert f"{type(error).__name__} in " in line
        assert "test_failure_line.py:" in line
