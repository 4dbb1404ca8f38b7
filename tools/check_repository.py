"""Checks that no other tool makes: texts that no file may have, generated files that have drifted, links that lead nowhere.

Run by `make check`; prints each finding and ends with their number.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent

# Written in two halves, so that this file does not find itself.
NEVER = (
    (
        re.compile("py" + r"pi\.org|python" + r"hosted|regis" + r"try\.npmjs|repo1\.maven|maven\.org"),
        "names a package registry",
    ),
    (re.compile(r"/(work|root|home)" + r"/[a-z]"), "names a path of one machine"),
    (re.compile(r"\.\./sha" + "red|desig" + "n §"), "refers to something outside of the project"),
    (re.compile(r"(TO" + "DO|FIX" + "ME|XX" + r"X)\b"), "is unfinished"),
)
TEXT = {
    ".py",
    ".lua",
    ".js",
    ".css",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".proto",
    ".txt",
    ".in",
    ".sh",
    ".html",
    ".cfg",
    ".tmpl",
    "",
}
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
IMPORTS = re.compile(
    r"^\s*(?:from|import) (event_store|mesh|sagas|observability|gateway|local|k8s|services|simulation|stories|cli)\b", re.M
)
LONG = 300
OLD_HUB = re.compile(r"^\s*(?:from|import) (eventlet|nameko)\b", re.M)


def files() -> list[Path]:
    """Every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def findings() -> list[str]:
    """One line per finding."""
    found: list[str] = []
    for path in files():
        name = path.relative_to(ROOT)
        if path.suffix not in TEXT:
            continue
        text = path.read_text(encoding="utf-8")
        for pattern, why in NEVER:
            for match in pattern.finditer(text):
                if name.parts[0] == "LICENSE" or (why == "names a path of one machine" and name == Path(".ci/run")):
                    continue
                found.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {why}: {match.group()}")
        if path.suffix == ".md":
            found += [f"{name}: link leads nowhere: {link}" for link in dead_links(path, text)]
        if path.suffix == ".py":
            found += _imports(name, text)
            if unexplained(name, text):
                found.append(f"{name}: has more than {LONG} lines, and its docstring does not say why it is long")
    found += _contracts()
    # Nothing that is made from services can be made while a workflow is broken: they do not load.
    found += _broken_workflows() or [*_drift(), *_workflows()]
    return found


def unexplained(name: Path, text: str) -> bool:
    """Whether a module is long without a word about it. Tests and benchmarks may be."""
    if name.parts[0] in ("tests", "benchmarks") or text.count("\n") <= LONG:
        return False
    return "long because" not in " ".join((ast.get_docstring(ast.parse(text)) or "").split())


def dead_links(path: Path, text: str) -> list[str]:
    """The links of a document that lead to no file, or to no heading of it."""
    dead = []
    for link, anchor in LINK.findall(FENCED.sub("", text)):
        target = path.parent / link if link else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(f"{link}#{anchor}" if anchor else link)
    return dead


def _anchors(document: Path) -> set[str]:
    """The names that a page of a forge gives to the headings of a document."""
    if document.suffix != ".md":
        return set()
    headings = HEADING.findall(FENCED.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _imports(name: Path, text: str) -> list[str]:
    found = [f"{name}: imports {m.group(1)} by its folder: write citybrain.{m.group(1)}" for m in IMPORTS.finditer(text)]
    if name.parts[0] not in ("mesh", "tests", "tools") and OLD_HUB.search(text):
        found.append(f"{name}: only mesh/ knows nameko and eventlet")
    return found


def _contracts() -> list[str]:
    from tools.bounds import unbounded, unpaged
    from tools.build_stubs import DESCRIPTORS
    from tools.closed import unmarked
    from tools.personal import unsound

    contracts = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    return unbounded(contracts) + unpaged(contracts) + unsound(contracts) + unmarked(contracts)


def _closed() -> list[str]:
    from tools.build_stubs import DESCRIPTORS
    from tools.closed import closed

    return closed(FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))


def _drift() -> list[str]:
    from citybrain.k8s.generator import drift as drift_of_k8s
    from tools import architecture, reference, workflow_pages
    from tools.benchmarks import PAGE as BENCHMARKS
    from tools.benchmarks import made as benchmarks
    from tools.codeowners import TARGET as OWNERS
    from tools.codeowners import made as owners
    from tools.configuration import made as configuration
    from tools.dashboards import drift as drift_of_dashboards
    from tools.readme import READMES
    from tools.readme import made as readme
    from tools.third_party import TARGET
    from tools.third_party import made as third_party

    found = _consumers()
    if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != third_party():
        found.append(f"{TARGET.name} has drifted: make third-party")
    if not OWNERS.is_file() or OWNERS.read_text(encoding="utf-8") != owners():
        found.append(f"{OWNERS.name} has drifted: make codeowners")
    found += [
        f"{page.name} has drifted: make configuration"
        for page, text in configuration().items()
        if page.read_text(encoding="utf-8") != text
    ]
    for page, text in ((reference.PAGE, reference.made()), (architecture.PICTURE, architecture.made())):
        if page.read_text(encoding="utf-8") != text:
            found.append(f"{page.name} has drifted: make reference")
    found += [f"{name} is public and says nothing: give it a docstring" for name in reference.silent()]
    found += [f"k8s/{path} has drifted: make k8s" for path in drift_of_k8s()]
    found += [f"observability/{name} has drifted: make dashboards" for name in drift_of_dashboards()]
    found += [f"docs/workflows/{name} has drifted: make workflows" for name in workflow_pages.drift()]
    if BENCHMARKS.read_text(encoding="utf-8") != benchmarks():
        found.append(f"{BENCHMARKS.name} has drifted: make readme")
    for language, path in READMES.items():
        if path.read_text(encoding="utf-8") != readme(language):
            found.append(f"{path.name} has drifted: make readme")
    return found


def _consumers() -> list[str]:
    from citybrain.mesh.manifest import ManifestError
    from citybrain.mesh.upcasting import UpcastError
    from tools.consumers import made
    from tools.contracts import CONSUMERS

    try:
        text = made()
    except (ManifestError, UpcastError) as error:
        return [f"{CONSUMERS.name} cannot be made: {error}"]
    drifted = not CONSUMERS.is_file() or CONSUMERS.read_text(encoding="utf-8") != text
    return [f"{CONSUMERS.name} has drifted: make consumers"] if drifted else []


def _broken_workflows() -> list[str]:
    from citybrain.sagas.engine.checking import WorkflowError
    from citybrain.sagas.workflows import published

    try:
        published()
    except WorkflowError as error:
        return list(error.problems)
    return []


def _workflows() -> list[str]:
    from citybrain.sagas.workflows import PINS, pins, published
    from tools.workflows import problems, unpublished

    pinned = [f"sagas/workflows/{PINS}: {problem}" for problem in problems(published(), pins())]
    return pinned + unpublished(published())


def main() -> int:
    """Prints the findings; 1 if there are any."""
    methods = _closed()
    sys.stdout.write(f"methods without a scope, which no caller outside may call: {', '.join(methods) or 'none'}\n")
    found = findings()
    for line in found:
        sys.stdout.write(line + "\n")
    if found:
        sys.stdout.write(f"findings: {len(found)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
