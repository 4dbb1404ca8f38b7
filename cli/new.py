"""`city new`: a service that works, with tests on every level, to be changed into the one that is wanted."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal

app = typer.Typer(name="new", help="A new service, ready to be changed.", no_args_is_help=True)
_out = Terminal(highlight=False, markup=False, soft_wrap=True)

_TEMPLATE = Path(__file__).with_name("template")
# The template is a service that could be real. Its own names stand in the texts.
_PACKAGE, _NAMED, _CLASS, _TITLE, _TEAM_NAME, _PORT = (
    "citybrain.services.parks", "parks", "Parks", "PARKS-TITLE", "PARKS-TEAM", "7999",
)  # fmt: skip
_IN_THE_CITY = {
    "service/manifest.yaml": "services/parks/manifest.yaml",
    "service/service.py": "services/parks/service.py",
    "service/domain.py": "services/parks/domain.py",
    "service/views.py": "services/parks/views.py",
    "service/README.md": "services/parks/README.md",
    "protos/parks_service.proto": "protos/citybrain/parks/v1/parks_service.proto",
    "protos/events.proto": "protos/citybrain/parks/v1/events.proto",
    "tests/test_domain.py": "tests/unit/parks/test_domain.py",
    "tests/test_service.py": "tests/unit/parks/test_service.py",
}
_APART = {
    "service/manifest.yaml": "parks/manifest.yaml",
    "service/service.py": "parks/service.py",
    "service/domain.py": "parks/domain.py",
    "service/views.py": "parks/views.py",
    "protos/parks_service.proto": "protos/citybrain/parks/v1/parks_service.proto",
    "protos/events.proto": "protos/citybrain/parks/v1/events.proto",
    "tests/test_domain.py": "tests/test_domain.py",
    "tests/test_service.py": "tests/test_service.py",
    "project/pyproject.toml": "pyproject.toml",
    "project/README.md": "README.md",
    "project/gitignore": ".gitignore",
}


@app.command()
def service(
    name: Annotated[str, typer.Argument(help="In small letters, as its folder and its contract will have it: parks.")],
    title: Annotated[
        str, typer.Option(help="What people call it, in English and Chinese: 'Parks (公园)'.", show_default="the name")
    ] = "",
    team: Annotated[
        str, typer.Option(help="The team that owns it, as the code owners are named.", show_default="the name")
    ] = "",
    folder: Annotated[
        Path, typer.Option("--in", help="The repository of the city; or where a repository of its own is to be made.")
    ] = Path(),
) -> None:
    """Makes a service: contract, manifest, a command, an event, a read model, a subscription, and tests on every level.

    In the repository of the city it stands beside the others. Anywhere else it gets a folder of its own, which needs only
    the installed package. Nothing that is there is changed.
    """
    # Imported only now, so that `--help` is quick.
    from citybrain.mesh.manifest import NAME, TEAM, ManifestError, find_manifests
    from citybrain.mesh.startup.serve import rooms

    team = team or name.replace("_", "-")
    if not re.fullmatch(NAME, name) or keyword.iskeyword(name):
        raise Problem(f"{name} cannot be the name of a service: take small letters, numbers and _, e.g. parks")
    if not re.fullmatch(TEAM, team):
        raise Problem(f"{team} cannot be the name of a team: take small letters, numbers and -, e.g. parks-and-gardens")
    in_the_city = (folder / "services").is_dir() and (folder / "protos" / "citybrain").is_dir()
    try:
        known = find_manifests({path.resolve() for path in (*rooms(), *([folder / "services"] if in_the_city else []))})
    except ManifestError as error:
        raise Problem(str(error)) from None
    if taken := [one for one in known if name in (one.name, one.grpc.split(".")[1])]:
        raise Problem(f"there is a service {name} already, {taken[0].title}: choose another name")
    camel = "".join(part.capitalize() for part in name.split("_"))
    words = {
        _PACKAGE: f"citybrain.services.{name}" if in_the_city else name,
        _TITLE: title or camel,
        _TEAM_NAME: team,
        _PORT: str(max((one.port for one in known), default=7100) + 1),
        _CLASS: camel,
        _NAMED: name,
    }
    root = folder if in_the_city else folder / name
    made = _written(root, _IN_THE_CITY if in_the_city else _APART, words, apart=not in_the_city)
    if in_the_city:
        _fit_in(folder, [str(path.resolve()) for path in made if path.suffix == ".py"])
    for path in made:
        _out.print(f"  {path}")
    _out.print(_next(name, root, in_the_city=in_the_city))


def _fit_in(folder: Path, python: list[str]) -> None:
    """Order of imports and breaks of lines depend on the name; what lists services stands in files that are made."""
    for command in (["-m", "ruff", "check", "--fix", "-q"], ["-m", "ruff", "format", "-q"]):
        subprocess.run([sys.executable, *command, *python], cwd=folder, check=True)
    makers = (
        "tools.codeowners",
        "tools.build_stubs",
        "tools.consumers",
        "citybrain.k8s.generator",
        "tools.architecture",
        "tools.dashboards",
    )
    for maker in makers:
        subprocess.run([sys.executable, "-m", maker], cwd=folder, check=True)


def _written(root: Path, files: Mapping[str, str], words: Mapping[str, str], *, apart: bool) -> list[Path]:
    """Writes all files, or none. Problem: something is in the way."""
    texts = {root / _with(words, target): _with(words, _text(source, apart=apart)) for source, target in files.items()}
    for path in texts:
        if path.exists():
            raise Problem(f"{path} is there already, and nothing is overwritten: choose another name or --in")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        for path in texts:
            path.unlink(missing_ok=True)
        raise Problem(f"{error.filename} cannot be written: {error.strerror}") from None
    return list(texts)


def _text(source: str, *, apart: bool) -> str:
    text = (_TEMPLATE / f"{source}.tmpl").read_text(encoding="utf-8")
    if apart:
        # A service of a folder of its own is found there.
        text = text.replace('only=["parks"])', 'only=["parks"], folders=[Path(__file__).parents[1]])')
    return text


def _with(words: Mapping[str, str], text: str) -> str:
    """The text with every name of the template replaced, in one pass: a new name may hold an old one."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found.group()], text)


def _next(name: str, root: Path, *, in_the_city: bool) -> str:
    if in_the_city:
        tried = f"make check && .venv/bin/python -m pytest tests/unit/{name} && city up"
    else:
        tried = f"cd {root} && city stubs protos && python -m pytest && city up --folder ."
    return f"Try it: {tried}\nThen change it: what the kit gives you stands in docs/kit.md, how to test it in docs/testing.md"
