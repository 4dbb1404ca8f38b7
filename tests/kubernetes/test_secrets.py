"""The Secrets that a city gives are made by one command, and stay the same when it is given again."""

from __future__ import annotations

import base64

import pytest

from citybrain.k8s.configurations import GIVEN
from tests.kubernetes.conftest import ENVIRONMENTS, City, documented

THERE = ("--namespace", ENVIRONMENTS["production"].namespace)
pytestmark = pytest.mark.timeout(600)


def test_every_secret_is_there_with_its_keys_and_the_same_after_the_next_time(production: City) -> None:
    (command,) = documented("What the city gives")
    production.done(command)
    before = {one["metadata"]["name"]: one for one in production.cluster.get("secrets", *THERE)}
    assert {name: set(before[name]["data"]) for name in GIVEN} == {name: set(keys) for name, keys in GIVEN.items()}
    assert all(base64.b64decode(value) for name in GIVEN for value in before[name]["data"].values())
    assert (production.root / "installation").stat().st_mode & 0o077 == 0
    production.done(command)
    after = {one["metadata"]["name"]: one for one in production.cluster.get("secrets", *THERE)}
    assert {name: after[name]["data"] for name in GIVEN} == {name: before[name]["data"] for name in GIVEN}
    # What the namespace enforces is still enforced.
    (namespace,) = production.cluster.get("namespace", ENVIRONMENTS["production"].namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_password_that_somebody_put_there_is_given_as_it_is(production: City) -> None:
    (command,) = documented("What the city gives")
    (production.root / "installation" / "cassandra").mkdir(parents=True, exist_ok=True)
    (production.root / "installation" / "cassandra" / "keeper").write_text("of the city", encoding="utf-8")
    production.done(command)
    (given,) = production.cluster.get("secrets", "citybrain-cassandra", *THERE)
    assert base64.b64decode(given["data"]["keeper"]) == b"of the city"
