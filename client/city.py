"""The city as a client sees it: one address, one token."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import grpc
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.client.checkpoints import Checkpoint, FileCheckpoint
from citybrain.client.retrying import Retrying, WithToken
from citybrain.client.subscribing import Subscription
from citybrain.client.tokens import Token, source

MOST_REPORTS = 100
"""Reports that the city takes at once."""
KEEPALIVE_S = 20.0
"""How often an open connection is tried. One on which nothing comes back is given up after the same time, and made anew."""


class City:
    """A connection to the city's gateway. Threads may share it. Use it as a context manager, or `close` it.

    `channel` is for the stubs of the contracts: `HealthServiceStub(city.channel).ListHospitals(request)`. Each call carries the
    token, a request id and a deadline, and is made again while the city is away or busy; a call that fails after all of that
    raises grpc.RpcError, and `problem_of` says what is wrong with it.
    """

    def __init__(
        self, address: str, token: Token, *, roots: Path | None = None, plain: bool = False, timeout_s: float = 20.0
    ) -> None:
        """`address`: host:port of the gateway. Calls to other machines go over TLS.

        `token`: the token, a file with it, or a function that gives it. `roots`: a PEM file with the authorities to trust, in
        place of the machine's. `plain`: no TLS, although the city is on another machine: whoever is on the way reads the token.
        `timeout_s`: seconds for a call with all its tries. OSError: `roots` cannot be read.
        """
        self._token = source(token)
        alive = int(KEEPALIVE_S * 1000)
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.keepalive_time_ms", alive),
            ("grpc.keepalive_timeout_ms", alive),
            # Another ping may be under way, and the next one waits for it.
            ("grpc.http2.ping_timeout_ms", alive),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if plain or (roots is None and _is_here(address)):
            self._opened = grpc.insecure_channel(address, options=options)
        else:
            trusted = None if roots is None else roots.read_bytes()
            self._opened = grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted), options=options)
        self.channel = grpc.intercept_channel(self._opened, WithToken(self._token), Retrying(self._token, timeout_s))
        """For the stubs of the contracts."""
        self._hub: Any = DistrictHubServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> City:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls and subscriptions."""
        self._opened.close()

    def subscribe(
        self,
        district_id: str,
        *,
        types: Iterable[str | type[Message]] = (),
        highest: Literal["", "PUBLIC", "INTERNAL", "RESTRICTED", "SECRET"] = "",
        begin: datetime | Literal["beginning", "now"] = "beginning",
        until: datetime | None = None,
        speed: float = 0.0,
        checkpoint: str | Path | Checkpoint | None = None,
    ) -> Subscription:
        """What happens in a district, or is told to it. Iterate over it; it never ends, unless `until` is given.

        `types`: the types to hear, or their full names (none: what the city tells the district). `highest`: only events of at
        most this classification. `begin`: where to begin if the checkpoint has no place yet. `until`: replays what was recorded
        before this moment, and ends. `speed`: with `until`, keeps the pauses, so many times shorter; 0: no pauses.
        `checkpoint`: a file, or whatever else keeps the place. A moment without a time zone is refused (ValueError).
        """
        request = pb.SubscribeRequest(
            district_id=district_id,
            event_types=[one if isinstance(one, str) else one.DESCRIPTOR.full_name for one in types],
            highest_classification=f"CLASSIFICATION_{highest}" if highest else None,
            speed=speed,
            from_now=begin == "now",
        )
        if isinstance(begin, datetime):
            request.from_time.CopyFrom(_moment(begin))
        if until is not None:
            request.until_time.CopyFrom(_moment(until))
        kept = FileCheckpoint(Path(checkpoint)) if isinstance(checkpoint, str | Path) else checkpoint
        return Subscription(self._hub.Subscribe, request, kept)

    def send_reports(self, district_id: str, batch_id: str, reports: Sequence[pb.Report], *, incident_id: str = "") -> int:
        """Sends what a district has seen or measured; returns how many reports the city has kept, which is all of them.

        `batch_id`: the district's own name for these reports. If the call is made again under this name, by this process or
        another, nothing is kept twice. More than a hundred go as several batches, each when the one before is kept.
        RpcError: the city refuses a batch; the batches before are kept.
        """
        kept = 0
        for start in range(0, len(reports), MOST_REPORTS):
            part = reports[start : start + MOST_REPORTS]
            name = batch_id if len(reports) <= MOST_REPORTS else f"{batch_id}.{start // MOST_REPORTS}"
            request = pb.SendReportsRequest(district_id=district_id, batch_id=name, reports=part, incident_id=incident_id)
            kept += self._hub.SendReports(request).kept
        return kept

    def acknowledge(self, district_id: str, notice_id: str) -> pb.Notice:
        """Tells the city that a district has seen a notice. RpcError: the city refuses it."""
        request = pb.AcknowledgeNoticeRequest(district_id=district_id, notice_id=notice_id)
        notice: pb.Notice = self._hub.AcknowledgeNotice(request).notice
        return notice


def _is_here(address: str) -> bool:
    """Whether an address is of this machine."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _moment(when: datetime) -> Timestamp:
    if when.tzinfo is None:
        raise ValueError(f"{when} has no time zone: give it one, e.g. datetime.now(UTC)")
    moment = Timestamp()
    moment.FromDatetime(when)
    return moment
