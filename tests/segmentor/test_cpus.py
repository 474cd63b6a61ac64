import pytest

from segmentor.cpus import _cgroup_quota, available_cpus


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=["v2 unlimited", "v2", "v1", "v1 unlimited", "no cgroup"],
)
def test_the_cgroup_quota_is_read_in_both_versions(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cpus"), [(0.5, 1), (1.5, 2), (None, 8), (99.0, 8)])
def test_available_cpus_are_the_quota_rounded_up_within_the_affinity(monkeypatch, quota, cpus):
    monkeypatch.setattr("segmentor.cpus._cgroup_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert available_cpus() == cpus
