"""What would go wrong with a site is said before it does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import run_tracker
from tracker import doctor
from tracker.config import from_values
from tracker.io.bus import local_endpoints
from tracker.io.keys import make_keys
from tracker.io.status import StatusServer

CLIP = Path(__file__).resolve().parent.parent / "tracker" / "demo" / "court.mp4"


def found(file: Path, out: Path | None = None) -> dict[str, doctor.Finding]:
    return {one.what: one for one in doctor.site(file, out)}


def site_file(folder: Path, *lines: str, cameras: str = f"{{hall: '{CLIP}'}}") -> Path:
    file = folder / "site.yaml"
    bus = ", ".join(f"{name}: 'ipc://{folder}/{name}'" for name in ("ingest", "events", "replay", "boxes"))
    parts = [f"cameras: {cameras}", "embedder: {kind: none}", f"bus: {{{bus}}}", *lines]
    file.write_text("\n".join(parts))
    return file


def test_a_sound_site_is_found_sound(tmp_path: Path) -> None:
    file = site_file(tmp_path, f"live: {{http: '127.0.0.1:0', out: '{tmp_path}/out'}}")
    answers = found(file)
    wrong = [one for one in answers.values() if one.state == "wrong"]
    assert wrong == []
    assert "640x360" in answers["camera hall"].text
    assert answers["detector"].text.startswith("nanodet_g_person starts on")
    assert answers["endpoints"].state == answers["health"].state == "ok"
    assert {"disk", "retention", "clock"} <= set(answers)


def test_every_camera_is_asked_and_what_is_wrong_is_said(tmp_path: Path) -> None:
    cameras = f"{{hall: '{CLIP}', yard: nothing.mp4, gate: 'rtsp://viewer:pl4nted@127.0.0.1:9/s'}}"
    file = site_file(tmp_path, "live: {http: null}", "detector: {model: no_such_model}", cameras=cameras)
    file.chmod(0o644)
    answers = found(file, tmp_path / "out")
    assert [answers[f"camera {name}"].state for name in ("hall", "yard", "gate")] == ["ok", "wrong", "wrong"]
    assert "nothing.mp4" in answers["camera yard"].text
    assert answers["detector"].state == "wrong" and "no_such_model" in answers["detector"].text
    assert answers["passwords"].state == "note" and "chmod 600" in answers["passwords"].text
    assert "pl4nted" not in str(answers)


def test_a_camera_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    never = threading.Event()
    monkeypatch.setattr(doctor, "camera", lambda url, what: never.wait() and None)
    monkeypatch.setattr(doctor, "CAMERA_S", 0.0)
    site = from_values({"cameras": {"hall": "0", "yard": "1"}}, source="test")
    try:
        assert [one.text for one in doctor.cameras(site)] == ["does not answer within 0 s"] * 2
    finally:
        never.set()


def test_mistakes_of_the_file_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("cameras: {hall: {urll: a.mp4}}")
    texts = [one.text for one in doctor.site(file)]
    assert f"{file}: cameras.hall.urll: unknown name; did you mean url?" in texts


def test_taken_endpoints_are_found_before_the_start(tmp_path: Path) -> None:
    with StatusServer("127.0.0.1:0", {}) as taken:
        answers = found(site_file(tmp_path, f"live: {{http: '{taken.endpoint}'}}"), tmp_path)
    assert answers["health"].state == "wrong" and "is this site running already?" in answers["health"].text
    assert "without health" not in answers["health"].text
    open_to_all = from_values(
        {"cameras": {"a": "0"}, "live": {"http": "0.0.0.0:0"}, "bus": {"events": "tcp://0.0.0.0:0"}},
        source="test",
    )
    assert [one.state for one in doctor.endpoints(open_to_all)] == ["wrong", "wrong"]


def test_a_taken_port_that_nobody_asked_for_is_only_worth_knowing(tmp_path: Path) -> None:
    """``live`` goes on without it, and said so; the doctor told an error, and exited with 1."""
    bus = local_endpoints(tmp_path).model_dump()
    with StatusServer("127.0.0.1:0", {}) as taken:
        site = from_values({"cameras": {"a": "0"}, "bus": bus}, source="test")
        live = site.live.model_construct(http=taken.endpoint, _fields_set=set())
        answers = {one.what: one for one in doctor.endpoints(site.model_copy(update={"live": live}))}
    assert answers["health"].state == "note" and "without health and metrics" in answers["health"].text


def test_keys_that_others_can_read_are_found(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_keys(keys)
    site = from_values({"cameras": {"a": "0"}, "bus": {"keys": str(keys)}}, source="test")
    file = site_file(tmp_path)
    (tmp_path / "out").mkdir(mode=0o755)
    answers = {one.what: one for one in doctor.private_files(site, file, tmp_path / "out")}
    assert answers["keys"] == doctor.Finding("keys", "ok", f"2 in {keys}, private")
    assert answers["out"].state == "note"
    (keys / "client.key_secret").chmod(0o640)
    answers = {one.what: one for one in doctor.private_files(site, file, tmp_path / "nowhere")}
    assert answers["keys"].state == "wrong" and "chmod 600" in answers["keys"].text and "out" not in answers


def test_what_retention_takes_is_told_from_the_log_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = from_values({"cameras": {"a": "0", "b": "1"}, "store": {"keep_days": 10}}, source="test")
    # 2 cameras x 10 days x 86,400 events x 600 bytes = 1.04e9 bytes
    assert (
        "10 days of events take some 1.0 GiB with two people in view" in doctor.retention(site, tmp_path).text
    )
    usage = type("Usage", (), {"free": 2**30})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    years = {"cameras": {"a": "0", "b": "1"}, "store": {"keep_days": 1000, "keep_mib": 512}}
    bounded = doctor.retention(from_values(years, source="test"), tmp_path)
    assert bounded.state == "ok"  # 97 GiB would not fit into 1.0, but 0.5 are kept
    assert "96.6 GiB" in bounded.text and "store.keep_mib keeps the last 0.5 GiB" in bounded.text
    tapes = {"cameras": {"a": "0"}, "store": {"keep_tapes": True}, "link": {"remember_s": 7200}}
    taped = doctor.retention(from_values(tapes, source="test"), tmp_path)
    assert taped.state == "note" and "in 2 h (link.remember_s)" in taped.text
    log = tmp_path / "events.sqlite"
    db = sqlite3.connect(log)
    db.execute("CREATE TABLE events (t_ns INTEGER)")
    db.executemany("INSERT INTO events VALUES (?)", [(0,), (2 * 86_400 * 10**9,)])
    db.commit()
    db.close()
    per_day = log.stat().st_size / 2
    assert doctor._logged_bytes_per_day(log) == per_day
    assert "as the log has grown so far" in doctor.retention(site, tmp_path).text
    log.write_bytes(b"no log")
    assert doctor._logged_bytes_per_day(log) == 0


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site_file(tmp_path, "live: {http: null}", cameras="{yard: nothing.mp4}")
    assert run_tracker.main(["doctor", "--site", str(file), "-o", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "camera yard" in out and out.rstrip().endswith("1 problem found")
