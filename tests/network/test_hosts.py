"""The cluster itself: what the other tests rest on is really so."""

from __future__ import annotations

from support import rpcs
from support.cluster import MOUNT_POINT
from support.cluster_site import Site
from support.hosts import ACCOUNTS


def test_mount_has_version_and_default_caching(site: Site) -> None:
    options = site.clients[0].sh('grep " $1 " /proc/self/mountstats', MOUNT_POINT)
    assert f" with fstype nfs{'4' if site.version == '4.2' else ''} " in options
    options = site.clients[0].sh('grep " $1 " /proc/mounts', MOUNT_POINT)
    assert f"vers={site.version}" in options
    # The kernel does not show what is as it would be without.
    assert "ac" not in options.replace("addr", "").split()[3]


def test_root_of_client_is_nobody_on_server(site: Site) -> None:
    client = site.clients[0]
    client.run(["mkdir", site.area / "open"], ACCOUNTS.usera, umask=0)
    client.sh('touch "$1/file"', site.area / "open")
    owner = site.cluster.server.sh('stat -c %U "$1/open/file"', site.area)
    assert owner.strip() == "nobody"


def test_reflink_is_one_clone_where_nfs_has_it(site: Site) -> None:
    client = site.clients[0]
    client.run(["sh", "-c", 'echo content >"$1"', "sh", site.area / "file"], ACCOUNTS.usera)
    before = rpcs.count(client, MOUNT_POINT)
    copy = 'cp --reflink=always "$1" "$2"'
    argv = ["sh", "-c", copy, "sh", str(site.area / "file"), str(site.area / "copy")]
    done = client.run(argv, ACCOUNTS.usera, check=False)
    calls = rpcs.count(client, MOUNT_POINT) - before
    if site.version == "4.2":
        assert done.returncode == 0
        assert calls["CLONE"] == 1
    else:
        assert done.returncode != 0
        assert not calls["WRITE"]


def test_file_of_one_client_is_seen_by_the_other(site: Site) -> None:
    first, second = site.clients
    first.run(["sh", "-c", 'echo content >"$1"', "sh", site.area / "file"], ACCOUNTS.usera)
    assert second.sh('cat "$1"', site.area / "file") == "content\n"
    assert second.run(["cat", site.area / "file"], ACCOUNTS.userb).stdout == "content\n"
    assert first.sh("cat /proc/sys/kernel/random/boot_id") != second.sh(
        "cat /proc/sys/kernel/random/boot_id"
    )


def test_power_cut_of_server_loses_what_was_not_synced(site: Site) -> None:
    server, client = site.cluster.server, site.clients[0]
    client.run(["sh", "-c", 'echo synced >"$1"; sync "$1"', "sh", site.area / "a"], ACCOUNTS.usera)
    server.sh('echo lost >"$1"', site.area / "b")
    server.off()
    site.cluster.start_server()
    assert client.sh('cat "$1"', site.area / "a") == "synced\n"
    # Its name may be there: xfs had the time to write its journal.
    assert client.sh('cat "$1" 2>/dev/null || :', site.area / "b").strip("\0") == ""


def test_cut_client_waits_and_goes_on(site: Site) -> None:
    client = site.clients[0]
    site.cluster.cut(client)
    waiting = client.launch(
        ["sh", "-c", 'echo late >"$1"', "sh", site.area / "file"], ACCOUNTS.usera
    )
    assert not waiting.ended.wait(3)
    assert site.cluster.server.sh('ls "$1"', site.area) == ""
    site.cluster.join(client)
    assert waiting.wait(120).returncode == 0
    assert site.clients[1].sh('cat "$1"', site.area / "file") == "late\n"
