"""What HTTP requests leave in the log."""

import json

from refused import assert_refused
from running_predictor import running_predictor


def test_probes_that_succeed_are_not_in_the_log(road_model, tmp_path):
    probes = ("/", "/v1/models/scene", "/v2/health/live", "/v2/models/scene/ready", "/metrics")
    with running_predictor(road_model, tmp_path) as running:
        for path in probes:
            assert running.client.get(path).status_code == 200
        assert_refused(running.client.get("/v1/models/other"), 404)
    events = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [event["status"] for event in events if event["event"] == "request"] == [404]
