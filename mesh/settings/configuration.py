"""Finds the values of a configuration, and where each one came from: default < file < environment < command line.

The sources are one file (`city.yaml` in the working folder, or the one that is named), one variable `CITY_…` for each value,
and the options of a command. Each unknown or wrong value is an error that names its place and what to write there; all errors
are reported at once.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from citybrain.mesh.settings.values import Section, Settings

S = TypeVar("S", bound=Settings)

FILE = Path("city.yaml")
PREFIX = "CITY_"
FILE_VARIABLE = "CITY_CONFIG"
# Variables that are no values of the configuration: where jars of engines are kept, and the token that commands call with.
NO_VALUES = ("CITY_ENGINES_CACHE", "CITY_TOKEN")
_PASSWORD = re.compile(r"//[^@/]*@")


class ConfigurationError(Exception):
    """The configuration cannot be used: one line for each problem, with its place and what to do."""

    def __init__(self, what: str, problems: Collection[str]) -> None:
        self.problems = list(problems)
        alone = len(self.problems) == 1
        super().__init__(f"{what}: {self.problems[0]}" if alone else "\n  ".join([f"{what}:", *self.problems]))


@dataclass(frozen=True, slots=True)
class GivenValue:
    """A value as somebody gave it, and where: `city.yaml:12`, `CITY_PORT`, `--port`."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Key:
    """One value that can be set: its name (dots between section and value) and its field."""

    name: str
    field: FieldInfo

    @property
    def description(self) -> str:
        """What the value is for."""
        return self.field.description or ""

    @property
    def variables(self) -> list[str]:
        """Its names in the environment, the strongest first."""
        extra = self.field.json_schema_extra
        also = str(extra.get("also", "")).split() if isinstance(extra, dict) else []
        return [PREFIX + self.name.replace(".", "_").upper(), *also]


@dataclass(frozen=True, slots=True)
class Configuration(Generic[S]):
    """Settings, and the origins of those that are not defaults."""

    settings: S
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Where the value of a key came from, e.g. `city.yaml:12`."""
        return self.origins.get(name, "default")

    def refuse(self) -> None:
        """Raises ConfigurationError with everything that the profile does not allow."""
        if self.settings.profile == "production":
            problems = [f"{self.origin(key)}: {key} {why}" for key, why in self.settings.refusals()]
            if problems:
                raise ConfigurationError("production refuses this configuration", problems)


def keys(section: type[Section], prefix: str = "") -> Iterator[Key]:
    """Every value of a section and of those within it."""
    for name, field in section.model_fields.items():
        within = _section(field)
        if within is not None:
            yield from keys(within, f"{prefix}{name}.")
        else:
            yield Key(prefix + name, field)


def load(
    model: type[S],
    *,
    file: Path | None = None,
    options: Mapping[str, GivenValue | None] | None = None,
    environment: Mapping[str, str] | None = None,
    elsewhere: Collection[str] = (),
) -> Configuration[S]:
    """Reads the configuration. ConfigurationError tells everything that is wrong, or that its profile does not allow.

    `options`: the given options of the command line. `elsewhere`: keys that others read, and that are no error here.
    """
    found = read(model, file=file, options=options, environment=environment, elsewhere=elsewhere)
    found.refuse()
    return found


def read(
    model: type[S],
    *,
    file: Path | None = None,
    options: Mapping[str, GivenValue | None] | None = None,
    environment: Mapping[str, str] | None = None,
    elsewhere: Collection[str] = (),
) -> Configuration[S]:
    """As `load`, but does not check what the profile allows."""
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    given: dict[str, GivenValue] = {}
    path = _find(file, environment)
    if path is not None:
        given |= _from_file(path, model, elsewhere, problems)
    given |= _from_environment(environment, model, elsewhere, problems)
    given |= {name: option for name, option in (options or {}).items() if option is not None}
    try:
        settings = model.model_validate(_nested(given))
    except ValidationError as error:
        problems += [_wrong(model, given, mistake["loc"], mistake["msg"]) for mistake in error.errors()]
    if problems:
        raise ConfigurationError("the configuration cannot be used", problems)
    return Configuration(settings, {name: one.origin for name, one in given.items()})


def write(settings: Settings, path: Path) -> None:
    """Writes settings to a file that `load` reads: so a process passes its settings to processes that it starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = Settings.model_validate({name: getattr(settings, name) for name in Settings.model_fields})
    text = yaml.safe_dump(values.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)
    path.write_text(f"# Made for the processes of one city by the one that starts them.\n{text}", encoding="utf-8")


# -- where values come from -----------------------------------------------------------------------------------------------


