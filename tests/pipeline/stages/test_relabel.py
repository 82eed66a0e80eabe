import json
from random import Random

import pytest

from persona_rm.errors import DataError, ScoreError
from persona_rm.maths import sigmoid
from persona_rm.pipeline.stages.relabel import RelabelConfig, decide, relabel
from persona_rm.types import Message
from tests.pipeline.stages.pair_samples import GAMING, NEITHER, SCIENCE, pref, read, two_users, write
from tests.prompts.chat_samples import chat_tokenizer


def run(tmp_path, rows, *, bundle=None, **settings):
    """Relabel these rows; the written rows and the report."""
    path = write(tmp_path / "prefs.jsonl", rows)
    out = tmp_path / "out.jsonl"
    report = relabel(path, bundle or two_users(tmp_path), out, RelabelConfig(**settings))
    return read(out), report


def test_each_user_gets_the_response_that_their_reward_prefers(tmp_path):
    rows, report = run(tmp_path, [pref("ann", source="x"), pref("bob")])
    assert [(row["user"], row["chosen"], row["rejected"], row["margin"]) for row in rows] == [
        ("ann", SCIENCE, GAMING, 2.0),
        ("bob", GAMING, SCIENCE, 2.0),
    ]
    assert rows[0]["source"] == "x"
    assert (report.total["turned"], report.by_user["bob"].counts["turned"]) == (1, 1)
    written = json.loads((tmp_path / "out_report.json").read_text())
    assert written["by_user"]["bob"] == {
        "kind": "known", "pairs": 1, "turned": 1, "left_out": 0, "disagreed": 1, "ties": 0, "too_small": 0, "rows": 1,
        "mean_margin": 2.0,
    }  # fmt: skip
    assert written["users"] == {"known": 2, "cold": 0, "unknown": 0, "erased": 0}


def test_the_prompt_is_what_the_policy_reads_for_the_user(tmp_path):
    bundle = two_users(tmp_path)
    rows, _ = run(tmp_path, [pref("ann"), pref("bob")], bundle=bundle)
    assert [row["prompt"] for row in rows] == [bundle.render(user, row["bare_prompt"]) for user, row in
                                               zip(("ann", "bob"), rows, strict=True)]  # fmt: skip
    assert rows[0]["prompt"] != rows[1]["prompt"]
    assert rows[0]["bare_prompt"] == "How was your weekend?"


def test_rows_that_are_left_as_they_came_keep_their_chat_messages(tmp_path):
    def said(text):
        return [{"role": "assistant", "content": text}]

    row = {"prompt": [{"role": "user", "content": "Well?"}], "chosen": said(SCIENCE), "rejected": said(GAMING)}
    rows, _ = run(tmp_path, [{**row, "user": "bob"}], prompts="given")
    assert rows == [
        {"prompt": row["prompt"], "chosen": said(GAMING), "rejected": said(SCIENCE), "user": "bob", "margin": 2.0}
    ]


def test_turns_stay_turns_in_the_policys_template_and_a_bundle_without_a_tokenizer_says_so(tmp_path):
    turns = [("system", "Be brief."), ("user", "Well?"), ("assistant", "Hm."), ("user", "And now?")]
    prompt = [{"role": role, "content": text} for role, text in turns]
    row = {"prompt": prompt, "chosen": SCIENCE, "rejected": GAMING, "user": "ann"}
    chat_tokenizer("llama3").save_pretrained(tmp_path / "tokenizer")
    bundle = two_users(tmp_path, tokenizer=str(tmp_path / "tokenizer"))
    [written], _ = run(tmp_path, [row], bundle=bundle)
    assert written["prompt"] == bundle.render("ann", tuple(Message(**turn) for turn in prompt))
    heads = [f"<|start_header_id|>{role}<|end_header_id|>" for role in ("system", "assistant")]
    places = [written["prompt"].index(text) for text in (heads[0], "Be brief.", heads[1], "Hm.", "And now?")]
    assert places == sorted(places)
    assert written["bare_prompt"] == "User: Well?\n\nAssistant: Hm.\n\nUser: And now?"
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match="none is named: name it"):
        run(tmp_path / "plain", [row])


@pytest.mark.parametrize(
    ("mode", "margins", "counts"),
    [
        ("keep", [2.0, -2.0, 0.0], {"disagreed": 1, "ties": 1, "rows": 3}),
        ("swap", [2.0, 2.0, 0.0], {"disagreed": 1, "ties": 1, "rows": 3, "turned": 1}),
        ("drop", [2.0, 0.0], {"disagreed": 1, "ties": 1, "rows": 2, "left out": 1}),
    ],
)
def test_what_becomes_of_a_pair(tmp_path, mode, margins, counts):
    rows, report = run(tmp_path, [pref(), pref(chosen=GAMING, rejected=SCIENCE), pref(rejected=SCIENCE)], mode=mode)
    assert [row["margin"] for row in rows] == margins
    assert report.total == {"pairs": 3, **counts}


