"""Where a value comes from, and what is said of one that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.sagas.v1.saga_service_pb2 import ListSagasRequest
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub

from citybrain.cli.configuration import City
from citybrain.local.child import ChildError, MeshChild
from citybrain.local.jars import CACHE_VARIABLE
from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.configuration import Configuration, ConfigurationError, GivenValue, keys, load, read
from citybrain.mesh.settings.values import ELSEWHERE, Settings, Traces
from citybrain.mesh.subscriptions.tokens import Tokens
from citybrain.observability.receiver import Receiver
from citybrain.observability.sampling import SLOW_MS
from tests.helpers.callers import service_bearer
from tests.helpers.telemetry import spans_in


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(text: str = "", environment: dict[str, str] | None = None, **options: Any) -> Configuration[City]:
    if text:
        Path("city.yaml").write_text(text, encoding="utf-8")
    return load(City, environment=environment or {}, **options)


def wrong(text: str = "", environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        given(text, environment)
    return caught.value.problems


# -- where a value comes from ---------------------------------------------------------------------------------------------


def test_without_anything_every_value_is_its_default() -> None:
    found = given()
    assert found.settings == City()
    assert {found.origin(key.name) for key in keys(City)} == {"default"}


def test_an_option_is_stronger_than_the_environment_than_the_file_than_the_default() -> None:
    text = "host: 127.0.0.2\n\ngateway:\n  # where callers call\n  port: 1\n  deadline_s: 2.5\n"
    environment = {"CITY_GATEWAY_PORT": "2", "CITY_MAX_WORKERS": "7"}
    found = given(text, environment, options={"gateway.port": GivenValue(3, "--port"), "data": None})
    settings = found.settings
    assert (settings.host, settings.gateway.port, settings.gateway.deadline_s, settings.max_workers) == ("127.0.0.2", 3, 2.5, 7)
    origins = {name: found.origin(name) for name in ("host", "gateway.port", "gateway.deadline_s", "max_workers", "data")}
    assert origins == {
        "host": "city.yaml:1", "gateway.port": "--port", "gateway.deadline_s": "city.yaml:6", "max_workers": "CITY_MAX_WORKERS",
        "data": "default",
    }  # fmt: skip
    assert given(text, environment).origin("gateway.port") == "CITY_GATEWAY_PORT"


def test_a_file_may_be_named_and_stands_before_the_one_in_the_working_folder(tmp_path: Path) -> None:
    Path("city.yaml").write_text("max_workers: 1", encoding="utf-8")
    for number, name in ((2, "by-variable.yaml"), (3, "by-option.yaml")):
        Path(name).write_text(f"max_workers: {number}", encoding="utf-8")
    environment = {"CITY_CONFIG": "by-variable.yaml"}
    assert load(Settings, environment={}).settings.max_workers == 1
    assert load(Settings, environment=environment).settings.max_workers == 2
    assert load(Settings, environment=environment, file=Path("by-option.yaml")).settings.max_workers == 3


def test_lists_and_mappings_are_given_in_the_environment_as_in_the_file() -> None:
    environment = {"CITY_PEERS": "{traffic: '127.0.0.1:7101'}", "CITY_GATEWAY_CORS_ORIGINS": "[https://a.example]"}
    settings = given("peers:\n  health: 127.0.0.1:7102\n", environment).settings
    assert settings.peers == {"traffic": "127.0.0.1:7101"}
    assert settings.gateway.cors_origins == ("https://a.example",)


def test_what_other_parts_of_the_city_read_from_the_environment_is_no_mistake() -> None:
    assert given(environment={CACHE_VARIABLE: "elsewhere"}).origins == {}


def test_an_empty_variable_gives_nothing_and_an_empty_section_neither() -> None:
    assert given("gateway:\nlog: ~\n", {"CITY_PORT": ""}).settings == City()


@pytest.mark.parametrize(
    ("environment", "endpoint", "origin"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1"}, "http://a:1", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:1"},
            "http://b:1",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "CITY_TRACES_ENDPOINT": "c:1"}, "c:1", "CITY_TRACES_ENDPOINT"),
    ],
)
def test_the_standard_variables_of_traces_count(environment: dict[str, str], endpoint: str, origin: str) -> None:
    found = given("", environment)
    assert (found.settings.traces.endpoint, found.origin("traces.endpoint")) == (endpoint, origin)


def test_a_process_of_the_mesh_leaves_sections_to_those_who_read_them() -> None:
    Path("city.yaml").write_text("gateway: {anything: 1}\nmax_workers: 5\n", encoding="utf-8")
    found = load(Settings, environment={"CITY_GATEWAY_PORT": "x", "CITY_GATEWAY": "x"}, elsewhere=ELSEWHERE)
    assert found.settings.max_workers == 5


def test_sections_that_are_left_to_others_are_all_that_others_read() -> None:
    own = {key.name.partition(".")[0] for key in keys(Settings)}
    assert {key.name.partition(".")[0] for key in keys(City)} - own == set(ELSEWHERE)


def test_every_value_says_what_it_is_for() -> None:
    assert [key.name for key in keys(City) if not key.description.endswith(".")] == []


# -- what cannot be used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\n", "city.yaml:1:", ["there is no a", "profile, data"]),
        ("data: x\ngatway:\n  port: 1\n", "city.yaml:2:", ["there is no gatway", "do you mean gateway?"]),
        ("gateway:\n  prot: 1\n", "city.yaml:2:", ["there is no gateway.prot", "do you mean gateway.port?"]),
        ("admin_port: 1\n", "city.yaml:1:", ["there is no admin_port", "do you mean gateway.admin_port?"]),
        ("\nport: many\n", "city.yaml:2:", ["port is many", "valid integer", "0 takes any free one"]),
        ("port: 65536\n", "city.yaml:1:", ["port is 65536", "less than or equal to 65535"]),
        ("gateway: {deadline_s: 0}\n", "city.yaml:1:", ["gateway.deadline_s is 0", "greater than 0", "Default: 30.0"]),
        ("profile: Production\n", "city.yaml:1:", ["profile is Production", "'laptop' or 'production'"]),
        ("peers:\n  traffic: nowhere\n", "city.yaml:1:", ["traffic must be host:port"]),
        ("port: 1\ndata: x\nport: 2\n", "city.yaml:3:", ["port stands in line 1 already"]),
        ("log: info\n", "city.yaml:1:", ["log holds values", "level, format"]),
        ("- port\n", "city.yaml:1:", ["the file holds values", "profile"]),
        ("port: [1\n", "city.yaml:2:", ["is no YAML"]),
        ("port: !!python/object:os.system 1\n", "city.yaml:1:", ["port cannot be read"]),
        ("accepts: [no_tsl]\n", "city.yaml:1:", ["accepts is", "'one_host' or 'no_tls'"]),
        ("traces: {endpoint: 'http://me:secret@host:4317'}\n", "city.yaml:1:", ["must hold no password", "OTEL_EXPORTER"]),
        ("cassandra: {consistency: ONE}\n", "city.yaml:1:", ["cassandra.consistency is ONE", "'LOCAL_QUORUM' or 'QUORUM'"]),
        (
            "cassandra:\n  replication: {east: 3, west: 3}\n",
            "city.yaml:2:",
            ["cassandra.replication is", "write `data_centre` with one of them", "`consistency: QUORUM`"],
        ),
        ("cassandra: {data_centre: north, replication: {east: 3}}\n", "city.yaml:1:", ["has no copies in north"]),
        ("traces: {endpoint: collector}\n", "city.yaml:1:", ["write http://127.0.0.1:4317"]),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_line_and_what_to_write(text: str, place: str, words: list[str]) -> None:
    (problem,) = wrong(text)
    assert problem.startswith(place)
    assert [word for word in words if word not in problem] == [], problem


@pytest.mark.parametrize(
    "more", ["consistency: QUORUM, replication: {east: 3, west: 3}", "data_centre: east, replication: {east: 3, west: 3}"]
)
def test_copies_in_several_data_centres_are_taken_where_it_is_clear_who_decides(more: str) -> None:
    assert given(f"cassandra: {{{more}}}").settings.cassandra.replication == {"east": 3, "west": 3}


def test_a_password_that_was_given_is_not_said_again() -> None:
    (problem,) = wrong("traces: {endpoint: 'http://me:secret@host:4317'}\n")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CITY_PROFLE": "production"}, ["CITY_PROFLE: there is no such variable", "do you mean CITY_PROFILE?"]),
        ({"CITY_XYZZY_QUUX_FROB": "1"}, ["CITY_XYZZY_QUUX_FROB", "city config explain"]),
        ({"CITY_GATEWAY_PORT": "http"}, ["CITY_GATEWAY_PORT: gateway.port is http", "valid integer"]),
        ({"CITY_PEERS": "traffic"}, ["CITY_PEERS: peers is traffic", "dictionary"]),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_with_its_variable(environment: dict[str, str], words: list[str]) -> None:
    (problem,) = wrong("", environment)
    assert [word for word in words if word not in problem] == [], problem


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = wrong("prot: 1\nmax_workers: 0\ngateway: {port: x}\n", {"CITY_LOG": "pretty"})
    assert [problem.split(": ")[0] for problem in problems] == ["city.yaml:1", "CITY_LOG", "city.yaml:2", "city.yaml:3"]


def test_a_named_file_that_does_not_exist_is_an_error_that_says_who_named_it() -> None:
    (problem,) = wrong("", {"CITY_CONFIG": "gone.yaml"})
    assert problem.startswith("CITY_CONFIG names gone.yaml")
    with pytest.raises(ConfigurationError, match=r"--config names gone\.yaml, and there is no such file"):
        given(file=Path("gone.yaml"))


def test_a_file_that_is_no_text_is_told() -> None:
    Path("city.yaml").write_bytes(b"\xff\xfe\x00")
    (problem,) = wrong()
    assert problem.startswith("city.yaml: cannot be read")


# -- production -----------------------------------------------------------------------------------------------------------

FIT = """profile: production
token_key: key
personal: {master_key: master}
accepts: [one_host]
traces: {endpoint: "http://127.0.0.1:4317"}
"""
GATEWAY = "gateway: {certificate: city.pem, certificate_key: city-key.pem, plain: false}\n"


def test_production_takes_what_is_fit_for_it() -> None:
    assert given(FIT + GATEWAY).settings.profile == "production"


def test_production_asks_for_no_word_about_one_host_where_many_machines_share_an_engine() -> None:
    text = FIT.replace("accepts: [one_host]\n", "") + GATEWAY + "store: distributed\n"
    assert given(text).settings.store == "distributed"


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("time: driven", ["city.yaml:6: time is driven", "write `time: wall`"]),
        ("log: {format: pretty}", ["city.yaml:6: log.format is pretty", "json"]),
        ("host: 0.0.0.0", ["city.yaml:6: host is 0.0.0.0", "in plain text", "tls.certificate", "accepts: [no_tls]"]),
        (
            "metrics: {listen: '0.0.0.0:9464'}",
            ["city.yaml:6: metrics.listen is 0.0.0.0:9464", "without a token", "127.0.0.1:9464"],
        ),
        (
            "peers: {traffic: 'traffic.example:7101', health: '127.0.0.1:7102'}",
            ["peers are on other machines (traffic)", "tls."],
        ),
    ],
)
def test_production_refuses_what_is_only_for_laptops(change: str, refused: list[str]) -> None:
    (problem,) = wrong(FIT + change + "\n" + GATEWAY)
    assert [word for word in refused if word not in problem] == [], problem
    assert given((FIT + change).replace("production", "laptop")).settings.profile == "laptop"


@pytest.mark.parametrize(
    "change",
    [
        "metrics: {listen: '127.0.0.1:9464'}\n",
        "metrics: {listen: '0.0.0.0:9464'}\naccepts: [one_host, no_tls]\n",
    ],
)
def test_production_lets_metrics_be_read_on_this_machine_or_where_plain_text_is_accepted(change: str) -> None:
    text = FIT if "accepts" not in change else FIT.replace("accepts: [one_host]\n", "")
    assert given(text + change + GATEWAY).settings.metrics.listen


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "127.0.0.1:many", "127.0.0.1:70000"])
def test_an_address_where_nothing_can_listen_is_refused(address: str) -> None:
    (problem,) = wrong(f"metrics: {{listen: '{address}'}}\n")
    assert "metrics.listen" in problem and "write 127.0.0.1:9464, or 127.0.0.1:0 for any free port" in problem


@pytest.mark.parametrize(
    ("left_out", "refused"),
    [
        ("token_key: key\n", "default: token_key is not given"),
        ("personal: {master_key: master}\n", "default: personal.master_key is not given"),
        ("accepts: [one_host]\n", "default: accepts has no one_host"),
        ('traces: {endpoint: "http://127.0.0.1:4317"}\n', "default: traces.endpoint is not given"),
    ],
)
def test_production_refuses_what_it_was_not_given(left_out: str, refused: str) -> None:
    (problem,) = wrong(FIT.replace(left_out, "") + GATEWAY)
    assert problem.startswith(refused)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"])
def test_what_only_this_machine_reaches_needs_no_tls(host: str) -> None:
    assert given(f"{FIT}{GATEWAY}host: '{host}'\n").settings.host == host


@pytest.mark.parametrize(
    ("gateway", "refused"),
    [
        ("", ["gateway.certificate", "gateway.plain"]),
        ("gateway: {plain: false}\n", ["gateway.certificate"]),
        (GATEWAY.replace(", plain: false", ""), ["gateway.plain"]),
        (GATEWAY.replace("false", "true"), ["gateway.plain"]),
    ],
)
def test_in_production_the_gateway_has_a_real_certificate_and_takes_no_plain_text(gateway: str, refused: list[str]) -> None:
    assert [problem.split(": ", 1)[1].split()[0] for problem in wrong(FIT + gateway)] == refused
    # Where something before it brings TLS.
    assert given(FIT.replace("[one_host]", "[one_host, no_tls]") + gateway).settings.profile == "production"


def test_a_key_alone_is_no_certificate() -> None:
    (problem,) = wrong("gateway: {certificate_key: city-key.pem}\n")
    assert problem.startswith("city.yaml:1: gateway.certificate_key") and "is the key of no certificate" in problem


TLS = "tls: {authorities: mesh.pem, certificate: own.pem, certificate_key: own-key.pem}\n"


def test_with_certificates_of_the_mesh_production_listens_everywhere_and_calls_everybody() -> None:
    found = given(FIT + GATEWAY + TLS + "host: 0.0.0.0\npeers: {traffic: 'traffic.example:7101'}\n").settings
    assert found.tls.given and found.accepts == ("one_host",)


@pytest.mark.parametrize(
    ("left", "missing"),
    [
        ("{authorities: a.pem}", ["tls.certificate", "tls.certificate_key"]),
        ("{certificate: c.pem, certificate_key: k.pem}", ["tls.authorities"]),
        ("{authorities: a.pem, certificate: c.pem}", ["tls.certificate_key"]),
        ("{certificate_key: k.pem}", ["tls.authorities", "tls.certificate"]),
    ],
)
def test_tls_of_the_mesh_needs_all_three_files_or_none(left: str, missing: list[str]) -> None:
    (problem,) = wrong(f"tls: {left}\n")
    assert f"give {' and '.join(missing)} too, or none of the three" in problem
    assert "tls.certificate_key is" in problem


def test_files_of_certificates_are_passed_on_to_processes(tmp_path: Path) -> None:
    settings = given(TLS).settings
    configuration.write(settings, tmp_path / "settings.yaml")
    assert load(Settings, file=tmp_path / "settings.yaml", environment={}).settings.tls == settings.tls


def test_who_accepts_plain_text_may_listen_everywhere() -> None:
    text = FIT.replace("[one_host]", "[one_host, no_tls]") + "host: 0.0.0.0\ngateway: {host: 0.0.0.0}\n"
    assert given(text).settings.accepts == ("one_host", "no_tls")


def test_production_refuses_everything_at_once() -> None:
    problems = wrong("profile: production\ntime: driven\nhost: 0.0.0.0\ngateway: {host: 0.0.0.0}\nlog: {format: pretty}\n")
    refused = [problem.split(": ", 1)[1].split()[0] for problem in problems]
    assert refused == [
        "time",
        "token_key",
        "personal.master_key",
        "accepts",
        "traces.endpoint",
        "log.format",
        "host",
        "gateway.certificate",
        "gateway.plain",
    ]


def test_what_is_refused_can_still_be_looked_at() -> None:
    Path("city.yaml").write_text("profile: production\n", encoding="utf-8")
    found = read(City, environment={})
    assert found.origin("profile") == "city.yaml:1"
    with pytest.raises(ConfigurationError, match="production refuses this configuration"):
        found.refuse()


def test_a_key_of_tokens_that_was_named_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"there is no key of tokens at .*head -c 32"):
        Tokens.from_file(tmp_path / "gone.key")
    assert not (tmp_path / "gone.key").exists()


# -- processes of one city ------------------------------------------------------------------------------------------------


def test_settings_that_are_written_down_are_read_as_they_were(tmp_path: Path) -> None:
    settings = given("peers: {traffic: '127.0.0.1:7101'}\naccepts: [no_tls]\nlog: {level: error}\ntoken_key: a/b\n").settings
    configuration.write(settings, tmp_path / "kept" / "settings.yaml")
    again = load(Settings, file=tmp_path / "kept" / "settings.yaml", environment={}).settings
    assert again == Settings(**{name: getattr(settings, name) for name in Settings.model_fields})


def test_a_child_has_the_settings_it_is_given_whatever_its_surroundings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    Path("city.yaml").write_text("no_such_key: 1\n", encoding="utf-8")
    monkeypatch.setenv("CITY_NO_SUCH_VARIABLE", "1")
    data = tmp_path / "data"
    with pytest.raises(ChildError, match="the configuration cannot be used"):
        MeshChild(data, ["sagas"]).start()
    receiver = Receiver(tmp_path / "traces.db")
    traces = Traces(endpoint=receiver.start(), rate=0)
    with MeshChild(data, ["sagas"], settings=Settings(data=data, token_key=key, traces=traces)) as child:
        assert child.running
        with grpc.insecure_channel(child.address) as channel:
            for baggage in ("incident.id=inc-1", "other=x"):
                metadata = [service_bearer(data, "probe"), ("baggage", baggage)]
                SagaServiceStub(channel).ListSagas(ListSagasRequest(), metadata=metadata, timeout=30)
    assert not (data / "token.key").exists()
    receiver.stop()
    # Of traces without an incident nothing was to be sent, unless it was slow.
    sent = [span for span in spans_in(tmp_path / "traces.db") if span.incident_id or span.duration_ms <= SLOW_MS]
    assert [(span.name, span.incident_id) for span in sent] == [("citybrain.sagas.v1.SagaService/ListSagas", "inc-1")]


def test_a_child_that_production_refuses_says_all_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(data=data, profile="production", time="driven")
    with pytest.raises(ChildError) as caught:
        MeshChild(data, ["sagas"], settings=settings).start()
    assert len(str(caught.value).splitlines()) == 6


def test_a_peer_that_is_no_service_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"there is no service trafic to be a peer; there are: .*traffic"):
        MeshChild(tmp_path / "data", ["sagas", "--peer", "trafic=127.0.0.1:1"]).start()