def _find(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named, by = (file, "--config") if file is not None else (environment.get(FILE_VARIABLE) or None, FILE_VARIABLE)
    if named is None:
        return FILE if FILE.is_file() else None
    if not Path(named).is_file():
        raise ConfigurationError("the configuration cannot be used", [f"{by} names {named}, and there is no such file"])
    return Path(named)


def _from_file(path: Path, model: type[Section], elsewhere: Collection[str], problems: list[str]) -> dict[str, GivenValue]:
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problems.append(f"{path}{line}: is no YAML: {getattr(error, 'problem', None) or error}: write one `key: value` a line")
        return {}
    found: dict[str, GivenValue] = {}
    if root is not None:
        _walk(path, loader, root, model, "", elsewhere, found, problems)
    return found


def _walk(
    path: Path,
    loader: yaml.SafeLoader,
    node: yaml.Node,
    model: type[Section],
    prefix: str,
    elsewhere: Collection[str],
    found: dict[str, GivenValue],
    problems: list[str],
) -> None:
    """Collects the values of a section, each with its line."""
    fields = model.model_fields
    if not isinstance(node, yaml.MappingNode):
        where = f"{path}:{node.start_mark.line + 1}: {prefix.rstrip('.') or 'the file'}"
        problems.append(f"{where} holds values, one `key: value` a line: {', '.join(fields)}")
        return
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        place, name = f"{path}:{line}", f"{prefix}{key}"
        if key in lines:
            problems.append(f"{place}: {name} stands in line {lines[key]} already: take one of them out")
        elif key in fields:
            within = _section(fields[key])
            if within is None:
                try:
                    found[name] = GivenValue(loader.construct_object(value_node, deep=True), place)
                except yaml.YAMLError as error:
                    problems.append(f"{place}: {name} cannot be read: {getattr(error, 'problem', None) or error}")
            elif not (isinstance(value_node, yaml.ScalarNode) and value_node.value in ("", "~", "null")):
                _walk(path, loader, value_node, within, f"{name}.", (), found, problems)
        elif key not in elsewhere:
            problems.append(f"{place}: there is no {name}: {_nearest(key, name, [*fields, *elsewhere], model, prefix)}")
        lines[key] = line


def _nearest(key: str, name: str, siblings: Collection[str], model: type[Section], prefix: str) -> str:
    """A hint for a key that does not exist."""
    # The value may exist, but in a section.
    same = [one.name for one in keys(model) if one.name.rpartition(".")[2] == key] if not prefix else []
    close = same[:1] or [prefix + name for name in difflib.get_close_matches(key, siblings, 1)]
    return f"do you mean {close[0]}?" if close else f"there are {', '.join(siblings)}"


def _from_environment(
    environment: Mapping[str, str], model: type[Section], elsewhere: Collection[str], problems: list[str]
) -> dict[str, GivenValue]:
    found: dict[str, GivenValue] = {}
    known = [FILE_VARIABLE, *NO_VALUES]
    for key in keys(model):
        known += key.variables
        for variable in reversed(key.variables):
            text = environment.get(variable, "")
            if text:
                given = _parsed(text) if get_origin(key.field.annotation) in (dict, tuple) else text
                found[key.name] = GivenValue(given, variable)
    others = tuple(PREFIX + name.upper() for name in elsewhere)
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(others):
            close = difflib.get_close_matches(variable, known, 1)
            hint = f"do you mean {close[0]}?" if close else "`city config explain` lists those there are; unset it"
            problems.append(f"{variable}: there is no such variable: {hint}")
    return found


def _parsed(text: str) -> object:
    """Reads a list or mapping from a variable: it is written as in one line of the file."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


# -- what is wrong with them ----------------------------------------------------------------------------------------------


def _nested(given: Mapping[str, GivenValue]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, one in given.items():
        *sections, last = name.split(".")
        place = made
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = one.value
    return made


def _wrong(model: type[Section], given: Mapping[str, GivenValue], place: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, place))
    key = next(one for one in keys(model) if name == one.name or name.startswith(f"{one.name}."))
    # A value that is missing beside others has no place.
    one = given.get(key.name, GivenValue("not given", "default"))
    what = message.removeprefix("Value error, ").removeprefix("Input ")
    default = f" Default: {key.field.default!s}." if key.field.default else ""
    shown = _PASSWORD.sub("//…@", str(one.value))
    return f"{one.origin}: {key.name} is {shown}: {what}. {key.description}{default}"


def _section(field: FieldInfo) -> type[Section] | None:
    return field.annotation if isinstance(field.annotation, type) and issubclass(field.annotation, Section) else None