def test_margins_below_the_smallest_one_are_left_out(tmp_path):
    rows, report = run(tmp_path, [pref(), pref(rejected=NEITHER), pref(rejected=SCIENCE)], min_margin=1.5)
    assert [row["margin"] for row in rows] == [2.0]
    assert report.total == {"pairs": 3, "rows": 1, "left out": 2, "too small": 2, "ties": 1}


def test_a_sure_preference_is_written_more_often_and_a_tie_never(tmp_path):
    rows, report = run(
        tmp_path, [pref(chosen=GAMING, rejected=SCIENCE), pref(rejected=SCIENCE)], mode="weight", copies=100
    )
    weight = 2 * sigmoid(2.0) - 1
    assert len(rows) in (int(100 * weight), int(100 * weight) + 1)
    assert {(row["chosen"], row["weight"], row["margin"]) for row in rows} == {(SCIENCE, weight, 2.0)}
    assert (report.total["rows"], report.total["left out"], report.total["turned"]) == (len(rows), 1, 1)


def test_the_number_of_copies_is_right_on_average():
    config, rng = RelabelConfig(mode="weight", copies=3), Random(0)
    mean = sum(decide(0.4, config, rng.random()).copies for _ in range(4000)) / 4000
    assert mean == pytest.approx(3 * (2 * sigmoid(0.4) - 1), abs=0.03)


def test_every_row_is_scored_for_every_user_of_a_list(tmp_path):
    rows, report = run(tmp_path, [pref(None), pref("someone else")], users=("ann", "bob", "cid"), batch=2)
    assert [(row["user"], row["chosen"]) for row in rows][:3] == [("ann", SCIENCE), ("bob", GAMING), ("cid", SCIENCE)]
    assert len(rows) == 6
    assert report.kinds == {"known": 2, "cold": 1}


def test_unknown_users_are_counted_and_named(tmp_path):
    _, report = run(tmp_path, [pref("ann"), pref("zoe"), pref("zoe")])
    [warning] = report.warnings()
    assert warning.startswith("1 of 2 users (2 of 3 pairs) are not in the bundle")
    assert "'zoe'" in warning
    assert run(tmp_path, [pref("ann")])[1].warnings() == []


def test_a_strict_run_stops_at_the_row_of_an_unknown_user(tmp_path):
    with pytest.raises(DataError, match=r"prefs\.jsonl, row 2, key 'user': user 'zoe' is not in the bundle"):
        run(tmp_path, [pref("ann"), pref("zoe")], strict=True)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_bad_row_costs_itself_only(tmp_path):
    rows, report = run(
        tmp_path, ["{cut", pref(), {"prompt": "p", "chosen": "c", "user": "ann"}, pref(None), pref(chosen=""), pref(7)]
    )
    assert [row["user"] for row in rows] == ["ann", "ann", "7"]
    assert report.bad_rows == 3
    faults = read(tmp_path / "out_quarantine.jsonl")
    assert [(fault["row"], fault["key"]) for fault in faults] == [(1, None), (4, "user"), (3, "rejected")]
    assert all(fault["file"].endswith("prefs.jsonl") for fault in faults)


def test_a_row_that_cannot_be_scored_is_a_bad_row(tmp_path, monkeypatch):
    bundle = two_users(tmp_path)
    real = bundle.score

    def score(requests):
        if bad := tuple(i for i, request in enumerate(requests) if "long" in request.response):
            raise ScoreError("the text is too long", bad, "too_long")
        return real(requests)

    monkeypatch.setattr(bundle, "score", score)
    rows, report = run(tmp_path, [pref(), pref(rejected="long"), pref("bob")], bundle=bundle)
    assert [row["user"] for row in rows] == ["ann", "bob"]
    [fault] = read(tmp_path / "out_quarantine.jsonl")
    assert (fault["row"], fault["error"]) == (2, "user 'ann': no reward: the text is too long")
    assert report.bad_rows == 1


def test_a_bundle_that_cannot_score_at_all_stops_the_run(tmp_path, monkeypatch):
    bundle = two_users(tmp_path)
    monkeypatch.setattr(bundle, "score", lambda requests: (_ for _ in ()).throw(ScoreError("the store is down")))
    with pytest.raises(ScoreError, match="the store is down"):
        run(tmp_path, [pref()], bundle=bundle)


def test_no_row_at_all_is_an_error_that_says_where_the_reasons_are(tmp_path):
    with pytest.raises(DataError, match=r"no row was written: out_report\.json says why, and 1 bad rows are in"):
        run(tmp_path, [pref(None)])
    assert read(tmp_path / "out_quarantine.jsonl")


