"""`python -m citybrain.simulation city|ordinary|bluelight|alone|verify`: drives a run, and tells it on stdout as lines of JSON.

    city --scenario F.sumocfg --gateway HOST:PORT [--seed N] [--emergencies N] [--places F.yaml] [--calls F.jsonl]
         [--pace X] [--record F.jsonl] [--tracks F.json] [--until S]
    ordinary|bluelight|alone --scenario F.sumocfg --rides F.jsonl|- [--seed N] [--tracks F.json] [--until S]
    verify --scenario F.sumocfg --gateway HOST:PORT --proposal ID [--seed N] [--seeds N] [--until S]

`--city NAME --scenarios FOLDER` stands for the scenario and the places of a shipped city. An argument or a file that cannot be
used is one line on stderr, and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# Asked for when gRPC is loaded: stderr is for our own lines.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from citybrain.traffic.v1 import plans_pb2 as proposals
from google.protobuf.json_format import MessageToDict

from citybrain.simulation.baseline_run import VARIANTS, drive_baseline
from citybrain.simulation.city_run import CityRun
from citybrain.simulation.errors import ScenarioError, SimulationError
from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.given import read_calls, read_city, read_places
from citybrain.simulation.network import read_network
from citybrain.simulation.output import keep_stdout, tell_stdout
from citybrain.simulation.places import APART_S, RULE, WARM_UP_S, Call, Places, derive_calls, derive_places
from citybrain.simulation.record import Record
from citybrain.simulation.rhythm import AtRest, Paced
from citybrain.simulation.rides import Orders, place_json
from citybrain.simulation.scenario import Scenario, open_scenario
from citybrain.simulation.street import Street
from citybrain.simulation.verifying import verify

VERIFY = "verify"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status."""
    options = _parser().parse_args(argv)
    try:
        _run(options)
    except SimulationError as error:
        # An error text of SUMO may have several lines.
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    except BrokenPipeError:
        # The reader of stdout has gone. The rest of the buffer must not fail again at exit.
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    scenario, places_file = _scenario(options)
    network = read_network(scenario.net_file)
    end = _end(options, scenario)
    tell_stdout(
        "scenario", variant=options.variant, name=scenario.name, file=str(scenario.path), seed=options.seed,
        begin=scenario.begin, end=end, edges=len(network.edges), signals=len(network.signal_points),
    )  # fmt: skip
    if options.variant in VARIANTS:
        if options.rides is None:
            raise ScenarioError("--rides is missing: the rides of a city run, as a file or '-'")
        orders = Orders(_lines(options.rides), options.rides)
        result = drive_baseline(
            options.variant, scenario, network, options.seed, end, orders, tell_stdout, options.tracks, scale=options.scale,
            lost_time_file=options.lost_time,
        )  # fmt: skip
        tell_stdout("result", **result)
        return
    if options.variant == VERIFY:
        if options.gateway is None or options.proposal is None:
            raise ScenarioError(
                "--gateway and --proposal are needed: where the mesh answers, and which proposal is to be verified"
            )
        seeds = range(options.seed, options.seed + options.seeds)
        with (
            Record(None) as record,
            Gateway(options.gateway, os.environ.get("CITY_TOKEN", ""), options.seed, record) as gateway,
        ):
            found = verify(gateway, options.proposal, scenario, network, seeds, end, options.scale, tell_stdout)
        forecast = MessageToDict(found.forecast, preserving_proto_field_name=True)
        tell_stdout("result", proposal=found.proposal_id, state=proposals.ProposalState.Name(found.state), **forecast)
        return
    places = read_places(places_file, network) if places_file else derive_places(network, options.seed)
    span_s = end - scenario.begin
    calls = (
        read_calls(options.calls, network, span_s)
        if options.calls
        else derive_calls(network, places, options.seed, options.emergencies)
    )
    if calls and calls[-1].at_s >= span_s:
        raise ScenarioError(
            f"{scenario.path}: lasts {span_s} s, and the last of {len(calls)} calls would come after {calls[-1].at_s} s: "
            "ask for fewer emergencies"
        )
    _tell_places(places, calls, places_file)
    if options.gateway is None:
        raise ScenarioError("--gateway is missing: HOST:PORT of the mesh's gateway")
    with (
        Record(options.record) as record,
        Street(
            scenario,
            network,
            options.seed,
            siren=True,
            places=places,
            calls=calls,
            tracks=options.tracks is not None,
            scale=options.scale,
            lost_time=options.lost_time is not None,
        ) as street,
        Gateway(options.gateway, os.environ.get("CITY_TOKEN", ""), options.seed, record) as gateway,
    ):
        rhythm = AtRest(gateway) if options.pace is None else Paced(gateway, options.pace)
        run = CityRun(gateway, rhythm, street, places, calls, tell_stdout, adaptive=options.adaptive)
        tell_stdout("result", **run.drive(options.seed, end, options.tracks, options.lost_time))


