"""Turns the outcome of a run into what the report and the picture show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from citybrain.health.v1.events_pb2 import AmbulanceReserved, BedReserved

from citybrain.local.city import ROOT
from citybrain.observability.trace_tree import as_json
from citybrain.stories.emergency import picture, report, timeline
from citybrain.stories.emergency.run import Outcome

__all__ = ["compose", "picture", "report", "since_call", "times"]

# Second 0 of a scenario is midnight of this day in Hangzhou: 2026-01-05T00:00:00+08:00.
CITY_EPOCH_S = 1_767_542_400
_ROWS = (
    ("report → patient", "报警到现场", "at_scene_s"),
    ("report → hospital door", "报警到医院", "at_hospital_s"),
    ("driving", "行驶", "ride_s"),
    ("standing at red lights", "红灯等待", "red_wait_s"),
)
_REDS = ("red lights run, of signals passed", "闯红灯次数 / 经过的信号灯")
_OTHERS = ("delay per other vehicle", "其他车辆平均延误")
_EXPECTED = ("driving, as estimated at the start", "出发时预计的行驶时间")
_ERROR = ("error of that estimate", "预计误差")


def times(outcomes: Sequence[Outcome]) -> list[tuple[str, dict[str, float | str | None]]]:
    """The table of times: per row, the mean over all calls of each drive; None where some call did not get there.

    Red lights are counted over all calls.
    """
    rows: list[tuple[str, dict[str, float | str | None]]] = []
    for label, _, field in _ROWS:
        rows.append((label, {variant: _mean(outcomes, variant, field) for variant in outcomes[0].results}))
    rows.append((_REDS[0], {variant: _reds(outcomes, variant) for variant in outcomes[0].results}))
    rows.append((_OTHERS[0], {v: _others(outcomes, v) for v in outcomes[0].results}))
    expected = [e for outcome in outcomes if (e := _expected(outcome)) is not None]
    if expected:
        estimate, ride = sum(expected) / len(expected), _mean(outcomes, "city", "ride_s")
        rows.append((_EXPECTED[0], {"city": estimate}))
        rows.append((_ERROR[0], {"city": None if ride is None else abs(estimate - ride)}))
    return rows


def compose(outcome: Outcome, incident: str, seed: int, city: str, english: str, chinese: str) -> report.Report:
    """Everything the page shows of the first call of a run."""
    tracks, results = outcome.tracks, outcome.results
    shape = tracks["city"]
    told = _city(city)
    call = results["city"]["calls"][0]
    lines = timeline.tell(outcome.incidents[incident])
    kill = outcome.killed
    labels_zh = dict([*((label, chinese_label) for label, chinese_label, _ in _ROWS), _REDS, _OTHERS, _EXPECTED, _ERROR])
    ends = [_door(results[v], results[v]["calls"][0]) for v in results]
    return report.Report(
        city_en=told["title"]["en"],
        city_zh=told["title"]["zh"],
        seed=seed,
        begin_s=float(call["began"]) - 10,
        end_s=max(ends) + 30,
        city_epoch_s=CITY_EPOCH_S,
        roads=[[(p[0], p[1]) for p in edge] for edge in shape["edges"]],
        signals={name: [(x, y)] for name, (x, y) in shape["signals"].items()},
        rides={variant: _ride(tracks[variant], results[variant]) for variant in report.VARIANTS if variant in tracks},
        places=_places(shape["places"]),
        lines=lines,
        trace=as_json(outcome.traces[incident]),
        times=[report.TimeRow(label, labels_zh[label], values) for label, values in times([outcome])],  # type: ignore[arg-type]
        sentence_en=english,
        sentence_zh=chinese,
        kill_en=kill.english() if kill is not None else "",
        kill_zh=kill.chinese() if kill is not None else "",
        source=f"{told['source']} {told['licence']}",
        call_s=float(call.get("called_at") or call["began"]),
    )


def _door(result: dict[str, Any], call: dict[str, Any]) -> float:
    return float(call["began"] + call["at_hospital_s"]) if call.get("at_hospital_s") is not None else float(result["end"])


def since_call(call: dict[str, Any], field: str) -> float | None:
    """A time counted from the call. (Results count from the ambulance's order.)"""
    value, called_at = call.get(field), call.get("called_at")
    return None if value is None else float(value + (0 if called_at is None else call["began"] - called_at))


def _value(call: dict[str, Any], field: str) -> float | None:
    if field in ("ride_s", "red_wait_s") and not call["finished"]:
        # The ride did not end; its time was counted up to the end of the run.
        return None
    return since_call(call, field) if field in ("at_scene_s", "at_hospital_s") else call.get(field)


def _mean(outcomes: Sequence[Outcome], variant: str, field: str) -> float | None:
    values = [_value(call, field) for outcome in outcomes for call in _calls(outcome, variant)]
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _reds(outcomes: Sequence[Outcome], variant: str) -> str:
    calls = [call for outcome in outcomes for call in _calls(outcome, variant)]
    run, passed = (sum(call.get(field, 0) for call in calls) for field in ("reds_run", "signals_passed"))
    return f"{run} / {passed}"


def _calls(outcome: Outcome, variant: str) -> list[dict[str, Any]]:
    """None where SUMO crashed in that drive."""
    calls: list[dict[str, Any]] = outcome.results.get(variant, {}).get("calls", [])
    return calls


def _others(outcomes: Sequence[Outcome], variant: str) -> float | None:
    driven = [outcome.results[variant] for outcome in outcomes if variant in outcome.results]
    values = [float(result["others"]["mean_time_loss_s"]) for result in driven]
    return sum(values) / len(values)


def _expected(outcome: Outcome) -> float | None:
    """The driving time that was expected when ambulance and hospital were chosen, mean over the calls."""
    estimates = []
    for events in outcome.incidents.values():
        total = 0.0
        for event in events:
            if event.type.endswith(".AmbulanceReserved"):
                total += AmbulanceReserved.FromString(event.data.value).route.travel_time_s
            elif event.type.endswith(".BedReserved"):
                total += BedReserved.FromString(event.data.value).route.travel_time_s
        estimates.append(total)
    return sum(estimates) / len(estimates) if estimates else None


def _ride(track: dict[str, Any], result: dict[str, Any]) -> report.RideTrack:
    call = result["calls"][0]
    began = float(call["began"])
    vehicles = [v for v in track["vehicles"].values() if v["incident_id"] == call["incident_id"]]
    return report.RideTrack(
        ambulances={v["ambulance_id"]: [(p[0], p[1], p[2]) for p in v["at"]] for v in vehicles},
        signal_states={name: [(c[0], c[1]) for c in changes] for name, changes in track["shown"].items()},
        scene_s=None if call.get("at_scene_s") is None else began + call["at_scene_s"],
        hospital_s=None if call.get("at_hospital_s") is None else began + call["at_hospital_s"],
    )


def _places(drawn: Sequence[dict[str, Any]]) -> list[report.Place]:
    found = []
    for place in drawn:
        kind, english, chinese = _KINDS[place["kind"]]
        named = place["name"] if place["kind"] == "hospital" else ""
        found.append(report.Place(kind, named or english, named or chinese, place["x"], place["y"]))
    return found


_KINDS: dict[str, tuple[report.PlaceKind, str, str]] = {
    "hospital": ("hospital", "hospital", "医院"),
    "station": ("station", "ambulance station", "急救站"),
    "call": ("scene", "patient", "患者"),
}


def _city(name: str) -> dict[str, Any]:
    import yaml

    path = ROOT / "simulation" / "cities" / name / "city.yaml"
    if path.is_file():
        found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return found
    return {"title": {"en": name, "zh": name}, "source": f"the scenario {name}, as given", "licence": "terms as given with it"}
