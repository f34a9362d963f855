"""Who watches is told how it goes, and cannot hurt: pages, their server, and the supervisor behind them."""

from __future__ import annotations

import asyncio
import errno
import http.client
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests import stand_ins
from tracker import roles
from tracker.config import LiveSettings, from_values, load
from tracker.errors import UserError
from tracker.io import status
from tracker.io.bus import local_endpoints
from tracker.io.status import MAX_CLIENTS, MAX_HEAD_BYTES, Page, StatusServer
from tracker.logs import LogSettings
from tracker.roles import family, housekeeping
from tracker.roles.health import OF_CAMERA, OF_PROCESS, SILENT_S, Health, Process, serving
from tracker.roles.housekeeping import Metrics, MetricsFile, private_folder, tell_systemd, write_whole

PATIENCE_S = 60.0  # nobody waits this long unless something is broken


# The server


def broken() -> Page:
    raise RuntimeError("a bug")


@pytest.fixture
def server() -> Iterator[StatusServer]:
    pages = {"/healthz": lambda: Page("alive\n"), "/broken": broken}
    with StatusServer("127.0.0.1:0", pages, exchange_s=PATIENCE_S) as one:
        yield one


def connected(server: StatusServer) -> socket.socket:
    host, port = server.endpoint.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def said(server: StatusServer, request: bytes) -> bytes:
    """All that the server answers to these bytes, after which the client says no more."""
    with connected(server) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(4096):
            answer += part
        return answer


def get(server: Any, path: str, method: str = "GET") -> tuple[int, str]:
    client = http.client.HTTPConnection(server.endpoint, timeout=PATIENCE_S)
    try:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


def test_a_page_is_had_by_get_and_nothing_else_is_there(server: StatusServer) -> None:
    assert get(server, "/healthz") == (200, "alive\n")
    assert get(server, "/healthz?verbose=1") == (200, "alive\n")
    assert get(server, "/healthz/")[0] == get(server, "/")[0] == get(server, "/../etc/passwd")[0] == 404
    assert {get(server, "/healthz", method)[0] for method in ("POST", "PUT", "DELETE", "OPTIONS")} == {405}


@pytest.mark.parametrize(
    ("request_bytes", "line"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /healthz\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /healthz HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"get /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /health\xffz HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (
            b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 431 Request Header Fields Too Large",
        ),
        (
            b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES,
            b"HTTP/1.1 431 Request Header Fields Too Large",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: x", b""),
        (b"", b""),
    ],
)
def test_any_bytes_get_a_status_or_a_closed_connection(
    server: StatusServer, request_bytes: bytes, line: bytes
) -> None:
    assert said(server, request_bytes).split(b"\r\n")[0] == line
    assert get(server, "/healthz") == (200, "alive\n")


