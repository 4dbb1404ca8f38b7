"""Lines of calls that are refused, and `city logs level`, in a process that runs."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from tests.contract.runtime.probing import PROBE, Probe
from tests.contract.runtime.test_nameko import Nameko
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until


def test_a_refused_call_is_one_line_without_what_was_sent_and_levels_change_while_it_runs(tmp_path: Path) -> None:
    running = Nameko.launch(tmp_path / "data", PROBE, ["probe"], driven=False, port=0, environment={})
    running.start()
    probe = Probe(running)

    def lines() -> list[dict[str, str]]:
        said = running.log_path.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in said if line.startswith("{")]
        return [line for line in found if line["message"] == "call refused"]

    try:
        with pytest.raises(grpc.RpcError):
            probe.do("refuse", "13800000000")
        until(lines, "a line")
        assert {line["method"] for line in lines()} == {"citybrain.probe.v1.ProbeService/Do"}
        (line,) = lines()
        assert (line["service"], line["level"], line["code"]) == ("probe", "info", "FAILED_PRECONDITION")
        assert line["reason"] == "NOT_NOW" and line["trace_id"] and line["version"] and "13800000000" not in json.dumps(line)
        assert "error and above until it ends; before: info" in run(tmp_path, "logs", "level", "error").stdout
        with pytest.raises(grpc.RpcError):
            probe.do("refuse")
        assert len(lines()) == 1
        run(tmp_path, "logs", "level", "info")
        assert "error and above for 1 s; before: info" in run(tmp_path, "logs", "level", "error", "--for", "1").stdout

        def written_again() -> bool:
            with pytest.raises(grpc.RpcError):
                probe.do("refuse")
            return len(lines()) > 1

        until(written_again, "lines again")
        assert "no process here has nobody" in refused(tmp_path, "logs", "level", "info", "--service", "nobody")
    finally:
        probe.close()
        running.stop()
