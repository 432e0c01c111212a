"""``serve``: one server a folder, and what it refuses."""

import os
import signal
import subprocess

from cli_story import TRACE_NODE, environment, free_port, serve, trace_node


def refused(folder, *arguments):
    done = subprocess.run(
        [*TRACE_NODE, "serve", str(folder), "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_server_on_one_folder_is_refused_and_told_by_whom(place):
    told = refused(place.folder)
    assert f"is served already, by process {place.process.pid}" in told


def test_commands_beside_a_server_work(place, tmp_path):
    key = tmp_path / "beside.pem"
    trace_node("keys", "new", key)
    trace_node("party", "add", place.folder, "--name", "B", "--key", f"{key}.jwk")
    trace_node("audit", place.folder)


def test_a_server_that_was_killed_leaves_the_folder_free(tmp_path):
    folder, port = tmp_path / "center", free_port()
    trace_node("init", folder, "--origin", f"127.0.0.1:{port}/log")
    killed = serve(folder, port)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert (folder / "serve.lock").read_text() == f"{killed.pid}\n"
    again = serve(folder, port)
    again.terminate()
    assert again.wait(20) == 0
    assert (folder / "serve.lock").read_text() == f"{again.pid}\n"


def test_several_workers_on_sqlite_are_refused_with_the_reason(place):
    told = refused(place.folder, "--workers", "2")
    assert "2 workers need PostgreSQL" in told


def test_a_wrong_option_is_told(place):
    assert "setting log" in refused(place.folder, "--log", "xml")
    assert "setting workers" in refused(place.folder, "--workers", "0")
