"""`city gateway`: the gateway alone, before services that run elsewhere. Each pod of the gateway is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from citybrain.cli.configuration import City, Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)
# What production refuses of a process that keeps events: a gateway keeps none, and needs no secret of those that do.
_NOT_HERE = ("token_key", "personal.master_key", "store", "accepts")


class AtTheGateway(City):
    """The values of a city, for a process that is its gateway and nothing else."""

    @override
    def refusals(self) -> Iterator[tuple[str, str]]:
        yield from ((key, why) for key, why in super().refusals() if key not in _NOT_HERE)


def gateway(data: Data = None, config: File = None) -> None:
    """Runs the gateway before the services that are named in `peers`, until it is asked to stop; then it lets calls end.

    It needs the public keys of the installation (`jwks.json` in `identity.keys`), and takes up new ones while it runs.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.gateway.errors import GatewayError
    from citybrain.gateway.settings import GatewaySettings
    from citybrain.local.contracts import descriptors
    from citybrain.local.envoy import Envoy
    from citybrain.local.issuer_keys import other_issuers, own_issuer
    from citybrain.local.stopping import Stop
    from citybrain.mesh.manifest import find_manifests
    from citybrain.mesh.settings.configuration import GivenValue, load
    from citybrain.mesh.startup.serve import addresses, rooms

    given = {} if data is None else {"data": GivenValue(data, "--data")}
    settings = load(AtTheGateway, file=config, options=given).settings
    manifests = find_manifests(rooms())
    known = addresses(settings.peers, manifests)
    open_here = [manifest for manifest in manifests if manifest.grpc in known]
    if not open_here:
        raise Problem("there is no service to give access to: name some in `peers`, e.g. {traffic: 127.0.0.1:7103}")
    folder: Path = settings.data / "gateway"
    ended: list[str] = []
    with Stop() as stop:
        try:
            envoy = Envoy(
                open_here,
                descriptors().read_bytes(),
                GatewaySettings(
                    **dict(settings.gateway),
                    upstreams={manifest.name: known[manifest.grpc] for manifest in open_here},
                    otlp_endpoint=settings.traces.endpoint or None,
                    own_tls=settings.data / "tls",
                    mesh_tls=settings.tls,
                    identity=own_issuer(settings),
                    issuers=other_issuers(settings),
                ),
                folder,
            )
            _out.print(f"The gateway answers at {envoy.start()}.")
        except GatewayError as error:
            raise Problem(str(error)) from None

        def watch() -> None:
            ended.append(envoy.wait())
            stop.tell()

        threading.Thread(target=watch, name="envoy", daemon=True).start()
        stop.wait()
    if ended:
        raise Problem(f"Envoy {ended[0]}; its log is {envoy.log}")
    envoy.stop()
