"""The rules for Prometheus: made from what services promise, tried by promtool; each alert has a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from citybrain.cli.dashboards import rule_texts
from citybrain.observability.numbers import NUMBERS, label
from citybrain.observability.objectives import RATIO, STALE, WINDOWS, Promise, of_service
from citybrain.observability.rules import Alert, Record
from tests.helpers.contracts import MANIFESTS
from tests.helpers.prometheus import ROOM, program
from tests.helpers.promql import selectors

ROOT = Path(__file__).parents[3]
RULES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOM / "rules").glob("*.yaml"))}
ALERTS = {
    rule["alert"]: rule for file in RULES.values() for group in file["groups"] for rule in group["rules"] if "alert" in rule
}
RUNBOOKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "runbooks").glob("*.md"))}
TESTS = sorted(Path(__file__).with_name("rules").glob("*.yaml"))


def test_promtool_reads_every_rule() -> None:
    files = map(str, (ROOM / "rules").glob("*.yaml"))
    said = subprocess.run([str(program("promtool")), "check", "rules", *files], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_promtool_reads_the_configuration() -> None:
    command = [str(program("promtool")), "check", "config", str(ROOM / "prometheus.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(RULES)} rule files found" in said.stdout


@pytest.mark.parametrize("test", TESTS, ids=[path.stem for path in TESTS])
def test_rules_do_what_is_said_of_them(test: Path) -> None:
    said = subprocess.run([program("promtool"), "test", "rules", test], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_tried_by_promtool() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in TESTS)
    tried = set(re.findall(r'exp_alerts:\n|alertname: (\w+)|alertname="(\w+)",severity', texts))
    assert {one for pair in tried for one in pair if one} == ALERTS.keys()


def test_every_service_states_what_it_promises_and_has_rules() -> None:
    assert [one.name for one in MANIFESTS if one.objectives is None] == []
    assert RULES.keys() == {"city", *(one.name for one in MANIFESTS)}


def test_rules_ask_only_for_what_services_send_and_rules_record() -> None:
    parts = {"histogram": ("_bucket", "_count"), "counter": ("",), "gauge": ("",)}
    labels = {
        f"{one.prometheus}{part}": {label(name) for name in one.labels} | ({"le"} if part == "_bucket" else set())
        for one in NUMBERS
        for part in parts[one.kind]
    }
    labels |= {"up": {"job"}, STALE: {"city_service"}}
    labels["envoy_http_downstream_rq_xx"] = {"envoy_http_conn_manager_prefix", "envoy_response_code_class"}
    labels |= {f"{RATIO}{window}": {"city_service", "objective"} for window in WINDOWS}
    for rule in (rule for file in RULES.values() for group in file["groups"] for rule in group["rules"]):
        for name, _, used in selectors(promql_parser.parse(rule["expr"])):
            # Prometheus adds the instance.
            assert used - {"instance"} <= labels[name], rule


def promised(*promises: Promise) -> dict[str, Any]:
    """The expressions of the rules, by name."""
    rules = [rule for group in of_service("health", promises) for rule in group.rules]
    return {rule.name: rule.expression for rule in rules if isinstance(rule, Record | Alert)}


@pytest.mark.parametrize(
    ("promise", "thresholds"),
    [
        (Promise("read", 0.999), ["0.0144", "0.006", "0.001"]),
        (Promise("command", 0.95, 2.5), ["0.72", "0.3", "0.05"]),
        (Promise("events", 0.99, 10), ["0.144", "0.06", "0.01"]),
    ],
)
def test_an_alert_asks_for_the_pace_at_which_a_budget_is_used_up(promise: Promise, thresholds: list[str]) -> None:
    found = promised(promise)
    fast, slowly = found["CityObjectiveBurnsFast"], found["CityObjectiveBurnsSlowly"]
    assert re.findall(r"ratio_rate(\w+)\{[^}]*\} > ([0-9.]+)", fast) == [
        ("1h", thresholds[0]), ("5m", thresholds[0]), ("6h", thresholds[1]), ("30m", thresholds[1]),
    ]  # fmt: skip
    assert re.findall(r"ratio_rate(\w+)\{[^}]*\} > ([0-9.]+)", slowly) == [("3d", thresholds[2]), ("6h", thresholds[2])]


@pytest.mark.parametrize(("seconds", "wanted"), [(0.25, 'le="0.25"'), (1, 'le=~"1([.]0)?"'), (10, 'le=~"10([.]0)?"')])
def test_a_bucket_is_found_however_prometheus_writes_its_end(seconds: float, wanted: str) -> None:
    expression = promised(Promise("read", 0.99, seconds))["city:slo_errors:ratio_rate5m"]
    assert wanted in expression


def test_a_service_without_objectives_has_no_rules(tmp_path: Path) -> None:
    manifest = (ROOT / "services" / "audit" / "manifest.yaml").read_text(encoding="utf-8")
    named = manifest.replace("name: audit", "name: parks")
    (tmp_path / "manifest.yaml").write_text(named, encoding="utf-8")
    assert "within 1 s" in rule_texts(["parks"], [tmp_path])["parks"]
    (tmp_path / "manifest.yaml").write_text(named.partition("objectives:")[0], encoding="utf-8")
    assert rule_texts(["parks"], [tmp_path]) == {}


# -- what to do -------------------------------------------------------------------------------------------------------------


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert RUNBOOKS.keys() == ALERTS.keys()
    assert [name for name, rule in ALERTS.items() if rule["annotations"]["runbook"] != f"docs/runbooks/{name}.md"] == []
    assert [name for name, text in RUNBOOKS.items() if not text.startswith(f"# {name}: ")] == []


def test_each_page_says_what_to_look_at_and_what_mends_it_and_whether_somebody_is_woken() -> None:
    for name, text in RUNBOOKS.items():
        assert "\n## Look at\n" in text and "\n## Mend\n" in text, name
        woken = ALERTS[name]["labels"]["severity"] == "page"
        assert text.split("\n\n")[1].startswith("Somebody is woken." if woken else "A ticket."), name


def test_commands_that_pages_name_are_there() -> None:
    import typer.main

    from citybrain.cli.main import app

    city: Any = typer.main.get_command(app)
    named = {words for text in RUNBOOKS.values() for words in re.findall(r"`city ([a-z -]+)`", text)}
    assert len(named) > 10
    for words in named:
        command = city
        for word in words.split():
            command = command.commands.get(word)
            assert command is not None, f"there is no command city {words}"
            if not hasattr(command, "commands"):
                break


def test_pages_are_linked() -> None:
    page = (ROOT / "docs" / "observing.md").read_text(encoding="utf-8")
    assert {name for name in RUNBOOKS if f"(runbooks/{name}.md)" not in page} == set()
