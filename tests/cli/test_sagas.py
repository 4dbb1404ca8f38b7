"""`city sagas`: what a person on duty sees of the workflows, and decides about them. No ambulance is there, so each waits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import RenderableType

from citybrain.cli import saga_view
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.observability.console import Terminal
from tests.helpers.city_command import CITY, LIMIT_S, environment, refused, run
from tests.helpers.paper_city import PaperCity
from tests.helpers.waiting import until

Sagas = Callable[..., subprocess.CompletedProcess[str]]
WHY = ("--reason", "seen there")
EVIL = "\x1b[2J\x9b\u202e\nforged"


class Duty:
    """A city without ambulances, and a person at its keyboard."""

    def __init__(self, local: LocalCity, folder: Path) -> None:
        assert local.gateway is not None
        self.folder, self.address = folder, local.gateway.address
        self.city = PaperCity(self.address, local.data)
        self.city.build(ambulances=0)
        self.reports = 0

    def report(self) -> str:
        self.reports += 1
        # So that each began at a moment of its own.
        self.city.advance(1)
        incident = self.city.report(f"call-{self.reports}")
        until(lambda: self.json("list", "--incident", incident)["sagas"], "its saga is listed")
        return incident

    def stuck(self) -> str:
        """A saga that needs a human: no ambulance was found for a quarter of an hour."""
        incident = self.report()
        self.city.advance(1000)
        until(lambda: self.json("show", incident)["state"] == "SAGA_STATE_NEEDS_HUMAN", "it needs a human")
        return incident

    def sagas(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run(self.folder, "sagas", *arguments, "--gateway", self.address)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.sagas(*arguments, "--json").stdout)

    def refused(self, *arguments: str) -> str:
        return refused(self.folder, "sagas", *arguments, "--gateway", self.address)

    def states(self, *arguments: str) -> dict[str, str]:
        return {one["sagaId"]: one["state"] for one in self.json("list", *arguments)["sagas"]}


@pytest.fixture(scope="module")
def duty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duty]:
    folder = tmp_path_factory.mktemp("duty")
    with LocalCity(Settings(data=folder / "data", time="driven")) as local:
        yield Duty(local, folder)


def test_a_saga_that_needs_a_human_is_found_seen_and_resumed(duty: Duty) -> None:
    running, stuck = duty.report(), duty.stuck()
    until(lambda: stuck in duty.states("--state", "needs-human"), "it is listed")
    assert running not in duty.states("--state", "completed", "--state", "undone")
    listed = duty.sagas("list", "--state", "needs-human").stdout
    assert stuck in listed and "needs human" in listed and "emergency_response 3" in listed and "reserve_ambulance: " in listed
    shown = duty.sagas("show", stuck).stdout
    assert "✗ reserve_ambulance  " in shown and " tries  " in shown and "no ambulance is free" in shown
    assert "· close_incident  not begun" in shown
    until(lambda: stuck in {one["sagaId"] for one in duty.json("tasks")["tasks"]}, "its task is listed")
    (line,) = [one for one in duty.sagas("tasks", "--kind", "trouble").stdout.splitlines() if stuck in one]
    assert "trouble  reserve_ambulance  on duty" in line
    assert duty.sagas("tasks", "--authority", "fire_command").stdout == "nothing waits for people\n"
    after = duty.sagas("resume", stuck, *WHY).stdout
    assert f"{stuck}  emergency_response 3  running" in after and "… reserve_ambulance  " in after


def test_the_whole_of_an_incident_is_shown_with_what_to_type_next_and_nothing_of_another_one(duty: Duty) -> None:
    stuck, other = duty.stuck(), duty.report()
    until(lambda: stuck in {one["sagaId"] for one in duty.json("tasks")["tasks"]}, "its task is listed")
    where = ("--gateway", duty.address, "--data", str(duty.folder / "data"))

    def told() -> Any:
        return json.loads(run(duty.folder, "incident", stuck, *where, "--json").stdout)

    until(lambda: {one["who"] for one in told()["findings"]} >= {"whoever is on duty", "health"}, "its spans are kept")
    done = run(duty.folder, "incident", stuck, *where, "--html", "page.html")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said, shown, page = told(), done.stdout, (duty.folder / "page.html").read_text(encoding="utf-8")
    assert said["findings"][0]["do"].startswith(f"city sagas resume {stuck} ") and said["notKnown"] == []
    assert [one["step"] for one in said["steps"]] == ["reserve_ambulance"] and said["cityTimeUs"] > 0
    for text in (shown, page):
        assert f"city sagas resume {stuck}" in text and "IncidentOpened" in text and "no ambulance is free" in text
    assert other not in json.dumps(said) + shown + page


def test_what_runs_side_by_side_stands_in_branches(duty: Duty) -> None:
    lines = duty.sagas("show", duty.report()).stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "side by side" in line)
    assert [line.split()[-2:] for line in (lines[at + 1], lines[at + 3], lines[at + 5])] == [["branch", n] for n in "123"]
    assert all(name in lines[at + 2 * n] for n, name in enumerate(("grant_priority", "notify_districts", "announce"), 1))
    # What comes behind stands on the outer level again.
    assert lines[at].index("side") == lines[at + 7].index("·")


def test_lists_are_filtered_and_go_on_where_they_ended(duty: Duty) -> None:
    old = duty.report()
    duty.city.advance(7200)
    new = [duty.report() for _ in range(3)]
    assert old in duty.states("--open-for", "2h") and not set(new) & set(duty.states("--open-for", "2h"))
    assert duty.states("--incident", old) and not duty.states("--incident", old, "--workflow", "other")
    assert duty.states("--district", "nowhere") == {}
    first = duty.json("list", "--limit", "2")
    assert [one["sagaId"] for one in first["sagas"]] == [new[2], new[1]]
    assert next(iter(duty.states("--limit", "2", "--page", first["nextPageToken"]))) == new[0]
    assert f"--page {first['nextPageToken']}" in duty.sagas("list", "--limit", "2").stdout
    assert "there are no such sagas" in duty.sagas("list", "--district", "nowhere").stdout


def test_a_person_skips_fails_retries_cancels_and_terminates(duty: Duty) -> None:
    def state(incident: str) -> str:
        return str(duty.json("show", incident)["state"])

    retried = duty.stuck()
    assert duty.json("retry", retried, "reserve_ambulance", *WHY)["saga"]["state"] == "SAGA_STATE_RUNNING"
    skipped = duty.report()
    assert "- reserve_ambulance  skipped" in duty.sagas("skip", skipped, "reserve_ambulance", *WHY).stdout
    for command in (("fail", "reserve_ambulance"), ("cancel",)):
        undone = duty.report()
        duty.sagas(command[0], undone, *command[1:], *WHY)
        until(lambda undone=undone: state(undone) == "SAGA_STATE_UNDONE", command[0])  # type: ignore[misc]
        assert "has ended: it is undone" in duty.refused("terminate", undone, *WHY)
    ended = duty.report()
    said = duty.sagas("terminate", ended, *WHY).stdout
    assert "terminated by" in said and said.endswith("not undone, and left to people: reserve_ambulance\n")
    assert state(ended) == "SAGA_STATE_TERMINATED"
    assert "has ended: it is terminated: `city sagas show` says where it stands" in duty.refused("cancel", ended, *WHY)


def test_a_person_starts_a_saga_by_hand_and_tells_it_what_has_happened(duty: Duty) -> None:
    kind = "citybrain.emergency_command.v1.Incident"
    started = duty.json("start", "emergency_response", f"{kind}Opened", '{"incidentId": "by-hand", "place": {"edgeId": "e1"}}')
    assert (started["sagaId"], started["state"]) == ("by-hand", "SAGA_STATE_RUNNING")
    called_off = ("by-hand", f"{kind}Cancelled", '{"incidentId": "by-hand", "reason": "nobody there"}', "--id", "1")
    for _ in range(2):
        shown = duty.json("signal", *called_off, *WHY)
    assert shown["saga"]["reason"] == "false call: nobody there"
    assert "event_type: is citybrain.x.v1.Y, which no contract here has" in duty.refused(
        "signal", "by-hand", "citybrain.x.v1.Y", "{}", *WHY
    )
    assert "is not the JSON of a" in duty.refused("signal", "by-hand", f"{kind}Cancelled", '{"sender": "x"}', *WHY)


def test_who_watches_sees_each_change_until_the_end_and_how_it_ended(duty: Duty, tmp_path: Path) -> None:
    incident = duty.report()
    command = [CITY, "sagas", "watch", incident, "--gateway", duty.address]
    told: list[Path] = []
    watching = []
    for more in ([], ["--json"]):
        told.append(tmp_path / f"told{len(more)}")
        with told[-1].open("w") as out:
            watching.append(
                subprocess.Popen([*command, *more], cwd=duty.folder, env=environment(), stdout=out, stdin=subprocess.DEVNULL)
            )
    try:
        for one in told:
            until(lambda one=one: "reserve_ambulance" in one.read_text(encoding="utf-8"), "it is shown")  # type: ignore[misc]
        duty.sagas("terminate", incident, *WHY)
        assert [one.wait(LIMIT_S) for one in watching] == [1, 1]
    finally:
        for process in watching:
            process.kill()
            process.wait()
    last = told[0].read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith(f"{incident} is terminated since ") and last.endswith(": seen there")
    assert json.loads(told[1].read_text(encoding="utf-8").splitlines()[-1])["state"] == "SAGA_STATE_TERMINATED"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "inc-none"], "there is no such saga: `city sagas list` names them"),
        (["watch", "inc-none"], "there is no such saga"),
        (["resume", "inc-none", *WHY], "there is no such saga"),
        (["resume", "inc-none"], "say why with --reason"),
        (["cancel", "inc-none", "--reason", " "], "say why with --reason"),
        (["cancel", "inc-none", "--reason", "杭" * 200], "say it in fewer words"),
        (["list", "--state", "lost"], "there is no state lost; there are: running, undoing, needs-human"),
        (["tasks", "--kind", "lost"], "there is no kind lost; there are: question, clearance, trouble"),
        (["list", "--open-for", "2"], "2 is no time: write 90s, 15m, 2h or 3d"),
        (["list", "--open-for", "9999d"], "open_for"),
        (["list", "--page", "nonsense"], "page_token"),
        (["show", "x" * 121], "saga_id"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_what_to_do(duty: Duty, arguments: list[str], words: str) -> None:
    assert words in duty.refused(*arguments)


def test_a_step_that_cannot_be_decided_says_where_the_saga_stands(duty: Duty) -> None:
    line = duty.refused("skip", duty.report(), "reserve_bed", *WHY)
    assert "has not begun a step reserve_bed; it has begun: reserve_ambulance" in line and "city sagas show" in line


def test_to_nobody_it_says_where_nobody_answers(tmp_path: Path) -> None:
    line = refused(tmp_path, "sagas", "list", "--gateway", "127.0.0.1:1")
    assert "there is no token" in line


# -- what others wrote ------------------------------------------------------------------------------------------------------


def printed(*what: RenderableType) -> str:
    terminal = Terminal(file=StringIO(), width=160, highlight=False, markup=False)
    for one in what:
        terminal.print(one)
    return terminal.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def printed_whole(*what: RenderableType) -> str:
    """As a list is printed: what is too wide goes on in the next line of the terminal."""
    terminal = Terminal(file=StringIO(), width=80, highlight=False, markup=False, soft_wrap=True)
    for one in what:
        terminal.print(one)
    return terminal.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_what_others_wrote_is_no_command_to_the_terminal_and_no_line_of_its_own() -> None:
    step = pb.SagaStep(name=f"a{EVIL}", status="failed", reason=EVIL, changed_at=Timestamp(seconds=1))
    saga = pb.Saga(
        saga_id=f"s{EVIL}", workflow=EVIL, district_id=EVIL, reason=EVIL, steps=[step], state=pb.SAGA_STATE_UNDONE
    )  # fmt: skip
    other = pb.Saga(saga_id=saga.saga_id)
    task = pb.Task(saga_id=saga.saga_id, step=EVIL, text=EVIL, authorities=[EVIL], options=[EVIL])
    assert "forged" not in [line.split()[0] for line in printed(*saga_view.tasks([task])).splitlines()]
    for text in (printed(*saga_view.lines([saga])), printed(saga_view.drawn(saga)), printed(*saga_view.changes(other, saga))):
        assert "\\u001b[2J\\u009b\\u202e\\u000aforged" in text
        assert {letter for letter in text if not letter.isprintable()} == {"\n"}
        assert not [line for line in text.splitlines() if line.startswith("forged")]


def test_a_line_of_a_list_is_never_cut_and_what_stands_in_it_stands_below_its_title() -> None:
    sagas = [pb.Saga(saga_id=f"s{'x' * number}", district_id="西湖区" if number else "", reason="why") for number in (0, 200)]
    lines = printed_whole(*saga_view.lines(sagas)).splitlines()
    assert [cell_len(line[: line.index("why")]) for line in lines] == [cell_len(lines[0]) - 3] * 3
    assert lines[2].startswith(f"s{'x' * 200}  ")


def test_branches_inside_of_branches_stand_below_them() -> None:
    names = {"a": "", "b": "2.1", "c": "2.2", "d": "2.2/1.1", "e": "2.2/1.2", "f": "2.2", "g": ""}
    steps = [pb.SagaStep(name=name, status="not begun", branch=branch) for name, branch in names.items()]
    lines = printed(saga_view.drawn(pb.Saga(saga_id="s", steps=steps))).splitlines()
    depth = {line.split()[-3]: line.index("·") for line in lines if "·" in line}
    assert depth["a"] == depth["g"] < depth["b"] == depth["c"] == depth["f"] < depth["d"] == depth["e"]
    assert [line.split()[-3] for line in lines if "·" in line] == list(names)


def test_who_answers_what_is_not_asked_or_clears_what_needs_no_clearance_is_told_so(duty: Duty) -> None:
    incident = duty.report()
    where = ("--gateway", duty.address, *WHY)
    assert "reserve_ambulance of saga" in refused(
        duty.folder, "sagas", "answer", incident, "reserve_ambulance", "approve", *where
    )
    assert "needs no clearance to be undone" in refused(duty.folder, "sagas", "clear", incident, "reserve_ambulance", *where)


def test_a_question_says_who_is_asked_what_and_what_may_be_answered() -> None:
    asked = pb.SagaStep(
        name="evacuate", status="asked", asks="fire_command", question="evacuate?\x1b[2J", options=["approve", "reject"]
    )  # fmt: skip
    (line,) = list(saga_view.changes(pb.Saga(), pb.Saga(steps=[asked])))
    assert line.startswith("… evacuate  asked") and "fire_command is asked: evacuate?" in line and "(approve, reject)" in line
    assert "\x1b" not in line


def test_a_saga_shows_its_children_and_whose_child_it_is() -> None:
    step = pb.SagaStep(name="ride", status="sent", child="s.ride.1\x1b[2J")
    (line,) = list(saga_view.changes(pb.Saga(), pb.Saga(steps=[step])))
    assert "saga s.ride.1" in line and "\x1b" not in line
    assert ", child of s\n" in printed(saga_view.drawn(pb.Saga(saga_id="s.ride.1", parent="s")))
