"""A story's own city ends with the story, and what the city refuses is told to people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from citybrain.local.problems import Problem
from citybrain.simulation.gateway_client import Refused
from citybrain.stories import driven


class City:
    """In the place of a whole city."""

    stopped = False

    def __init__(self, settings: Any, *, say: Any) -> None:
        assert settings.time == "driven"

    def start(self) -> str:
        return "127.0.0.1:1"

    def token(self) -> str:
        return ""

    def stop(self) -> None:
        type(self).stopped = True


def test_what_the_city_refuses_is_a_problem_for_people_and_the_city_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driven, "LocalCity", City)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "of an earlier run").touch()
    with (
        pytest.raises(Problem, match="ReportReadings: INVALID_ARGUMENT: too large"),
        driven.driven_city(tmp_path / "data", 1, print),
    ):
        assert not (tmp_path / "data" / "of an earlier run").exists()
        raise Refused("ReportReadings", grpc.StatusCode.INVALID_ARGUMENT, "too large")
    assert City.stopped
