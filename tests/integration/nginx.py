"""A real nginx with the manual's own configuration."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..support.manual import code_blocks
from ..support.ports import free_port
from .servers import wait_for

(MANUAL,) = code_blocks("docs/deployment.md", "nginx")
BARE = "location / {{ proxy_pass http://127.0.0.1:{port}; }}"
"""What many a site has."""
# Around what stands in conf.d: the parts that a system's own nginx.conf has, without the system's paths.
FRAME = """
daemon off;
pid nginx.pid;
error_log error.log info;
{user}
events {{ }}
http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {site}
}}
"""


@dataclass(frozen=True)
class Nginx:
    base: str
    directory: Path

    @property
    def accesses(self) -> str:
        return (self.directory / "access.log").read_text()

    @property
    def errors(self) -> str:
        return (self.directory / "error.log").read_text()


def manual_site(upstreams: Sequence[int], directory: Path, *, has_tls: bool = True) -> tuple[str, str]:
    """Return the manual's configuration for these upstreams' ports, and where it serves."""
    site = MANUAL
    for name, port in zip(("8001", "8002"), upstreams, strict=True):
        site = _replaced(site, f"127.0.0.1:{name}", f"127.0.0.1:{port}")
    port = free_port()
    site = _replaced(site, "listen 80;", f"listen 127.0.0.1:{free_port()};")
    if has_tls:
        _make_certificate(directory)
        site = _replaced(site, "listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;")
        site = _replaced(site, "/etc/ssl/", f"{directory}/", count=2)
        return site, f"https://127.0.0.1:{port}"
    site = _replaced(site, "listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    return re.sub(r"ssl_certificate\S* .*", "", site), f"http://127.0.0.1:{port}"


def bare_site(upstream: int) -> tuple[str, str]:
    """Return what nginx does by default, and where it serves."""
    port = free_port()
    site = f"server {{ listen 127.0.0.1:{port}; {BARE.format(port=upstream)} }}"
    return site, f"http://127.0.0.1:{port}"


@contextmanager
def nginx_with(program: Path, site: str, base: str, directory: Path) -> Iterator[Nginx]:
    """Run nginx with a site."""
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(FRAME.format(site=site, user=user))
    command = [program, "-p", directory, "-c", "nginx.conf", "-e", "error.log"]
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            port = int(base.rpartition(":")[2])
            wait_for("nginx listens", lambda: process.poll() is not None or _listens(port))
            output.seek(0)
            assert process.poll() is None, output.read().decode()
            yield Nginx(base, directory)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _replaced(text: str, old: str, new: str, *, count: int = 1) -> str:
    assert text.count(old) == count, old
    return text.replace(old, new)


def _make_certificate(directory: Path) -> None:
    names = ["-keyout", directory / "chat.example.com.key", "-out", directory / "chat.example.com.pem"]
    subject = ["-subj", "/CN=chat.example.com", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *subject]
    subprocess.run(command, check=True, capture_output=True)