def test_an_interrupted_run_goes_on_and_writes_what_an_uninterrupted_one_writes(tmp_path, monkeypatch):
    rows = [pref("ann"), "{cut", pref("bob"), pref("zoe"), pref("bob"), pref("ann")]
    path, bundle, out = write(tmp_path / "prefs.jsonl", rows), two_users(tmp_path), tmp_path / "out.jsonl"
    config = RelabelConfig(batch=1, mode="weight")
    whole = relabel(path, bundle, tmp_path / "whole.jsonl", config)
    real, scored = bundle.score, []

    def score(requests):
        scored.append(requests[0].user)
        if len(scored) == 4:
            raise KeyboardInterrupt
        return real(requests)

    monkeypatch.setattr(bundle, "score", score)
    with pytest.raises(KeyboardInterrupt):
        relabel(path, bundle, out, config, every=0)
    assert not out.exists()
    report = relabel(path, bundle, out, config, every=0)
    assert scored == ["ann", "bob", "zoe", "bob", "bob", "ann"]
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert report.state() == whole.state()
    assert read(tmp_path / "out_quarantine.jsonl") == read(tmp_path / "whole_quarantine.jsonl")
    assert not list(tmp_path.glob(".out*"))


def test_other_settings_begin_anew(tmp_path, monkeypatch):
    path, out = write(tmp_path / "prefs.jsonl", [pref(), pref("bob")]), tmp_path / "o.jsonl"
    bundle = two_users(tmp_path)
    real = bundle.score

    def score(requests):
        if requests[0].user == "bob":
            raise ScoreError("the store is down")
        return real(requests)

    monkeypatch.setattr(bundle, "score", score)
    with pytest.raises(ScoreError):
        relabel(path, bundle, out, RelabelConfig(batch=1), every=0)
    monkeypatch.undo()
    report = relabel(path, bundle, out, RelabelConfig(batch=1, mode="keep"), every=0)
    assert [row["chosen"] for row in read(out)] == [SCIENCE, SCIENCE]
    assert report.total["pairs"] == 2


def test_parquet_csv_and_a_folder_of_files_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    from persona_rm.io.parquet import write_parquet

    bundle, out = two_users(tmp_path), tmp_path / "out.jsonl"
    write_parquet(tmp_path / "a.parquet", iter([pref("ann"), pref("bob")]), tmp_path / "a.parquet")
    relabel(str(tmp_path / "a.parquet"), bundle, out, RelabelConfig())
    assert [row["chosen"] for row in read(out)] == [SCIENCE, GAMING]
    (tmp_path / "a.csv").write_text(f"user,prompt,chosen,rejected\nbob,Well?,{SCIENCE},{GAMING}\n")
    relabel(str(tmp_path / "a.csv"), bundle, out, RelabelConfig())
    assert [row["chosen"] for row in read(out)] == [GAMING]
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "a.jsonl", [pref("ann"), pref("bob")])
    write(folder / "b.jsonl", [pref("ann"), "{cut"])
    report = relabel(str(folder), bundle, out, RelabelConfig())
    assert [row["user"] for row in read(out)] == ["ann", "bob", "ann"]
    assert report.bad_rows == 1


def test_post_processing_counts_as_in_ppo_but_for_running_statistics(tmp_path):
    clip = {"clip": [-0.5, 0.5]}
    rows, report = run(tmp_path, [pref()], bundle=two_users(tmp_path, postprocess=clip))
    assert (rows[0]["margin"], report.remark) == (1.0, "")
    rows, report = run(tmp_path, [pref()], bundle=two_users(tmp_path, postprocess={**clip, "standardise": "user"}))
    assert rows[0]["margin"] == 2.0
    assert report.warnings()[0].startswith("postprocess: standardise and clip, which follow it, are left out, because")


def test_a_bundle_that_compares_gives_the_margin_of_its_win_rates(tmp_path):
    bundle = two_users(tmp_path, groups={"size": 2, "listwise": True})
    rows, _ = run(tmp_path, [pref("bob")], bundle=bundle)
    assert rows[0]["chosen"] == GAMING
    assert rows[0]["margin"] == pytest.approx(2 * sigmoid(2.0) - 1)


def test_the_output_is_json_lines(tmp_path):
    with pytest.raises(DataError, match=r"ends in \.jsonl"):
        relabel(write(tmp_path / "p.jsonl", [pref()]), two_users(tmp_path), tmp_path / "o.csv", RelabelConfig())


def test_the_table_shows_the_users_with_most_disagreement_first(tmp_path):
    _, report = run(tmp_path, [pref("ann"), pref("bob")])
    table = report.table("t")
    assert [cell.plain for cell in list(table.columns[0].cells)[:2]] == ["bob", "ann"]
