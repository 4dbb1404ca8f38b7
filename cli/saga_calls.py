"""What `city sagas` has in common: how it asks the sagas of a city, and how it prints one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

if TYPE_CHECKING:
    from citybrain.sagas.v1 import saga_service_pb2 as pb

out = Terminal(highlight=False, markup=False, soft_wrap=True)
tree = Terminal(highlight=False, markup=False)
_ASK_S = 10.0
_PAGE = 500

Ask = Callable[..., Any]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Gateway = Annotated[str | None, typer.Option(help="The gateway of the city: host:port.", show_default="configured")]
Saga = Annotated[str, typer.Argument(metavar="SAGA", help="Its id. That of an emergency is the id of the incident.")]


def listed(ask: Ask, method: str, request: Any, rows: str, limit: int) -> list[Any]:
    """The first rows of a list that comes in pages, at most `limit`. `rows`: the field of the answer that has them.

    The request has the token of the next page then; empty: there are no more.
    """
    found: list[Any] = []
    while True:
        request.page_size = min(_PAGE, limit - len(found))
        answer = ask(method, request)
        found += getattr(answer, rows)
        request.page_token = answer.next_page_token
        if not request.page_token or len(found) >= limit:
            return found


def print_saga(saga: pb.Saga, as_json: bool) -> None:
    """One saga, step by step."""
    from citybrain.cli import saga_view

    if as_json:
        print_json(saga)
    else:
        tree.print(saga_view.drawn(saga))


def print_json(message: Any, indent: int | None = 2) -> None:
    """A message as JSON. `indent` None: in one line."""
    from citybrain.cli.groups import plain

    out.print(json.dumps(plain(message), ensure_ascii=False, indent=indent))


@contextlib.contextmanager
def asking(config: File, data: Data, gateway: str | None) -> Iterator[Ask]:
    """Asks the sagas of a city: `ask(method, request)`. Problem: it says no, or does not answer."""
    import grpc
    from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub

    from citybrain.local.calling import channel, tls_at, token_here
    from citybrain.local.reflection import explain

    settings = configuration.load(config, remote=("--gateway", gateway), data=("--data", data))
    address = settings.asked
    with channel(address, token_here(settings), tls=tls_at(address, settings)) as opened:
        stub = SagaServiceStub(opened)  # type: ignore[no-untyped-call]

        def ask(method: str, request: Any) -> Any:
            # A stream has no end that could be waited for.
            return getattr(stub, method)(request, timeout=None if method == "WatchSaga" else _ASK_S)

        try:
            yield ask
        except grpc.RpcError as error:
            raise Problem(_told(" ".join(explain(address, error).split()))) from None


def _told(error: str) -> str:
    """An error in one line that says what to do next."""
    code, _, text = error.partition(": ")
    if code == "NOT_FOUND" and "there is no saga" in text:
        return "there is no such saga: `city sagas list` names them"
    if code in ("NOT_FOUND", "FAILED_PRECONDITION"):
        return f"{text}: `city sagas show` says where it stands"
    return error
