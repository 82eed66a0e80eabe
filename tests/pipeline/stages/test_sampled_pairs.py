import json
import subprocess
import sys

import pytest

from persona_rm.errors import DataError, ScoreError
from persona_rm.pipeline.stages.sampled_pairs import PairsConfig, engine_of, make_pairs
from tests.pipeline.stages.pair_samples import GAMING, NEITHER, SCIENCE, ScriptedSampler, read, two_users, write

PROMPT = "How was your weekend?"
ASKED = [{"prompt": PROMPT, "user": user} for user in ("ann", "bob")]


def run(tmp_path, sampler, rows=ASKED, **settings):
    path, out = write(tmp_path / "prompts.jsonl", rows), tmp_path / "pairs.jsonl"
    bundle = two_users(tmp_path)
    report = make_pairs(path, bundle, sampler, out, PairsConfig(**settings))
    return read(out), report, bundle


def test_the_best_answer_stands_against_the_worst_by_the_reward_of_the_user(tmp_path):
    sampler = ScriptedSampler([NEITHER, SCIENCE, GAMING, f"{SCIENCE} \n"])
    rows, report, bundle = run(tmp_path, sampler)
    assert rows == [
        {"prompt": bundle.render("ann", PROMPT), "chosen": SCIENCE, "rejected": GAMING, "margin": 2.0, "user": "ann",
         "bare_prompt": PROMPT},
        {"prompt": bundle.render("bob", PROMPT), "chosen": GAMING, "rejected": SCIENCE, "margin": 2.0, "user": "bob",
         "bare_prompt": PROMPT},
    ]  # fmt: skip
    assert sampler.prompts == [row["prompt"] for row in rows]
    assert report.total == {"prompts": 2, "rows": 2, "answers": 8}


def test_prompts_whose_answers_say_nothing_are_counted_and_left_out(tmp_path):
    rows, report, _ = run(tmp_path, ScriptedSampler([NEITHER, SCIENCE]), min_margin=0.5, n=2)
    assert (len(rows), report.total["too small"]) == (2, 0)
    for script, settings, reason in (
        ([NEITHER, "nothing much."], {}, "ties"),
        ([NEITHER, SCIENCE], {"min_margin": 1.5}, "too small"),
        ([SCIENCE, SCIENCE], {}, "too few answers"),
    ):
        with pytest.raises(DataError, match="no row was written"):
            run(tmp_path, ScriptedSampler(script), n=2, **settings)

        written = json.loads((tmp_path / "pairs_report.json").read_text())
        assert written[reason.replace(" ", "_")] == written["left_out"] == 2, reason


def test_cut_answers_are_counted_and_used_only_on_request(tmp_path):
    script = [NEITHER, SCIENCE, GAMING]
    rows, report, _ = run(tmp_path, ScriptedSampler(script, cut=(GAMING,)), n=3)
    assert [(row["chosen"], row["rejected"]) for row in rows] == [(SCIENCE, NEITHER), (NEITHER, SCIENCE)]
    assert report.total["cut answers"] == 2
    rows, _, _ = run(tmp_path, ScriptedSampler(script, cut=(GAMING,)), n=3, cut_answers=True)
    assert rows[0]["rejected"] == GAMING


def test_a_prompt_that_gets_no_answer_is_a_bad_row(tmp_path):
    asked = [*ASKED, {"prompt": "a long one", "user": "ann"}, {"user": "ann"}]
    rows, report, _ = run(tmp_path, ScriptedSampler([SCIENCE, GAMING], refused="a long one"), asked)
    assert (len(rows), report.bad_rows) == (2, 2)
    faults = {fault["row"]: fault["error"] for fault in read(tmp_path / "pairs_quarantine.jsonl")}
    assert faults[3] == "user 'ann': no answer: too long"
    assert faults[4].startswith("missing")


def test_a_prompt_whose_answers_cannot_be_scored_is_a_bad_row(tmp_path, monkeypatch):
    bundle = two_users(tmp_path)
    real = bundle.score

    def score(requests):
        if bad := tuple(i for i, request in enumerate(requests) if request.user == "ann"):
            raise ScoreError("too long", bad[:1])
        return real(requests)

    monkeypatch.setattr(bundle, "score", score)
    sampler, out = ScriptedSampler([SCIENCE, GAMING]), tmp_path / "pairs.jsonl"
    report = make_pairs(write(tmp_path / "p.jsonl", ASKED), bundle, sampler, out, PairsConfig())
    assert ([row["user"] for row in read(out)], report.bad_rows) == (["bob"], 1)


def test_seeds_depend_on_row_user_and_seed_only(tmp_path):
    one, other = ScriptedSampler([SCIENCE, GAMING]), ScriptedSampler([SCIENCE, GAMING])
    run(tmp_path, one)
    run(tmp_path, other, batch=1)
    assert one.seeds == other.seeds
    assert len(set(one.seeds)) == 2
    third = ScriptedSampler([SCIENCE, GAMING])
    run(tmp_path, third, seed=1)
    assert not set(third.seeds) & set(one.seeds)


def test_every_prompt_is_asked_for_every_user_of_a_list(tmp_path):
    rows, report, _ = run(tmp_path, ScriptedSampler([SCIENCE, GAMING]), [{"prompt": PROMPT}], users=("bob", "zoe"))
    assert [row["user"] for row in rows] == ["bob"]
    assert (report.total["ties"], report.kinds["unknown"]) == (1, 1)


def test_a_strict_run_refuses_an_unknown_user(tmp_path):
    with pytest.raises(DataError, match="user 'zoe' is not in the bundle"):
        run(tmp_path, ScriptedSampler([SCIENCE, GAMING]), [{"prompt": PROMPT, "user": "zoe"}], strict=True)


def test_the_module_loads_no_engine():
    code = "import sys, persona_rm.pipeline.stages.sampled_pairs\n"
    code += "print([m for m in ('torch', 'vllm', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_gpu_no_prompt_is_read_in_two_steps(tmp_path):
    """vLLM rewinds the generator of a prompt's seed between the steps, which no generator of a CPU can do."""
    assert engine_of(tmp_path, "cpu").config.enable_chunked_prefill is False
    assert engine_of(tmp_path, "gpu").config.enable_chunked_prefill is None
