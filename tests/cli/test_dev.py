"""`city dev`: a service is written beside a city or alone, and each save is taken up."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from citybrain.local.city import LocalCity
from citybrain.local.reflection import CallError, Remote
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import token
from tests.helpers.city_command import CITY, refused, run
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy
LIMIT_S = 60.0
OPEN = '{"siteId": "s1", "districtId": "xihu", "name": "曲院风荷"}'


@pytest.fixture
def parks(tmp_path: Path) -> Path:
    """A service in a repository of its own, with its stubs."""
    for command in (("new", "service", "parks"), ("stubs", "parks/protos", "--into", "parks/stubs")):
        assert run(tmp_path, *command).returncode == 0
    return tmp_path / "parks"


@contextlib.contextmanager
def developed(parks: Path, data: Path) -> Iterator[list[str]]:
    """`city dev parks`, and the lines that it prints."""
    command = [CITY, "dev", "parks", "--folder", ".", "--data", str(data), "--port", "0"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=parks, stdout=pipe, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    said: list[str] = []
    assert process.stdout is not None
    lines = process.stdout
    reading = threading.Thread(target=lambda: said.extend(lines))
    reading.start()
    try:
        until(lambda: any("parks answers after" in line for line in said) or process.poll() is not None, said)
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_S)
        reading.join()


def called(address: str, data: Path, method: str, request: str = "{}") -> Any:
    """The answer to a call, or the error's text."""
    with Remote(address, token(data)) as remote:
        try:
            (answer,) = remote.call(f"parks/{method}", request, timeout_s=LIMIT_S, metadata=[])
        except CallError as error:
            return str(error)
        return answer


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_without_a_city_each_save_is_taken_up_and_what_is_wrong_is_told_until_it_is_mended(parks: Path) -> None:
    data, domain = parks / "data", parks / "parks" / "domain.py"
    contract = parks / "protos" / "citybrain" / "parks" / "v1" / "parks_service.proto"
    with developed(parks, data) as said:
        (address,) = re.findall(r"gateway at (\S+),", "".join(said))
        opened = until(lambda: (got := called(address, data, "OpenSite", OPEN)) and "site" in got and got, said)
        assert opened["site"]["name"] == "曲院风荷"
        other = OPEN.replace("曲院风荷", "太子湾")
        assert "choose another id" in called(address, data, "OpenSite", other)

        change(domain, "choose another id", "take an id that is free")
        until(lambda: "take an id that is free" in called(address, data, "OpenSite", other), said)

        change(domain, "def warn(", "def warn((")
        until(
            lambda: any("parks cannot run" in line for line in said) and any("domain.py, line" in line for line in said), said
        )
        change(domain, "def warn((", "def warn(")
        until(lambda: "take an id that is free" in called(address, data, "OpenSite", other), said)

        change(contract, "int32 warnings = 4;", "int32 warnings = 4;\n  string keeper = 5;")
        # While it is started again, the answer is an error.
        until(lambda: "'keeper': ''" in str(called(address, data, "ListSites")), said)
        change(contract, "string keeper = 5;", "string keeper = 4;")
        until(lambda: any("parks_service.proto:" in line and "number 4" in line for line in said), said)
    assert "Traceback" not in "".join(said)


def test_beside_a_city_it_joins_it_and_of_what_runs_there_no_second_is_begun(parks: Path) -> None:
    data = parks / "data"
    with LocalCity(Settings(data=data), only=["emergency_command", "audit"]) as city:
        assert city.gateway is not None
        address = city.gateway.address
        with developed(parks, data) as said:
            assert not any("gateway at" in line for line in said)
            until(lambda: "site" in called(address, data, "OpenSite", OPEN), said)
            for page, shown in (("openapi.json", "/v1/parks/sites"), ("asyncapi.json", "citybrain.parks.v1.SiteOpened")):
                with urllib.request.urlopen(f"http://{address}/docs/{page}", timeout=LIMIT_S) as document:
                    assert shown in document.read().decode()
            again = refused(parks, "dev", "parks", "--folder", ".")
            assert "runs on data already" in again and "city up --without parks" in again
