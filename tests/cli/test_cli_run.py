"""What holds for every command: exit codes, one object, pipes, a quick start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from cli_story import TRACE_NODE, answer, environment, trace_node

from trace_node.cli import root, run
from trace_node.cli.lazy import Lazy

SERVER = {
    "fastapi",
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "uvicorn",
    "pydantic_settings",
}


def shell(line, *, code=0, **more):
    """Run a line of bash in which $T is the command; return what it printed."""
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; T="{" ".join(TRACE_NODE)}"; {line}'],
        capture_output=True,
        encoding=more.get("PYTHONIOENCODING", "utf-8"),
        timeout=60,
        check=False,
        env=environment() | more,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["import"],
        ["verify", "x"],
        ["audit", "x", "--workers", "many"],
        ["audit", "x", "--workers", "0"],
        ["keys", "old"],
        ["--nonsense"],
        ["serve", "x", "--port", "http"],
    ],
)
def test_misuse_of_arguments_is_2_and_one_object(arguments, capsys):
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "Traceback" not in told.err
    assert run([*arguments, "--json"]) == 2
    told = capsys.readouterr()
    assert not told.err
    (line,) = told.out.splitlines()
    assert json.loads(line)["error"] == "misuse"
    assert json.loads(line)["message"]


def test_as_a_process():
    assert answer("nonsense", code=2)["error"] == "misuse"
    assert "import" in trace_node("--help")
    assert "--policy" in trace_node("verify", "--help")


def commands():
    return [c for c in root.commands.values() if isinstance(c, Lazy)]


def test_the_root_summarises_commands_as_they_do_themselves():
    assert len(commands()) == len(root.commands)
    for lazy in commands():
        found = lazy.load()
        assert found.name == lazy.name
        assert found.help.splitlines()[0] == lazy.help
    app = typer.Typer()
    for module in {lazy.module for lazy in commands()}:
        __import__(f"trace_node.cli.{module}", fromlist=["add_to"]).add_to(app)
    assert set(typer.main.get_group(app).commands) == set(root.commands)


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], SERVER | {"httpx", "cryptography"}),
        (["verify", "--help"], SERVER | {"httpx"}),
        (["keys", "new", "--help"], SERVER),
        (["submit", "--help"], SERVER),
        (["import", "--help"], SERVER),
    ],
)
def test_who_runs_no_center_does_not_wait_for_its_libraries(arguments, never):
    code = (
        "import sys; from trace_node.cli import run; "
        f"run({arguments!r}); print(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not never & set(out.splitlines()[-1].split())


def test_a_reader_that_goes_away_hears_no_complaint():
    # The pipe is closed before anything is written; bash reports 1 of ours.
    done = shell("{ sleep 0.1; $T --help; } | true", code=1)
    assert not done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("more", ["", "--json"])
def test_an_answer_that_cannot_be_written_is_no_success(tmp_path, more):
    done = shell(f"$T keys new {tmp_path}/k.pem {more} > /dev/full", code=1)
    assert "No space left" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_chinese(tmp_path, encoding):
    name = tmp_path / "证书é.json"
    done = shell(f"$T verify {name} --policy x", code=2, PYTHONIOENCODING=encoding)
    assert "cannot read" in done.stderr
    done = shell(
        f"$T verify {name} --policy x --json", code=2, PYTHONIOENCODING=encoding
    )
    assert "证书é" in json.loads(done.stdout)["message"]
    shell("$T --help", PYTHONIOENCODING=encoding)


def test_a_name_that_is_no_text(tmp_path):
    done = shell(f"$T verify {tmp_path}/$'\\xff'.json --policy x --json", code=2)
    assert "\udcff" in json.loads(done.stdout)["message"]


@pytest.mark.parametrize("place", ["/dev/null/k.pem", "/proc/none/k.pem"])
def test_a_folder_that_cannot_be_made_is_misuse(place):
    error = answer("keys", "new", place, code=2)
    assert error["error"] == "misuse"
    assert place.rpartition("/")[0] in error["message"]
