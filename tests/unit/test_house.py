"""What no linter checks about this project's own tree."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trace_node"
MUST = re.compile(r"\*\*(\d-M\d{2})\*\*")
LONGEST = 340  # lines of a room


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_rooms_stay_small():
    long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in sources()
        if len(path.read_text().splitlines()) > LONGEST
    }
    assert long == {}


def test_every_must_of_the_standards_is_cited_by_a_test():
    musts = {
        must
        for readme in (ROOT / "standards").rglob("README.md")
        for must in MUST.findall(readme.read_text())
    }
    assert musts
    cited = {
        must
        for path in (ROOT / "tests").rglob("test_*.py")
        for must in re.findall(r"\d[-_][mM]\d{2}", path.read_text())
    }
    cited = {must.replace("_", "-").upper() for must in cited}
    assert sorted(musts - cited) == []


def test_the_layers_name_every_package_that_there_is():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {name for line in layers for name in re.findall(r"\w+", line)}
    there = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__", "__main__"}
    assert there <= named


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_address(name):
    text = (ROOT / "requirements" / name).read_text()
    pins = re.findall(r"^[a-z0-9._-]+==\S+.*\\$", text, re.MULTILINE)
    assert len(pins) > 20
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "--index" not in text


def test_links_in_the_documents_lead_somewhere():
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_make_without_a_target_lists_the_targets():
    out = subprocess.run(
        ["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True
    ).stdout
    for target in ("demo", "test", "check", "serve", "bench"):
        assert f"make {target}" in out
