"""What is kept of a cluster: the performance report and the logs of workers."""

import logging
import re

import pytest

from hpdp_dask.cluster import connect
from hpdp_dask.cluster.reports import keep_worker_logs, performance_report, worker_logs
from hpdp_dask.errors import InputError


def work(number):
    logging.getLogger("distributed.worker").error("at work on %d", number)
    return number


def test_report_is_one_page_that_names_the_tasks(client, tmp_path):
    path = tmp_path / "report.html"
    with performance_report(client, path, "hpdp demo -o '<script>x</script>'"):
        client.gather(client.map(work, range(4), key="reported-work", pure=False))
    page = path.read_text()
    assert "number of tasks: 4" in page
    assert "reported-work" in page
    assert "<script>x" not in page
    assert not re.search(r"<script[^>]* src=", page)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_report_is_written_though_the_work_fails(client, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(ZeroDivisionError), performance_report(client, path):
        client.submit(lambda: 1 // 0, pure=False, retries=0).result()
    assert "Dask Performance Report" in path.read_text()


def test_no_report_is_wanted(client):
    with performance_report(client, None):
        pass


@pytest.mark.parametrize("name", ["report.txt", "nowhere/report.html", ""])
def test_report_that_cannot_be_written_is_refused_before_the_work(client, tmp_path, name):
    with pytest.raises(InputError), performance_report(client, tmp_path / name):
        pytest.fail("the work began")


def test_logs_of_all_workers_are_kept_though_the_work_fails(client, tmp_path):
    with pytest.raises(ZeroDivisionError), worker_logs(client, tmp_path / "logs"):
        1 // min(client.gather(client.map(work, range(8), pure=False)))
    logs = {file.name: file.read_text() for file in (tmp_path / "logs").iterdir()}
    assert set(logs) == {"worker-0.log", "worker-1.log", "scheduler.log"}
    workers = logs["worker-0.log"] + logs["worker-1.log"]
    for number in range(8):
        assert f"at work on {number}" in workers
    assert workers.index("Start worker at") < workers.index("at work on")  # the oldest first
    assert logs["scheduler.log"].count("add-worker") == 2


def test_logs_are_kept_though_a_worker_retired(tmp_path):
    with connect("local", workers=2, memory_limit="300MiB") as client:
        client.retire_workers([min(client.scheduler_info(n_workers=-1)["workers"])])
        files = keep_worker_logs(client, tmp_path / "logs")
    assert len(files) == 2
    assert "remove-worker" in (tmp_path / "logs" / "scheduler.log").read_text()


def test_logs_of_a_cluster_that_is_gone(tmp_path):
    with connect("local", workers=1, memory_limit="300MiB") as client:
        pass
    assert keep_worker_logs(client, tmp_path / "logs") == []
    assert not (tmp_path / "logs").exists()
