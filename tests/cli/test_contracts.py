"""`city contracts`, in a repository of another team: what its own change breaks, and what one of the city's breaks there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from citybrain.cli import contracts as contracts_command
from citybrain.cli.compatibility import apart
from citybrain.cli.compatibility.apart import Apart
from citybrain.cli.compatibility.breaks import findings
from citybrain.cli.compatibility.contracts import Consumer, NotWritten, written
from citybrain.local.child import MeshChild
from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from citybrain.local.problems import Problem
from tools.contracts import readers

CITY = (sys.executable, "-c", "from citybrain.cli.main import main; main()")
OPENED = "citybrain.emergency_command.v1.IncidentOpened"
EVENTS = "protos/citybrain/parks/v1/events.proto"
SERVICE = "protos/citybrain/parks/v1/parks_service.proto"


# All in one process: most of the time is that of loading the city.
MADE = """
import os
from citybrain.cli.main import app

app(["new", "service", "parks", "--team", "gardens"], standalone_mode=False)
os.chdir("parks")
for words in (["stubs", "protos"], ["contracts", "reads"], ["contracts", "release"]):
    app(words, standalone_mode=False)
"""


def city(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    here = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*CITY, *words], cwd=folder, env=here, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as `city new service` makes it, with what it reads and what it released."""
    folder = tmp_path_factory.mktemp("teams")
    done = subprocess.run([sys.executable, "-c", MADE], cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done
    return folder / "parks"


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a repository adds to the modules that can be found goes with its test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def parks(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(made, tmp_path / "parks")


def contracts() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(descriptors().read_bytes())


def changed(
    change: Callable[[FieldDescriptorProto], object] | None, of: str = OPENED, field: str = "district_id"
) -> FileDescriptorSet:
    """The city's contracts after a change of a field; None: it is taken out."""
    found = contracts()
    package, _, name = of.rpartition(".")
    message = next(m for file in found.file if file.package == package for m in file.message_type if m.name == name)
    one = next(one for one in message.field if one.name == field)
    message.field.remove(one) if change is None else change(one)
    return found


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def line_of(path: Path, words: str) -> int:
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if words in line)


def test_what_the_code_reads_is_written_and_then_nothing_is_broken(parks: Path) -> None:
    (one,) = written((parks / "protos" / "consumers.yaml").read_text(encoding="utf-8"))
    assert (one.name, one.team) == ("parks", "gardens")
    assert one.reads[OPENED] == ["district_id", "incident_id"]
    done = city(parks, "contracts", "check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "✓ nothing is broken"), done


def test_a_field_of_its_own_event_that_goes_is_told_with_its_place_and_who_reads_it(parks: Path) -> None:
    line = (parks / EVENTS).read_text(encoding="utf-8").splitlines()[line_of(parks / EVENTS, "string name =") - 1]
    edited(parks / EVENTS, line + "\n", "")
    wrong, _ = Apart(parks, contracts()).of_own()
    place = line_of(parks / EVENTS, "message SiteOpened {")
    (told,) = [one for one in wrong if "buf" not in one]
    assert told.startswith(f"{EVENTS}:{place}: citybrain.parks.v1.SiteOpened.name is gone, and parks (team gardens) reads it")


def test_a_break_of_its_own_may_be_chosen_where_its_repository_says_so(parks: Path) -> None:
    edited(parks / SERVICE, '"parks.write"', '"parks.open"')
    here = Apart(parks, contracts())
    (told,) = here.of_own()[0]
    assert "needed the scope parks.write" in told and "name the method in [tool.city.chosen] of pyproject.toml" in told
    name = "citybrain.parks.v1.ParksService.OpenSite"
    with (parks / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[tool.city.chosen]\n"{name}" = "another team opens sites"\n"x.Y" = "?"\n')
    assert here.of_own()[0] == ["[tool.city.chosen] of pyproject.toml names x.Y, of which nothing is broken: take it out"]
    edited(parks / "pyproject.toml", '"another team opens sites"', "1")
    with pytest.raises(Problem, match=r"write below \[tool.city.chosen\]"):
        here.of_own()


def test_what_is_broken_is_not_released(parks: Path) -> None:
    kept = (parks / "protos" / "released.binpb").read_bytes()
    edited(parks / SERVICE, '"parks.write"', '"parks.open"')
    with pytest.raises(Problem, match="stays as it is"):
        Apart(parks, contracts()).keep_release()
    assert (parks / "protos" / "released.binpb").read_bytes() == kept


def test_without_buf_the_rules_of_the_city_are_held_and_it_is_told_what_to_install(
    parks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_buf", lambda: None)
    edited(parks / SERVICE, '"parks.write"', '"parks.open"')
    wrong, worth = Apart(parks, contracts()).of_own()
    assert len(wrong) == 1 and "pip install buf-bin" in worth[0]


def test_where_nothing_was_released_its_contracts_may_change(parks: Path) -> None:
    (parks / "protos" / "released.binpb").unlink()
    edited(parks / SERVICE, '"parks.write"', '"parks.open"')
    wrong, worth = Apart(parks, contracts()).of_own()
    assert wrong == [] and "city contracts release" in worth[0]


def of_city(parks: Path, now: FileDescriptorSet) -> list[str]:
    here = Apart(parks, now)
    return here.of_city(here.reads() or [])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "district_id is gone, and parks (team gardens) reads it"),
        (lambda one: setattr(one, "number", 77), "district_id has the number 77"),
        (lambda one: setattr(one, "type", FieldDescriptorProto.TYPE_INT64), "district_id is int64 and was string"),
    ],
    ids=["taken out", "another number", "another type"],
)
def test_a_field_of_the_city_that_it_reads_and_that_breaks_is_told_with_each_place_in_its_code(
    parks: Path, change: Callable[[FieldDescriptorProto], object] | None, sentence: str
) -> None:
    (told,) = of_city(parks, changed(change))
    assert sentence in told and "the city's protos/citybrain/emergency_command/v1/events.proto:" in told
    place = line_of(parks / "parks" / "service.py", "== event.data.district_id")
    assert f"parks/service.py:{place}" in told.partition(": the city's")[0]


def test_a_running_city_is_asked_for_its_contracts(parks: Path, tmp_path: Path) -> None:
    # As if the city had once had a field more, which the code reads.
    kept = FileDescriptorSet.FromString((parks / "protos" / "city.binpb").read_bytes())
    (opened,) = [one for file in kept.file for one in file.message_type if one.name == "IncidentOpened"]
    opened.field.add(
        name="ward_id", number=99, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    # What does not run there is compared with the installed package.
    kept.file.extend(file for file in contracts().file if file.name == "citybrain/health/v1/events.proto")
    (parks / "protos" / "city.binpb").write_bytes(kept.SerializeToString())
    more = "incident_id, ward_id]\n    citybrain.health.v1.AmbulanceReserved: [incident_id]"
    edited(parks / "protos" / "consumers.yaml", "incident_id]", more)
    with MeshChild(tmp_path / "data", ["emergency_command"]) as child:
        done = city(parks, "contracts", "check", "--city", child.address, "--data", str(tmp_path / "data"))
    assert done.returncode == 1, done
    told = [line for line in done.stdout.splitlines() if "the city's" in line]
    assert len(told) == 1 and "IncidentOpened.ward_id is gone, and parks (team gardens) reads it" in told[0]


def test_what_it_does_not_read_of_the_city_is_none_of_its_business(parks: Path) -> None:
    assert of_city(parks, changed(None, field="place")) == []
    assert of_city(parks, changed(None, "citybrain.health.v1.AmbulanceReserved", "incident_id")) == []


def test_an_event_of_the_city_that_it_hears_and_that_goes_is_told(parks: Path) -> None:
    now = contracts()
    (file,) = [one for one in now.file if one.name == "citybrain/emergency_command/v1/events.proto"]
    file.message_type.remove(next(one for one in file.message_type if one.name == "IncidentOpened"))
    told = " ".join(of_city(parks, now))
    assert f"{OPENED}, an event, is gone, and parks (team gardens) hears it" in told
    assert f"parks/service.py:{line_of(parks / 'parks' / 'service.py', 'import IncidentOpened')}" in told


def test_a_method_that_it_calls_counts_with_all_that_it_is_asked_and_answers(parks: Path) -> None:
    calls = "citybrain.health.v1.HealthService.ReserveBed"
    here = Apart(parks, contracts())
    reads = [Consumer("parks", "gardens", {}, [calls])]
    (parks / "protos" / "city.binpb").write_bytes(here._read_of_the_city(reads).SerializeToString())
    gone = Apart(parks, changed(None, "citybrain.health.v1.ReserveBedResponse", "hospital_id"))
    (told,) = gone.of_city(reads)
    assert "ReserveBedResponse.hospital_id is gone" in told
    other = Apart(parks, changed(None, "citybrain.health.v1.ReserveAmbulanceResponse", "ambulance_id"))
    assert other.of_city(reads) == []


def test_a_break_is_not_forgotten_while_the_code_names_it_and_is_once_it_does_not(
    parks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Apart(parks, changed(None))
    monkeypatch.setattr(Apart, "derived", lambda self: [Consumer("parks", "gardens", {OPENED: ["incident_id"]})])
    before = (parks / "protos" / "consumers.yaml").read_text(encoding="utf-8")
    with pytest.raises(Problem, match="the code still names what is broken"):
        now.keep_reads()
    assert (parks / "protos" / "consumers.yaml").read_text(encoding="utf-8") == before
    for path in (parks / "parks").glob("*.py"):
        path.write_text(path.read_text(encoding="utf-8").replace("district_id", "place_id"), encoding="utf-8")
    now.keep_reads()
    assert of_city(parks, changed(None)) == []


def test_reads_that_are_out_of_date_and_files_that_are_missing_are_told_with_the_command(
    parks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Apart, "derived", lambda self: [])
    assert any(
        "does not say what the code reads now: city contracts reads" in one for one in Apart(parks, contracts()).check().wrong
    )
    (parks / "protos" / "city.binpb").unlink()
    assert any("is missing: city contracts reads" in one for one in Apart(parks, contracts()).check().wrong)


def test_breaks_are_told_as_json_and_end_with_1_although_the_code_cannot_be_loaded(parks: Path) -> None:
    edited(parks / SERVICE, '"parks.write"', '"parks.open"')
    shutil.rmtree(parks / "stubs")
    done = city(parks, "contracts", "check", "--json")
    told = json.loads(done.stdout)["wrong"]
    assert done.returncode == 1 and "needed the scope parks.write" in told[0] and "city stubs" in told[-1]


def test_folders_and_files_that_cannot_be_used_are_told_in_one_line(parks: Path, tmp_path: Path) -> None:
    for folder, problem in ((ROOT, "`make check` does it there"), (tmp_path, "no service is in")):
        with pytest.raises(Problem, match=problem):
            Apart(folder, contracts())
    here = Apart(parks, contracts())
    (parks / "protos" / "consumers.yaml").write_text("- 1", encoding="utf-8")
    (parks / "protos" / "released.binpb").write_bytes(b"\xff")
    with pytest.raises(Problem, match="`city contracts reads` makes it"):
        here.reads()
    with pytest.raises(Problem, match="holds no contracts"):
        here.of_own()
    with pytest.raises(Problem, match="there is no folder nowhere: name the repository of the service with --folder"):
        contracts_command.reads(Path("nowhere"))


def test_a_change_in_the_city_names_who_reads_it_in_another_repository(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "protos" / "consumers.yaml", tmp_path / "parks.yaml")
    known = readers(contracts(), tmp_path)
    (parks,) = [one for one in known if one.name == "parks"]
    # The city does not know its own contracts, and says nothing of them.
    assert list(parks.reads) == [OPENED]
    told = [one.line() for one in findings(contracts(), changed(None), known)]
    assert any("parks (team gardens)" in one and "IncidentOpened.district_id is gone" in one for one in told)
    assert findings(contracts(), contracts(), known) == []


@pytest.mark.parametrize(
    "text",
    ["- 1", "parks: 1", "parks: {reads: {}}", "parks: {team: t, reads: {a: 1}}", "a: [", "parks: {team: t, reads: {a: [1]}}"],
)
def test_a_file_of_another_repository_that_says_nothing_of_the_kind_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "parks.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(NotWritten, match=r"parks\.yaml: it does not say who reads what .*: take the file that"):
        readers(contracts(), tmp_path)
