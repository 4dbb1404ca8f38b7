"""The contracts of services in a repository of their own: what a change of theirs breaks, and what a change of the city's does.

Three files beside their contracts say what was: `released.binpb` (their own, at their last release), `consumers.yaml` (what
their code reads) and `city.binpb` (what they read of the city, as it was then).
"""

from __future__ import annotations

import ast
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from citybrain.cli.compatibility.breaks import Finding, buf_breaking, findings, unneeded
from citybrain.cli.compatibility.consumers import consumers, text_of
from citybrain.cli.compatibility.contracts import READS, Consumer, Contracts, NotWritten, Readers, to_keep, written
from citybrain.local.contracts import described
from citybrain.local.problems import Problem
from citybrain.mesh.manifest import Manifest, ManifestError, find_manifests
from citybrain.mesh.startup.serve import importable, rooms
from citybrain.mesh.upcasting import UpcastError, load_upcasters, steps

RELEASED, CITY = "released.binpb", "city.binpb"
CHOSEN_IN = "[tool.city.chosen] of pyproject.toml"
NO_BUF = (
    "buf is not on this machine, so only the city's own rules were looked at, and not what generated code of other languages "
    "would notice: pip install buf-bin"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: lines about what is wrong, and lines about what is worth knowing."""

    wrong: list[str]
    worth: list[str]


class Apart:
    """The services of a folder, and its contracts."""

    def __init__(self, folder: Path, city: FileDescriptorSet) -> None:
        """`city`: the contracts of the city now. Problem: the folder has no service, or is the city's own."""
        if (folder / "services").is_dir() and (folder / "protos" / "citybrain" / "options").is_dir():
            raise Problem("this is the repository of the city: `make check` does it there")
        self.folder = folder
        self.manifests: list[Manifest] = find_manifests([folder])
        if not self.manifests:
            raise Problem(f"no service is in {folder}: name the --folder in which the folder with its manifest.yaml is")
        self.protos = folder / "protos"
        self.own = described(self.protos)
        self._packages = {file.package for file in self.own.file}
        self.city = FileDescriptorSet(file=[file for file in city.file if file.package not in self._packages])

    # -- what the files say -----------------------------------------------------------------------------------------------

    def kept(self, name: str) -> FileDescriptorSet | None:
        """Contracts as they were kept; None: there is no such file. Problem: it cannot be read."""
        path = self.protos / name
        if not path.is_file():
            return None
        try:
            return FileDescriptorSet.FromString(path.read_bytes())
        except DecodeError:
            raise Problem(f"{path} holds no contracts: take it from version control again") from None

    def reads(self) -> list[Consumer] | None:
        """What the code read when that was last found; None: it never was. Problem: the file cannot be read."""
        path = self.protos / READS
        if not path.is_file():
            return None
        try:
            return written(path.read_text(encoding="utf-8"))
        except NotWritten as error:
            raise Problem(f"{path}: {error}: `city contracts reads` makes it") from None

    def chosen(self) -> Mapping[str, str]:
        """The breaks that were chosen, each with why. Problem: pyproject.toml says it in another way."""
        path = self.folder / "pyproject.toml"
        if not path.is_file():
            return {}
        try:
            content: Any = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("city", {}).get("chosen", {})
        except tomllib.TOMLDecodeError as error:
            raise Problem(f"{path} cannot be read: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(why, str) and why for why in content.values()):
            raise Problem(f'{path}: write below [tool.city.chosen] `"full.name.of.the.method" = "why"`')
        return content

    def derived(self) -> list[Consumer]:
        """What the code reads now. Problem: it cannot be loaded."""
        importable([self.folder])
        try:
            return consumers([self.folder])
        except (ManifestError, UpcastError) as error:
            hint = f"build the stubs anew: city stubs {self.protos}"
            raise Problem(f"what the code reads cannot be found: {error}; {hint}") from None

    # -- what is wrong ----------------------------------------------------------------------------------------------------

    def check(self) -> Found:
        """Everything."""
        wrong, worth = self.of_own()
        kept = self.reads()
        wrong += self.of_city(kept or [])
        try:
            now = self.derived()
        except Problem as problem:
            return Found([*wrong, str(problem)], worth)
        if kept is None or self.kept(CITY) is None:
            wrong.append(f"protos/{READS} or protos/{CITY} is missing: city contracts reads")
        elif kept != now:
            wrong.append(f"protos/{READS} does not say what the code reads now: city contracts reads")
        return Found(wrong, worth)

    def of_own(self) -> tuple[list[str], list[str]]:
        """What the folder's contracts break of what was released of them, and what is worth knowing."""
        before = self.kept(RELEASED)
        if before is None:
            return [], ["nothing was released yet, so its own contracts may change; with a release: city contracts release"]
        chosen, upcast = self.chosen(), self._upcast()
        old, new = (FileDescriptorSet(file=[*self.city.file, *one.file]) for one in (before, self.own))
        readers = self.reads() or []
        found = self._mine(findings(old, new, readers, upcast, chosen))
        lines = [one.line(CHOSEN_IN) for one in found]
        lines += unneeded(self._mine(findings(old, new)), chosen, CHOSEN_IN)
        buf = _buf()
        if buf is None:
            return lines, [NO_BUF]
        return lines + buf_breaking(buf, to_keep(old), new, (one.place for one in found)), []

    def _mine(self, found: Iterable[Finding]) -> list[Finding]:
        return [one for one in found if any(one.name.startswith(f"{package}.") for package in self._packages)]

    def of_city(self, reads: Sequence[Consumer]) -> list[str]:
        """What the city's contracts break of what the code reads, with the places in the code that name it."""
        before = self.kept(CITY)
        if before is None or not reads:
            return []
        outside = [self._of_the_city(one) for one in reads]
        old = Contracts(before)
        readers = Readers(outside, (old, Contracts(self.city)))
        # What a request holds and an answer says is not looked for in the code: all of it counts.
        methods = [old.methods[name] for one in outside for name in one.calls if name in old.methods]
        used = old.below(kind.lstrip(".") for one in methods for kind in (one.input_type, one.output_type))
        found = findings(before, self.city, outside, self._upcast())
        return [self._told(one) for one in found if _is_used(one.name.rstrip(","), readers, outside, used)]

    def _told(self, one: Finding) -> str:
        places = list(self.places(one.name.rstrip(",").rpartition(".")[2]))
        here = f"{', '.join(places)}: " if places else ""
        return (
            f"{here}the city's {one.line('CHOSEN of the city')}. If the city has already done it: read it no more, then "
            "`city contracts reads`"
        )

    def places(self, name: str) -> Iterator[str]:
        """File and line of each place in the code of the services that names a field, a message or a method."""
        for path in sorted({path for one in self.manifests for path in one.path.parent.rglob("*.py")}):
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (OSError, SyntaxError, ValueError):
                # That it cannot be loaded is told elsewhere.
                continue
            lines = sorted({line for node in ast.walk(tree) for line in _naming(node, name)})
            yield from (f"{path.relative_to(self.folder)}:{line}" for line in lines)

    def _of_the_city(self, one: Consumer) -> Consumer:
        reads = {name: paths for name, paths in one.reads.items() if not self._is_own(name)}
        return replace(one, reads=reads, calls=[name for name in one.calls if not self._is_own(name)])

    def _is_own(self, name: str) -> bool:
        return any(name.startswith(f"{package}.") for package in self._packages)

    def _upcast(self) -> dict[str, str]:
        importable([self.folder])
        try:
            load_upcasters(find_manifests([*rooms(), self.folder]))
        except (UpcastError, ManifestError) as error:
            raise Problem(str(error)) from None
        return {old: to for old, to, _ in steps()}

    # -- what is kept -----------------------------------------------------------------------------------------------------

    def keep_reads(self) -> list[Path]:
        """Writes what the code reads, and what that is in the city now; returns the files.

        Problem: the code still names something that the city has broken. Then nothing is written: it would be forgotten.
        """
        now = self.derived()
        still = [line for line in self.of_city(self.reads() or []) if not line.startswith("the city's ")]
        if still:
            raise Problem("\n".join([*still, f"the code still names what is broken, so protos/{READS} stays as it is"]))
        written_to = [self.protos / READS, self.protos / CITY]
        written_to[0].write_text(text_of(now, "city contracts reads"), encoding="utf-8")
        written_to[1].write_bytes(self._read_of_the_city(now).SerializeToString(deterministic=True))
        return written_to

    def _read_of_the_city(self, reads: Sequence[Consumer]) -> FileDescriptorSet:
        """The city's contracts that are read, with what they import of the city."""
        names = {name for one in map(self._of_the_city, reads) for name in (*one.reads, *one.calls)}
        packages = {".".join(name.split(".")[:3]) for name in names}
        kept = to_keep(self.city)
        by_name = {file.name: file for file in kept.file}
        waiting = [file.name for file in kept.file if file.package in packages]
        wanted: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in by_name and name not in wanted:
                wanted.add(name)
                waiting += by_name[name].dependency
        return FileDescriptorSet(file=[file for file in kept.file if file.name in wanted])

    def keep_release(self) -> Path:
        """Keeps the contracts as released; returns the file. Problem: they break what was released before."""
        wrong, _ = self.of_own()
        if wrong:
            raise Problem("\n".join([*wrong, f"protos/{RELEASED} stays as it is"]))
        path = self.protos / RELEASED
        path.write_bytes(to_keep(self.own).SerializeToString(deterministic=True))
        return path


def _is_used(name: str, readers: Readers, reads: Sequence[Consumer], used: set[str]) -> bool:
    """Whether somebody reads or calls it. `used`: messages of which every field counts."""
    if readers.of(name) or name in used or name.rpartition(".")[0] in used:
        return True
    # A path of fields of which no contract knows all.
    return any(name == f"{root}.{path}" for one in reads for root, paths in one.reads.items() for path in paths)


def _naming(node: ast.AST, name: str) -> Iterator[int]:
    match node:
        case ast.Attribute(attr=attr) if attr == name:
            # Where the name itself is: the expression may have begun lines above.
            yield node.end_lineno or node.lineno
        case ast.Name(id=text) | ast.alias(name=text) | ast.Constant(value=text) if text == name:
            yield node.lineno
        case ast.MatchClass(kwd_attrs=names) if name in names:
            yield node.lineno


def _buf() -> str | None:
    """The program `buf` of this environment, or of this machine."""
    beside = Path(sys.executable).parent / "buf"
    return str(beside) if beside.is_file() else shutil.which("buf")