def _scenario(options: argparse.Namespace) -> tuple[Scenario, Path | None]:
    if options.city is not None:
        city = read_city(options.city)
        return open_scenario(options.scenarios / city.scenario), options.places or city.places
    if options.scenario is None:
        raise ScenarioError("--scenario is missing: the path of a .sumocfg (or --city with --scenarios)")
    return open_scenario(options.scenario), options.places


def _end(options: argparse.Namespace, scenario: Scenario) -> int:
    """The second at which every variant ends: that of the scenario, if no other is given."""
    if options.until is not None:
        return int(scenario.begin + options.until)
    if scenario.end is not None:
        return scenario.end
    return scenario.begin + WARM_UP_S + APART_S * int(options.emergencies) + 3600


def _lines(rides: str) -> Iterator[str]:
    if rides == "-":
        yield from sys.stdin
        return
    try:
        with Path(rides).open(encoding="utf-8") as stream:
            yield from stream
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{rides}: cannot be read: {error}") from None


def _tell_places(places: Places, calls: Sequence[Call], file: Path | None) -> None:
    tell_stdout(
        "places",
        rule=RULE if file is None else f"places as given in {file}",
        districts=[{"id": d.district_id, "name": d.name, "edges": len(d.edge_ids)} for d in places.districts],
        hospitals=[{"id": h.hospital_id, "name": h.name, **place_json(h.entrance)} for h in places.hospitals],
        stations=[{"id": s.station_id, "ambulances": list(s.ambulance_ids), **place_json(s.place)} for s in places.stations],
        calls=[{"call": c.number, "at_s": c.at_s, "severity": c.severity, **place_json(c.place)} for c in calls],
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def _not_below_0(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def _more_than_0(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value:g} is not more than 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m citybrain.simulation", description="A city to run the mesh against.")
    parser.add_argument("variant", choices=("city", *VARIANTS, VERIFY))
    parser.add_argument("--scenario", type=Path, help="a SUMO configuration")
    parser.add_argument("--city", help="a shipped city instead of a scenario")
    parser.add_argument("--scenarios", type=Path, default=Path(), help="where the scenarios of shipped cities are")
    parser.add_argument("--gateway", help="HOST:PORT of the mesh's gateway; the token for it is in CITY_TOKEN")
    parser.add_argument(
        "--pace", type=_more_than_0, help="seconds of city time in a second of this machine, where rest cannot be seen (Kafka)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the traffic, the places and the calls")
    parser.add_argument("--emergencies", type=_not_below_0, default=2, help="how many, where no calls are given")
    parser.add_argument("--adaptive", action="store_true", help="every signal follows the traffic before it")
    parser.add_argument("--scale", type=_more_than_0, default=1.0, help="times as many vehicles as the scenario has")
    parser.add_argument("--places", type=Path, help="hospitals, stations and districts, in YAML")
    parser.add_argument("--calls", type=Path, help="calls, a line of JSON each")
    parser.add_argument("--record", type=Path, help="where to keep what the mesh acknowledged and told")
    parser.add_argument("--rides", help="the lines of a city run, for the other variants; '-' for stdin")
    parser.add_argument("--proposal", help="of verify: the plans that are compared with today's")
    parser.add_argument("--seeds", type=_positive, default=5, help="of verify: how many, from --seed on")
    parser.add_argument("--tracks", type=Path, help="where to keep positions and signals for a report")
    parser.add_argument("--lost-time", type=Path, help="where to keep by road how much time vehicles lose")
    parser.add_argument("--until", type=_positive, help="end this many seconds after the begin")
    return parser


if __name__ == "__main__":
    keep_stdout()
    sys.exit(main())
