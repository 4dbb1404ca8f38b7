"""The checks of the repository find what they are for, and its habits are kept in files that their readers accept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from citybrain.local.city import ROOT
from tools import check_repository
from tools.check_repository import dead_links, unexplained

PAGE = """# A page
[here](#a-page) [there](other.md#what-is-it-十) [code](code.py) [away](https://example.org/#x)
[gone](gone.md) [no heading](#nothing) [not there](other.md#a-page) [no page](code.py#L3)
```
[in code](nowhere.md)
# not a heading
```
[nor](#not-a-heading)
"""


def test_links_that_lead_to_no_file_or_no_heading_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("## What is it, (十)?\n", encoding="utf-8")
    (tmp_path / "code.py").touch()
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert dead_links(page, PAGE) == ["gone.md", "#nothing", "other.md#a-page", "code.py#L3", "#not-a-heading"]


def test_a_module_that_is_long_and_does_not_say_why_is_found() -> None:
    lines = "x = 1\n" * 300
    name = Path("mesh/much.py")
    assert unexplained(name, f'"""Much."""\n{lines}')
    assert not unexplained(name, f'"""Much. It is long\nbecause it is."""\n{lines}')
    assert not unexplained(name, lines) and not unexplained(Path("tests/much.py"), lines * 2)


def test_findings_are_told_each_on_a_line_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_repository, "findings", lambda: ["a.md: link leads nowhere: b.md"])
    monkeypatch.setattr(check_repository, "_closed", lambda: ["citybrain.a.v1.AService.Do"])
    assert check_repository.main() == 1
    closed, *found = capsys.readouterr().out.splitlines()
    assert closed == "methods without a scope, which no caller outside may call: citybrain.a.v1.AService.Do"
    assert found == ["a.md: link leads nowhere: b.md", "findings: 1"]


def test_every_target_of_make_is_told_by_make_help() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z0-9-]+) ", told, re.M)) == targets


def test_the_workflow_calls_what_is_called_at_home_and_on_every_python_that_is_named() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert job["strategy"]["matrix"]["python"] == named


def test_what_is_checked_before_a_commit_is_what_make_checks() -> None:
    command = [str(Path(sys.executable).parent / "pre-commit"), "validate-config", ".pre-commit-config.yaml"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["entry"] for hook in repository["hooks"]] == ["make --no-print-directory check"]


def test_nothing_that_a_city_keeps_can_be_committed() -> None:
    kept = [
        "data/events.db",
        "data-2/x",
        "a/b/events.db-wal",
        "x/token.key",
        "installation/identity/ring.json",
        "y/mesh.log",
        "city.yaml",
        "report.html",
        "dist/x.whl",
    ]
    told = subprocess.run(["git", "check-ignore", *kept], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout.split() == kept
    ours = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ours.stdout == ""
