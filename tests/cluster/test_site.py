"""The YAML of a site: what it says, where it is found, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpdp_dask.cluster import connect
from hpdp_dask.cluster.site import known_sites, load_site
from hpdp_dask.errors import InputError

CLUSTERS = Path(__file__).parents[2] / "clusters"


def test_the_packages_own_are_known_by_name() -> None:
    assert set(known_sites()) >= {
        *("slurm-cpu", "slurm-gpu", "slurm-gpu-container", "pbs", "lsf", "sge", "htcondor"),
        "local",
    }
    site = load_site("slurm-gpu")
    assert site.name == "slurm-gpu"
    assert site.scheduler == "slurm"
    assert site.tls
    assert site.dask == {"distributed.scheduler.worker-ttl": "5 minutes"}
    group = site.groups["gpu"]
    assert group.gpu
    assert (group.workers, group.processes) == (4, 1)
    assert group.jobqueue["job_extra_directives"] == ["--nodes=1", "--gres=gpu:1"]
    assert group.jobqueue["job_name"] == "hpdp-gpu"
    assert group.jobqueue["shebang"] == "#!/usr/bin/env bash"  # dask-jobqueue's default


@pytest.mark.parametrize("path", sorted(CLUSTERS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_that_comes_with_the_package(path: Path) -> None:
    site = load_site(str(path))
    assert site.tls == (site.scheduler != "local")
    assert "# CHANGE" in path.read_text() or site.scheduler in ("local", "htcondor")


def test_where_names_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (CLUSTERS / "slurm-cpu.yaml").read_text()
    centre, user = tmp_path / "centre", tmp_path / "config" / "hpdp" / "clusters"
    for folder, names in ((centre, ["ours"]), (user, ["ours", "mine"])):
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("HPDP_CLUSTERS", f"{tmp_path / 'none'}:{centre}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert load_site("ours").path == centre / "ours.yaml"
    assert load_site("mine").path == user / "mine.yaml"
    assert load_site("pbs").path == CLUSTERS / "pbs.yaml"


def said(**changes: Any) -> dict[str, Any]:
    """Give the YAML of a small site, changed at places named as `hpdp__groups`."""
    whole: dict[str, Any] = {
        "hpdp": {"scheduler": "slurm", "groups": {"cpu": {"workers": 2}}},
        "jobqueue": {"cpu": {"cores": 4, "memory": "8GiB"}},
    }
    for place, value in changes.items():
        *parents, last = place.split("__")
        section = whole
        for parent in parents:
            section = section[parent]
        section[last] = value
    return whole


def load(folder: Path, whole: object) -> Any:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(whole))
    return load_site(str(path))


def test_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    site = load(tmp_path, said())
    assert site.groups["cpu"].processes == 4  # workers of one thread each
    assert site.shared_directory == tmp_path / "hpdp" / "jobs"
    assert (site.host, site.interface, site.port) == (None, None, 0)
    assert site.dashboard_address == "127.0.0.1:0"
    group = load(tmp_path, said(hpdp__groups={"cpu": {"maximum": 8}})).groups["cpu"]
    assert (group.workers, group.minimum, group.maximum) == (1, 1, 8)
    group = load(tmp_path, said(hpdp__groups={"cpu": {"gpu": True}})).groups["cpu"]
    assert group.processes == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hqdp": {}}, "the file has the unknown key 'hqdp' .hpdp, did you mean.*; known are dask"),
        ({"hpdp__scheduler": "slrum"}, "the scheduler 'slrum' is not known; known are slurm, pbs"),
        ({"hpdp__quque": 1}, "hpdp has the unknown key 'quque'; known are dashboard-address, gro"),
        ({"hpdp__groups": {}}, r"hpdp.groups is \{\}"),
        ({"hpdp__groups": {"cpu": {"worker": 2}}}, "hpdp.groups.cpu has the unknown key 'worker'"),
        ({"hpdp__groups": {"cpu": {"workers": "2"}}}, "hpdp.groups.cpu.workers is '2'"),
        ({"hpdp__groups": {"a-b": {"config": "cpu"}}}, "'a-b' needs a name of letters"),
        ({"hpdp__groups": {"cpu": {"minimum": 2}}}, "has a minimum; give a maximum too"),
        ({"hpdp__groups": {"cpu": {"minimum": 3, "maximum": 2}}}, "minimum 3 above the maximum 2"),
        ({"hpdp__groups": {"gpu": {}, "cpu": {}}}, "has no section jobqueue.gpu"),
        ({"jobqueue__gpu": {}}, "jobqueue.gpu belongs to no group"),
        (
            {"jobqueue__cpu__qeue": "x"},
            "jobqueue.cpu has the unknown key 'qeue' .queue, did you mean",
        ),
        ({"jobqueue__cpu__extra": []}, "unknown key 'extra'"),
        ({"jobqueue__cpu__partition": "x"}, "'partition' .queue, did you mean"),
        ({"hpdp": {"schedular": "slurm"}}, "'schedular' .scheduler, did you mean"),
        ({"jobqueue__cpu__memory": None}, "jobqueue.cpu.memory is None"),
        ({"jobqueue__cpu__memory": "8"}, "give a size with its unit, as 4GiB"),
        ({"jobqueue__cpu__memory": "8 apples"}, r"jobqueue.cpu.memory is '8 apples'"),
        ({"jobqueue__cpu__cores": 0}, "jobqueue.cpu.cores is 0"),
        ({"jobqueue__cpu__walltime": 14400}, "walltime is 14400 .*; put it in quotes"),
        ({"jobqueue__cpu__worker-extra-args": ["--resources GPU=1"]}, "write gpu: true in"),
        ({"distributed": 3}, "distributed is not a section"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_mistakes(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, said(**changes))
    assert str(raised.value).startswith(str(tmp_path / "site.yaml"))
    assert "\n" not in str(raised.value)


def test_a_gpu_group_has_one_process_a_job(tmp_path: Path) -> None:
    whole = said(hpdp__groups={"cpu": {"gpu": True}}, jobqueue__cpu__processes=2)
    with pytest.raises(InputError, match="set processes to 1 and ask for one GPU a job"):
        load(tmp_path, whole)


def test_what_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    for text, message in (("a: [", "is not YAML"), ("a: 1", "no section hpdp"), ("", "no section")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_site(str(path))
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        load_site(str(tmp_path / "nowhere.yaml"))


def test_unknown_names() -> None:
    with pytest.raises(InputError, match=r"'slurm' is not known; .* one of .*slurm-cpu"):
        load_site("slurm")


def test_a_site_on_this_machine(tmp_path: Path) -> None:
    whole = {
        "hpdp": {"scheduler": "local", "groups": {"cpu": {"workers": 1}}},
        "jobqueue": {"cpu": {"memory": "500MiB"}},
        "distributed": {"worker": {"memory": {"spill": 0.55}}},
    }
    load(tmp_path, whole)
    with connect(str(tmp_path / "site.yaml")) as client:
        [worker] = client.scheduler_info()["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (1, 500 * 2**20)
        [spill] = client.run(
            lambda dask_worker: dask_worker.memory_manager.memory_spill_fraction
        ).values()
        assert spill == 0.55
    whole["hpdp"]["groups"]["more"] = {"workers": 1}
    with pytest.raises(InputError, match="the scheduler local has one group"):
        load(tmp_path, whole)


def test_options_that_do_not_fit_a_site(tmp_path: Path) -> None:
    load(tmp_path, said())
    where = str(tmp_path / "site.yaml")
    with pytest.raises(InputError, match="says how much memory the workers have"):
        connect(where, memory_limit="4GiB")
    with pytest.raises(InputError, match="0 workers are too few"):
        connect(where, workers=0)
    with pytest.raises(InputError, match="0 seconds are too short"):
        connect(where, wait=0)
    load(tmp_path, said(hpdp__groups={"cpu": {}, "gpu": {"config": "cpu"}}))
    with pytest.raises(InputError, match="has the groups cpu, gpu, each with its number"):
        connect(where, workers=2)
