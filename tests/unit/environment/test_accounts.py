"""Greenhouse-gas accounts and carrying capacity."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.testing import Running
from citybrain.services.environment import greenhouse
from tests.unit.environment.test_sources import OTHER, admit, close

SO2, NOX = pb.QUANTITY_SO2, pb.QUANTITY_NOX


def factor(environment: Running, factor_id: str = "coal", kg: float = 2000.0, **more: Any) -> None:
    # A made-up figure: a test needs no true one.
    told: dict[str, Any] = {"activity": "coal burnt", "amount_unit": "t", "source": "a test", "year": 2024, **more}
    environment.fire("RegisterFactor", pb.RegisterFactorRequest(factor_id=factor_id, kg_co2e=kg, **told))


def count(environment: Running, firm_id: str, amount: float, key: str = "boiler", **more: Any) -> float:
    told: dict[str, Any] = {"factor_id": "coal", "amount_unit": "t", "year": 2025, **more}
    asked = pb.ReportActivityRequest(activity_id=key, firm_id=firm_id, amount=amount, **told)
    return float(environment.fire("ReportActivity", asked).tonnes)


def account(environment: Running, firm_id: str, **more: Any) -> Any:
    return environment.fire("GetGreenhouseAccount", pb.GetGreenhouseAccountRequest(firm_id=firm_id, year=2025, **more))


@pytest.fixture
def firm(environment: Running) -> str:
    """A firm with one source."""
    firm_id = admit(environment).firm.firm_id
    environment.rest()
    return firm_id


def test_an_account_is_activity_times_factor_with_where_the_factor_is_from(environment: Running, firm: str) -> None:
    factor(environment)
    factor(environment, "power", 570.3, amount_unit="MWh")
    assert count(environment, firm, 10) == 20
    assert count(environment, firm, 4, "grid", factor_id="power", amount_unit="MWh") == pytest.approx(22.2812)
    # The amount again is counted once; another one replaces it.
    assert count(environment, firm, 4, "grid", factor_id="power", amount_unit="MWh") == pytest.approx(22.2812)
    assert count(environment, firm, 5) == pytest.approx(12.2812)
    assert count(environment, firm, 1, year=2024) == 2
    first = account(environment, firm, page_size=1)
    rest = account(environment, firm, page_size=1, page_token=first.next_page_token)
    assert [one.activity_id for one in (*first.items, *rest.items)] == ["boiler", "grid"]
    assert first.tonnes == rest.tonnes == pytest.approx(12.2812)
    assert (first.items[0].factor_source, first.items[0].factor_year, first.items[0].tonnes) == ("a test", 2024, 10)
    assert len(environment.events(ev.ActivityCounted)) == 4


def test_a_factor_never_changes_and_is_never_guessed(environment: Running, firm: str) -> None:
    with pytest.raises(NotFound, match="no factor coal"):
        count(environment, firm, 10)
    factor(environment)
    factor(environment)
    with pytest.raises(AlreadyDifferent, match="another one has another id"):
        factor(environment, kg=1999)
    with pytest.raises(BadRequest, match="amount_unit: is kg, and factor coal is for one t"):
        count(environment, firm, 10, amount_unit="kg")
    with pytest.raises(NotFound, match="nothing is known of firm"):
        count(environment, "per-unknown", 10)
    with pytest.raises(Forbidden):
        environment.fire("GetGreenhouseAccount", pb.GetGreenhouseAccountRequest(firm_id=firm, year=2025), district="gongshu")


def test_an_account_has_so_many_activities_and_no_more() -> None:
    factor = ev.FactorRegistered(factor_id="coal", amount_unit="t", kg_co2e=1)

    def counted(account: greenhouse.Account, key: str, amount: float = 1) -> int:
        return len(greenhouse.count(account, pb.ReportActivityRequest(activity_id=key, amount=amount), factor))

    items = {f"a{n}": pb.GreenhouseItem(activity_id=f"a{n}") for n in range(greenhouse.MOST_ITEMS - 1)}
    assert counted(greenhouse.Account(items), "one more") == 1
    full = greenhouse.Account({**items, "last": pb.GreenhouseItem()})
    with pytest.raises(Refused, match="put several into one"):
        counted(full, "one more")
    # What is there is corrected still.
    assert counted(full, "a0", 2) == 1


def test_the_load_of_an_area_is_what_permits_allow_beside_what_it_can_bear(environment: Running, firm: str) -> None:
    admit(environment, "s2", uscc=OTHER)
    admit(environment, "s3", district_id="gongshu")
    environment.rest()

    def load(quantity: pb.Quantity = SO2) -> Any:
        return environment.fire("GetCapacity", pb.GetCapacityRequest(district_id="xihu", quantity=quantity))

    with pytest.raises(NotFound, match="nobody has said"):
        load()
    for kg in (3600, 3600, 1200):
        asked = pb.SetCapacityRequest(district_id="xihu", quantity=SO2, kg_a_year=kg, source="a study")
        environment.fire("SetCapacity", asked)
    assert len(environment.events(ev.CapacitySet)) == 2
    found = load()
    assert (found.permitted_kg_a_year, found.sources, found.load, found.source) == (1800, 2, 1.5, "a study")
    # An area that can bear nothing has no load that a number tells.
    with pytest.raises(BadRequest, match="kg_a_year"):
        asked = pb.SetCapacityRequest(district_id="xihu", quantity=SO2, kg_a_year=0, source="a study")
        environment.fire("SetCapacity", asked)
    close(environment, "s2")
    environment.rest()
    assert (load().permitted_kg_a_year, load().load) == (900, 0.75)
    with pytest.raises(NotFound):
        load(NOX)
