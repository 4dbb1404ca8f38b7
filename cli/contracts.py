"""`city contracts`: what a change of contracts breaks, for a service in a repository of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

if TYPE_CHECKING:
    from citybrain.cli.compatibility.apart import Apart

app = typer.Typer(
    name="contracts",
    no_args_is_help=True,
    help="What a change of contracts breaks, for a service in a repository of its own.",
)
_out = Terminal(highlight=False, markup=False, soft_wrap=True)

Folder = Annotated[Path, typer.Option(help="The repository: the folder with `protos` and the folder of the service.")]


@app.command()
def check(
    folder: Folder = Path(),
    city: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Compare with the contracts of the services that run there.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Says what the service's contracts break of what it released, and what the city's break of what its code reads.

    The city's contracts are those of the installed package, or of a running city (--city). Ends with 1 if something is broken.
    """
    found = _apart(folder, city, data, config).check()
    if as_json:
        _out.print(json.dumps({"wrong": found.wrong, "worth_knowing": found.worth}, ensure_ascii=False, indent=2))
    else:
        for line in found.wrong:
            _out.print(f"✗ {line}")
        for line in found.worth:
            _out.print(f"· {line}")
        if not found.wrong:
            _out.print("✓ nothing is broken")
    raise typer.Exit(1 if found.wrong else 0)


@app.command()
def reads(folder: Folder = Path()) -> None:
    """Finds which events, fields and methods of the city the code uses, and writes it to protos/consumers.yaml.

    Commit the file, and give it to the city: in its repository it is protos/consumers.d/<name>.yaml, and `make check` there
    says whom a change breaks. protos/city.binpb, beside it, keeps what is read as it is now.
    """
    for path in _apart(folder).keep_reads():
        _out.print(str(path))


@app.command()
def release(folder: Folder = Path()) -> None:
    """Keeps the contracts of the service as released, in protos/released.binpb: from now on nothing in them may break."""
    _out.print(str(_apart(folder).keep_release()))


def _apart(folder: Path, city: str = "", data: Path | None = None, config: Path | None = None) -> Apart:
    # Imported only now, so that `--help` is quick.
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from citybrain.cli.compatibility.apart import Apart
    from citybrain.local.calling import tls_at, token_here
    from citybrain.local.contracts import descriptors
    from citybrain.local.reflection import Remote

    if not folder.is_dir():
        raise Problem(f"there is no folder {folder}: name the repository of the service with --folder")
    packed = FileDescriptorSet.FromString(descriptors().read_bytes())
    if not city:
        return Apart(folder, packed)
    settings = configuration.load(config, data=("--data", data))
    with Remote(city, token_here(settings), tls_at(city, settings)) as remote:
        told = remote.files()
    # What does not run there is compared with the installed package.
    known = {file.package for file in told}
    return Apart(folder, FileDescriptorSet(file=[*told, *(file for file in packed.file if file.package not in known)]))
