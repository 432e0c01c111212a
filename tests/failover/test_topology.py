"""The configuration of the cluster says what the guide says it says.

The campaign itself is `make failover`; this is what can be known without it.
"""

import socket
import subprocess

import pytest
import yaml

from tests.failover.topology import PATRONI, PYTHON, binaries, fill


def filled(folder="/nowhere", **names):
    return fill(
        **{
            "scope": "trace",
            "name": "m1",
            "address": "10.77.0.11",
            "network": "10.77.0.0/24",
            "etcd": "10.77.0.11:2379,10.77.0.12:2379,10.77.0.13:2379",
            "synchronous": "quorum",
            "strict": "true",
            "folder": folder,
            "binaries": binaries() or "/usr/lib/postgresql/15/bin",
            "secret": "s",
            "watchdog": "off",
            **names,
        }
    )


def test_the_template_is_filled_by_these_names_and_no_others():
    assert "${" not in filled().partition("\nscope:")[2]
    with pytest.raises(KeyError):
        fill(scope="trace")


def test_a_commit_waits_for_a_second_machine_or_for_ever():
    dcs = yaml.safe_load(filled())["bootstrap"]["dcs"]
    assert dcs["synchronous_mode"] == "quorum"
    assert dcs["synchronous_mode_strict"] is True
    parameters = dcs["postgresql"]["parameters"]
    for name in ("synchronous_commit", "fsync", "full_page_writes"):
        assert parameters[name] == "on"
    assert "data-checksums" in yaml.safe_load(filled())["bootstrap"]["initdb"]


def test_a_leader_that_hears_nothing_steps_down_before_another_may_lead():
    dcs = yaml.safe_load(filled())["bootstrap"]["dcs"]
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] < dcs["ttl"]


def test_no_setting_stands_at_two_places():
    loader = type("Once", (yaml.SafeLoader,), {})

    def once(loader, node):
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    loader.add_constructor("tag:yaml.org,2002:map", once)
    yaml.load(filled(), loader)
    with pytest.raises(AssertionError):
        yaml.load("a: 1\na: 2\n", loader)


@pytest.mark.skipif(
    not PATRONI.exists() or binaries() is None,
    reason="no .patroni (`make failover` makes it) or no installed PostgreSQL",
)
def test_patroni_accepts_it(tmp_path):
    def validate(text):
        file = tmp_path / "patroni.yml"
        file.write_text(text)
        return subprocess.run(
            # Ports in use are no matter of the file.
            [
                *(PYTHON, "-m", "patroni", "--ignore-listen-port"),
                *("--validate-config", str(file)),
            ],
            env={"PYTHONPATH": str(PATRONI)},
            capture_output=True,
            text=True,
            check=False,
        )

    # The file's etcd must answer the phone; what it says is not asked.
    with socket.create_server(("127.0.0.1", 0)) as etcd:
        place = f"127.0.0.1:{etcd.getsockname()[1]}"
        good = validate(filled(folder=tmp_path, etcd=place))
        bad = validate(filled(folder=tmp_path, etcd=place, address="127.0.0.1"))
    assert good.returncode == 0, good.stdout + good.stderr
    assert bad.returncode
    assert "connect_address" in bad.stdout + bad.stderr
