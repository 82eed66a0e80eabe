"""The addresses that a job and its service use: the HTTP port, and the Ray cluster that it would join."""

import socket

from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject

TIMEOUT = 3.0
"""Seconds to wait for a cluster's address."""


def check_http_port(subject: DoctorSubject) -> list[DoctorFinding]:
    """Is the port of `persona-rm serve` free?"""
    where = f"port {subject.port} of {subject.address}"
    try:
        family = socket.getaddrinfo(subject.address, subject.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((subject.address, subject.port), family=family).close()
    except OSError as error:
        todo = "Take another: persona-rm serve ... --port 0 finds a free one"
        return [DoctorFinding("warning", "HTTP port", f"{where} cannot be used ({error.strerror})", todo)]
    return [DoctorFinding("ok", "HTTP port", f"{where} is free")]


def check_ray_address(subject: DoctorSubject) -> list[DoctorFinding]:
    """Does the cluster that RAY_ADDRESS names accept connections?"""
    address = subject.variables.get("RAY_ADDRESS", "")
    if address in ("", "local"):
        return [DoctorFinding("ok", "Ray", "RAY_ADDRESS names no cluster, so a job starts one on this machine")]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or not (host and port.isdecimal()):
        what = f"RAY_ADDRESS={address}: the cluster is looked up when the job starts"
        return [DoctorFinding("note", "Ray", what, "Name it as HOST:PORT to have the connection tried here")]
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
    except OSError as error:
        todo = "Start the cluster (ray start --head), or unset RAY_ADDRESS to run on this machine"
        return [DoctorFinding("error", "Ray", f"RAY_ADDRESS={address} does not answer ({error})", todo)]
    return [DoctorFinding("ok", "Ray", f"the cluster at {address} answers")]
