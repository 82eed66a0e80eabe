"""The pages of figures: closed labels, nobody in them, and counters that outlive an actor."""

from prometheus_client.parser import text_string_to_metric_families

from tests.serving.http.http_service_samples import HOST, SECRET, Api


def read(text):
    return {
        (s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }


def test_metrics_are_prometheus_text_without_anybody_in_it():
    api = Api()
    api.post("/get_reward", HOST)
    api.post("/score", {"prompt": "Hello?", "responses": ["boom"]})
    api.call("GET", f"/{SECRET}")
    text = api.call("GET", "/metrics").text
    samples = read(text)
    assert samples["persona_rm_requests_total", ("route", "/get_reward"), ("status", "200")] == 1
    assert samples["persona_rm_requests_total", ("route", "other"), ("status", "404")] == 1
    assert samples["persona_rm_failures_total", ("kind", "failed")] == 1
    assert samples["persona_rm_request_rows_sum",] == 2
    assert samples["persona_rm_request_seconds_count", ("route", "/score")] == 1
    assert (samples["persona_rm_waiting_rows",], samples["persona_rm_batch_rows_mean",]) == (0, 2)
    assert "ann" not in text
    assert "Theodora" not in text


def test_the_actors_figures_have_closed_labels_and_outlive_an_actor():
    api = Api()
    first = {
        "rows": {"scored": 3, "late": 1, SECRET: 9}, "engine": {"tokens_cut": 5, SECRET: 9},
        "batches": {"1": 1, "2": 1, "more": 1, "rows": 2003},
    }  # fmt: skip
    api.actor.figures |= first
    samples = read(api.call("GET", "/metrics").text)
    assert samples["persona_rm_rows_total", ("outcome", "scored")] == 3
    assert samples["persona_rm_rows_total", ("outcome", "full")] == 0
    assert samples["persona_rm_engine_total", ("what", "tokens_cut")] == 5
    sizes = [samples["persona_rm_batch_rows_bucket", ("le", size)] for size in ("1.0", "2.0", "1024.0", "+Inf")]
    assert sizes == [1, 2, 2, 3]
    assert (samples["persona_rm_batch_rows_count",], samples["persona_rm_batch_rows_sum",]) == (3, 2003)
    api.actor.figures["pid"] = 2
    for now, total in ((1, 4), (1, 4), (3, 6)):
        api.actor.figures |= {"rows": {"scored": now}}
        text = api.call("GET", "/metrics").text
        assert read(text)["persona_rm_rows_total", ("outcome", "scored")] == total
    assert SECRET not in text


def test_info_says_what_is_served():
    assert Api().call("GET", "/info").json()["name"] == "simulator"