def test_a_page_that_breaks_is_said_once_and_stops_nobody(
    server: StatusServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert [get(server, "/broken")[0] for _ in range(3)] == [500, 500, 500]
    assert get(server, "/healthz")[0] == 200
    assert len([r for r in caplog.records if "status page failed" in r.message]) == 1


def test_slow_clients_hold_nobody_up(server: StatusServer) -> None:
    """More of them than may be connected at once: the ones that came first go."""
    slow = [connected(server) for _ in range(MAX_CLIENTS + 5)]
    for client in slow[-MAX_CLIENTS + 1 :]:
        client.sendall(b"GET /healthz HT")
    assert get(server, "/healthz") == (200, "alive\n")
    assert slow[0].recv(100) == b""  # hung up on, long before its time was over
    for client in slow:
        client.close()


def test_for_everybody_too_many_another_one_goes(
    server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst hung up on the same client again and again, and all of the burst stayed."""

    class Transport:
        aborted = 0

        def abort(self) -> None:
            self.aborted += 1

    class Never:
        async def readuntil(self, mark: bytes) -> bytes:
            return await asyncio.get_running_loop().create_future()

    transports = [Transport() for _ in range(MAX_CLIENTS + 5)]

    async def burst() -> list[int]:
        meetings = [
            asyncio.ensure_future(server._meet(Never(), SimpleNamespace(transport=one)))  # type: ignore[arg-type]
            for one in transports
        ]
        await asyncio.sleep(0)  # each runs up to where it waits for its client
        aborted = [one.aborted for one in transports]
        for one in meetings:
            one.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)
        return aborted

    assert asyncio.run(burst()) == [1] * 5 + [0] * MAX_CLIENTS


def test_whoever_is_connected_when_all_closes_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with StatusServer("127.0.0.1:0", {"/": lambda: Page("")}, exchange_s=PATIENCE_S) as server:
        clients = [connected(server) for _ in range(3)]
        assert get(server, "/")[0] == 200  # whoever came before has been met
    assert [client.recv(100) for client in clients] == [b""] * 3
    for client in clients:
        client.close()
    assert server.counts.closed == 3
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_exchange_has_an_end(server: StatusServer) -> None:
    with StatusServer("127.0.0.1:0", {}, exchange_s=0.05) as hasty, connected(hasty) as client:
        assert client.recv(100) == b""
    assert hasty.counts.closed == 1


def test_other_machines_are_let_in_only_where_the_site_says_so() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "[::]", "example.org"):
        with pytest.raises(UserError, match="live.http_insecure: true"):
            StatusServer(f"{host}:0", {})
    with StatusServer("0.0.0.0:0", {}, insecure=True) as server:
        assert server.endpoint.startswith("0.0.0.0:")
    assert status.is_loopback("localhost") and status.is_loopback("::1") and status.is_loopback("127.8.0.1")


def test_a_taken_port_is_an_error_only_for_who_named_it(caplog: pytest.LogCaptureFixture) -> None:
    with StatusServer("127.0.0.1:0", {}) as first:
        named = LiveSettings(http=first.endpoint)
        with pytest.raises(UserError, match="cannot be listened on .* choose another one, or null"):
            with serving(named):
                pass
        default = LiveSettings.model_construct(http=first.endpoint, http_insecure=False, _fields_set=set())
        with serving(default):
            assert "going on without health and metrics" in caplog.text
    with serving(LiveSettings(http=None)) as health:
        assert health.healthz().status == 200
    with pytest.raises(UserError, match="live.http"):
        with serving(LiveSettings(http="127.0.0.1:99999")):
            pass


# The pages


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def worker_metrics(**states: str) -> Metrics:
    cameras: dict[str, dict[str, Any]] = {
        c: {"read": 10, "processed": 8, "dropped": 2, "lost": 1, "state": state, "reason": "", "fps": 9.5}
        for c, state in states.items()
    }
    return Metrics(name="worker-0", pid=7, cpu_s=1.5, rss_bytes=1 << 20, cameras=cameras)


def linker_metrics() -> Metrics:
    cameras = {"hall": {"state": "up", "latency_p50_s": 0.05, "latency_p99_s": 0.2}}
    return Metrics(name="linker", counters={"events": 42, "late": 3, "odd": 1}, cameras=cameras)


def test_alive_means_that_every_loop_comes_round() -> None:
    clock = Clock()
    health = Health(clock)
    assert health.healthz() == Page("alive\n", 200)
    health.tell(Process("linker", "linker", None, clock()), Process("worker-0", "worker", None, clock()))
    clock.now_s += SILENT_S + 1
    health.tell(
        Process("linker", "linker", None, clock() - SILENT_S - 1), Process("w", "worker", None, clock())
    )
    assert health.healthz() == Page("linker: nothing heard of it for 31 s\n", 503)
    health.tell(Process("linker", "linker", None, clock() - SILENT_S - 1, is_serving=False))
    assert health.healthz().status == 200  # it is being started: that is readiness
    clock.now_s += SILENT_S + 1
    assert health.healthz() == Page("this process: nothing heard of it for 31 s\n", 503)


def test_ready_means_a_linker_and_a_live_camera() -> None:
    clock = Clock()
    health = Health(clock)
    assert health.readyz() == Page("not ready\nstarting\n", 503)
    worker = Process("worker-0", "worker", worker_metrics(hall="up", yard="gone"), clock())
    health.tell(Process("linker", "linker", None, clock(), is_serving=False), worker)
    assert health.readyz() == Page("not ready\nlinker: starting\nyard: gone\n", 503)
    health.tell(Process("linker", "linker", linker_metrics(), clock()), worker)
    assert health.readyz() == Page("ready\nyard: gone\n", 200)
    dark = msgspec.structs.replace(worker_metrics(hall="gone"), name="w")
    dark.cameras["hall"]["reason"] = "rtsp://viewer:pa55@10.0.0.11/s is away"
    health.tell(Process("linker", "linker", linker_metrics(), clock()), Process("w", "worker", dark, clock()))
    assert health.readyz() == Page("not ready\nhall: gone: rtsp://***@10.0.0.11/s is away\n", 503)
    # Of a worker that is dead the linker's word counts.
    dead = Process("w", "worker", dark, clock(), is_serving=False)
    health.tell(Process("linker", "linker", linker_metrics(), clock()), dead)
    assert health.readyz() == Page("ready\nw: starting\n", 200)
    alone = worker_metrics(hall="up")  # a worker on a machine of its own
    health.alone("worker")(alone)
    assert health.readyz() == Page("ready\n", 200)
    health.alone("worker")(msgspec.structs.replace(alone, counters={"shut_out": 1}))
    assert health.readyz() == Page("not ready\nworker-0: the linker refuses this worker's key\n", 503)


SAMPLE = re.compile(r'throughline_[a-z_]+\{([a-z]+="[^"]*"(,[a-z]+="[^"]*")*)?\} (-?[0-9.e+-]+|nan|inf)')


def test_figures_are_in_the_text_format_of_prometheus() -> None:
    clock = Clock()
    health = Health(clock)
    health.tell(
        Process("linker", "linker", linker_metrics(), clock(), starts=2),
        Process("worker-0", "worker", worker_metrics(hall="up", yard="stalled"), clock() - 3),
    )
    lines = health.metrics().text.splitlines()
    assert all(line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line) for line in lines)
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed)), "a family is told once, all its samples together"
    for sample in (
        'throughline_camera_frames_read_total{camera="hall"} 10',
        'throughline_camera_fps{camera="yard"} 9.5',
        'throughline_camera_state{camera="yard",state="stalled"} 1',
        'throughline_camera_state{camera="yard",state="up"} 0',
        'throughline_camera_latency_seconds{camera="hall",quantile="0.99"} 0.2',
        'throughline_camera_reconnects_total{camera="hall"} 1',
        'throughline_linker_log_seq{process="linker"} 42',
        'throughline_linker_late_total{process="linker"} 3',
        'throughline_linker_odd{process="linker"} 1',
        'throughline_process_starts_total{process="linker"} 2',
        'throughline_process_silent_seconds{process="worker-0"} 3',
        'throughline_process_resident_bytes{process="worker-0"} 1048576',
    ):
        assert sample in lines
    assert not any("read_warm" in line for line in lines)


def test_frames_a_second_are_those_of_the_last_writings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    told: list[Metrics] = []
    file = MetricsFile(tmp_path / "m" / "w.json", tell=told.append)
    for processed in (0, 20, 40, 60, 80, 100, 110):  # 10 a second, then 5
        file.write({}, {"hall": {"processed": processed}, "door": {}})
        clock.now_s += 2.0
    assert [m.cameras["hall"].get("fps") for m in told] == [None, 10.0, 10.0, 10.0, 10.0, 10.0, 9.0]
    assert told[-1].cameras["door"] == {} and told[-1].rss_bytes > 1 << 20


def test_every_figure_is_explained_where_operators_look() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    names = [name for name, _, _ in OF_CAMERA.values()] + [f"linker_{OF_PROCESS['held'][0]}"]
    names += [
        f"worker_{name}" if name.startswith(("outbox", "rounds", "shut_out")) else f"linker_{name}"
        for name, _, _ in OF_PROCESS.values()
    ]
    short = {
        name: name.replace("camera_frames", "", 1) for name in names
    }  # `camera_frames_read_total`, `_dropped_total`
    assert [name for name in names if f"`{name}`" not in page and f"`{short[name]}`" not in page] == []


def test_a_linker_alone_speaks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_METRICS_S", 0.0)
    with StatusServer("127.0.0.1:0", {}) as free:
        http_at = free.endpoint
    bus = local_endpoints(tmp_path).model_dump()
    values = {"cameras": {"hall": "0"}, "bus": bus, "live": {"http": http_at}}
    stop, up = threading.Event(), threading.Event()
    site = from_values(values, source="test")
    linker = threading.Thread(
        target=roles.linker, args=(site, tmp_path / "out"), kwargs={"stop": stop, "ready": up.set}
    )
    linker.start()
    try:
        assert up.wait(PATIENCE_S)
        at = SimpleNamespace(endpoint=http_at)
        over_s = time.monotonic() + PATIENCE_S
        while "linker_log_epoch" not in get(at, "/metrics")[1]:
            assert time.monotonic() < over_s
        assert get(at, "/healthz") == (200, "alive\n")
        assert get(at, "/readyz") == (503, "not ready\nhall: opening\n")
    finally:
        stop.set()
        linker.join(PATIENCE_S)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) & 0o077 for p in (tmp_path / "out").rglob("*")}
    assert set(modes.values()) == {0}, modes


# Files, and the service manager


def test_a_full_disk_is_said_once_and_its_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every process said it every two seconds, for as long as it lasted."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = MetricsFile(tmp_path / "m" / "w.json")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        for _ in range(3):
            file.write({}, {})
        assert list((tmp_path / "m").iterdir()) == []  # nothing half written takes what space there is
    for _ in range(3):
        file.write({}, {})
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "cannot be written ([Errno 28] No space left on device); trying on",
        "can be written again",
    ]


def test_what_a_role_writes_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "out" / "metrics" / "a.json", b"{}")
        (tmp_path / "shared").mkdir(mode=0o755)
        private_folder(tmp_path / "shared")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes == {"out": 0o700, "metrics": 0o700, "a.json": 0o600, "shared": 0o755}


def test_a_site_file_with_a_password_that_others_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("cameras: {hall: 'rtsp://viewer:pa55@10.0.0.11/s'}")
    site.chmod(0o640)
    load(site)
    assert caplog.text == ""
    site.chmod(0o644)
    load(site)
    assert "others can read this file, and a password stands in it" in caplog.text
    assert "pa55" not in caplog.text
    caplog.clear()
    monkeypatch.setenv("HALL_PASSWORD", "pa55")
    site.write_text("cameras: {hall: 'rtsp://viewer:${HALL_PASSWORD}@10.0.0.11/s'}")
    load(site)
    assert caplog.text == ""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_systemd("READY=1")  # nobody asked
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_systemd("READY=1")
        assert manager.recv(100) == b"READY=1"
    tell_systemd("WATCHDOG=1")  # it went away


# Who dies again and again


def test_pauses_grow_to_a_minute() -> None:
    assert [family.pause_after(n) for n in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert family.pause_after(10_000) == 60


@pytest.fixture
def site() -> Any:
    """As much of a site as the supervisor looks at; its processes then start without what settings need."""
    return SimpleNamespace(cameras={"a": None, "b": None}, live=SimpleNamespace(workers=2))


def until(one: family._Family, is_so: Callable[[], bool]) -> None:
    over_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < over_s
        one.look_after(0.05)


def test_a_worker_that_dies_again_and_again_stops_nobody(
    tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(family, "_run_child", stand_ins.child)
    monkeypatch.setattr(family, "_MOST_PAUSE_S", 0.01)
    with family._Family(site, tmp_path, LogSettings()) as children:
        linker, good, bad = children._all
        until(children, lambda: bad.starts >= 3 and children.is_serving)
        assert (linker.starts, good.starts) == (1, 1) and good.is_serving
        health = Health()
        children.tell(health, time.monotonic())
        assert health.healthz().status == 200
        assert "worker-1: starting" in health.readyz().text
        assert 'throughline_process_up{process="worker-1"} 0' in health.metrics().text
    assert "worker-1 died (exit code 3); starting it again" in caplog.text


def test_what_one_process_cannot_use_later_is_its_own_trouble(
    tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(family, "_run_child", stand_ins.child)
    monkeypatch.setattr(family, "_MOST_PAUSE_S", 0.01)
    with family._Family(site, tmp_path, LogSettings()) as children:
        _, good, _ = children._all
        until(children, lambda: children._begin_ns is not None)
        (tmp_path / "worker-0.problem").touch()
        good.pipe.send(("begin", 0))
        until(children, lambda: good.deaths == 1)
        (tmp_path / "worker-0.problem").unlink()
        until(children, lambda: good.is_serving)
        assert good.starts == 2
    assert "worker-0 died (cannot use rtsp://***@h/s)" in caplog.text and "pl4nted" not in caplog.text


def test_nothing_that_ever_runs_is_a_mistake_to_be_told(
    tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "_run_child", stand_ins.child)
    monkeypatch.setattr(family, "_MOST_PAUSE_S", 0.01)
    (tmp_path / "worker-0.dies").touch()
    with family._Family(site, tmp_path, LogSettings()) as children:
        with pytest.raises(UserError, match="dies whenever it is started; run with --verbose"):
            until(children, lambda: False)


def test_whose_loop_hangs_is_ended_and_started_again(
    tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By what it tells its parent: on a full disk nobody's figures get into a file, and sound processes were ended."""
    monkeypatch.setattr(family, "_run_child", stand_ins.child)
    with family._Family(site, tmp_path, LogSettings()) as children:
        linker, good, _ = children._all
        until(children, lambda: children._begin_ns is not None)
        begin_s = now_s = time.monotonic()
        while (
            now_s < begin_s + 63
        ):  # the clock is an argument: looks every 3 s, in which the linker tells something
            linker.pipe.send(("figures", Metrics(name="linker")))
            until(children, lambda: linker.is_news)
            children.tell(Health(), now_s)
            now_s += 3
        until(children, lambda: good.starts == 2 and good.is_serving)
        assert linker.starts == 1
        heard_s = good.heard_s
        children.tell(Health(), now_s + 3600)  # all stood still: nobody is blamed
        assert good.heard_s > heard_s + 3000 and good.process.is_alive()
    assert "worker-0: nothing heard of it for" in caplog.text


def test_all_workers_together_have_one_time_to_stop(
    tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each had its own: three that hung made a service manager kill all, the linker before it had written its state."""
    monkeypatch.setattr(family, "_run_child", stand_ins.child)
    waited_s: list[float] = []
    clock = Clock()

    def none_in_time(sentinels: list[int], timeout_s: float) -> list[int]:
        waited_s.append(timeout_s)
        clock.now_s += timeout_s
        return []

    site = SimpleNamespace(cameras=dict.fromkeys("abc"), live=SimpleNamespace(workers=3))
    with family._Family(site, tmp_path, LogSettings()) as children:
        hang = [children._all[1], children._all[3]]
        until(children, lambda: all(child.is_ready for child in hang))
        for child in hang:
            (tmp_path / f"{child.name}.deaf").touch()
        with monkeypatch.context() as patch:
            patch.setattr(family, "wait", none_in_time)
            patch.setattr(family, "time", SimpleNamespace(monotonic=clock))
            (tmp_path / "linker.deaf").touch()
            children.stop()
    # The workers' time and the linker's; no look takes longer than the next one has to wait.
    assert sum(waited_s) == pytest.approx(2 * family._STOP_S) and max(waited_s) <= 0.2
    assert all(
        f"{name} does not stop; killing it" in caplog.text for name in ("worker-0", "worker-2", "linker")
    )


def test_of_two_lives_counts_are_added_up_and_of_all_else_the_last_is_told() -> None:
    """Latencies and the clocks' offsets were added up as well."""
    before = {"read": 10, "lost": 1, "fps": 9.5, "latency_p50_s": 0.1, "latency_p99_s": 0.4, "state": "up"}
    before |= {"worker_clock_offset_s": 2.0, "worker_clock_drift_ppm": 50.0}
    now = {"read": 5, "lost": 0, "fps": 8.0, "latency_p50_s": 0.2, "latency_p99_s": 0.3, "state": "gone"}
    now |= {"worker_clock_offset_s": 2.1, "worker_clock_drift_ppm": 49.0}
    assert family._summed(before, now) == now | {"read": 10 + 5, "lost": 1 + 0}
    assert family._summed(before, {}) == before and family._summed({}, now) == now
