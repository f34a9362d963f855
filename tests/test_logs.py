"""What is said of what happens: in lines for people or for machines, and no secret in any of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tracker.errors import holds_password, mask_url

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://admin:a/b#c@10.0.0.1/live", "rtsp://***@10.0.0.1/live"),  # not as a URL should write it
        ("rtsp://host:554/a@b", "rtsp://***@b"),  # a password of digits could begin like that
        ("rtsp://admin:12345/67@h/", "rtsp://***@h/"),
        ("rtsp://admin:12345?a@h/s", "rtsp://***@h/s"),
        ("rtsp://h:554/s is away, ask a@b", "rtsp://h:554/s is away, ask a@b"),
        ("rtsp://h:8554/s?channel=1&subtype=0", "rtsp://h:8554/s?channel=1&subtype=0"),
        ("rtsp://[::1]:554/cam_1/stream=2", "rtsp://[::1]:554/cam_1/stream=2"),
        ("rtsp://h/user=admin_password=tlJwpbo6_channel=1", "rtsp://h/user=***_password=***_channel=1"),
        ("rtsp://h/user=ada&password=a_b_c=&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        ("http://h/s;password=a_b;channel=1", "http://h/s;password=***;channel=1"),
        (
            "http://h/cgi?user=ada&password=pw1&channel=2 is away",
            "http://h/cgi?user=***&password=***&channel=2 is away",
        ),
        ("http://h/a?access_token=xyz#t", "http://h/a?access_token=***#t"),
        ("http://h/a?stream=main&Passwd='x'", "http://h/a?stream=main&Passwd='x'"),
    ],
)
def test_credentials_are_masked_wherever_an_address_holds_them(text: str, masked: str) -> None:
    assert mask_url(text) == masked


def test_a_password_in_so_many_words_is_told_from_one_of_the_environment() -> None:
    assert holds_password("rtsp://viewer:pw@h/s") and holds_password("http://h/s?pwd=pw")
    assert not holds_password("rtsp://viewer:${HALL}@h/s") and not holds_password("http://h/s?pwd=${HALL}")
    assert holds_password("rtsp://h/user=admin_password=tlJwpbo6_channel=1")
    assert holds_password("rtsp://admin:12345/67@h/") and holds_password("rtsp://admin:12345?a@h/s")
    assert not holds_password("rtsp://h/user=admin_password=${HALL}_channel=1")
    assert not holds_password("rtsp://h:8554/s?channel=1") and not holds_password("rtsp://[::1]:554/cam_1/s")
    assert not holds_password("rtsp://h:554/s") and not holds_password("rtsp://viewer@h/s")


SAY = """
import logging, sys, threading
from tracker.logs import LogSettings, set_up

set_up(LogSettings(logging.INFO, sys.argv[1]), "worker-0", ["hall", "yard"])
log = logging.getLogger("tracker.test")
log.info("%s: the stream ended", "hall")
log.warning("cannot open %s", "rtsp://viewer:pl4nted@h/s")
try:
    raise OSError("rtsp://viewer:pl4nted@h/s is away")
except OSError:
    log.exception("it failed")

def capture():
    log.info("from a capture thread")
    raise RuntimeError("http://h/s?password=pl4nted broke")

thread = threading.Thread(target=capture, name="yard")
thread.start()
thread.join()
raise RuntimeError("rtsp://viewer:pl4nted@h/s broke\\nall")
"""


def said(form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SAY, form], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "pl4nted" not in done.stderr
    return done.stderr.splitlines()


def test_for_a_collector_every_line_is_an_object() -> None:
    lines = [json.loads(line) for line in said("json")]
    assert [(one["level"], one.get("camera"), one["message"]) for one in lines] == [
        ("info", "hall", "hall: the stream ended"),
        ("warning", None, "cannot open rtsp://***@h/s"),
        ("error", None, "it failed"),
        ("info", "yard", "from a capture thread"),
        ("critical", "yard", "yard ended"),
        ("critical", None, "uncaught"),
    ]
    assert all(one["process"] == "worker-0" and one["time"].endswith("Z") for one in lines)
    assert lines[2]["error"].endswith("OSError: rtsp://***@h/s is away")
    assert lines[4]["error"].endswith("http://h/s?password=*** broke")
    assert lines[5]["error"].endswith("rtsp://***@h/s broke\nall")


def test_for_people_it_is_text() -> None:
    lines = said("text")
    assert lines[0].endswith("INFO worker-0 tracker.test: hall: the stream ended")
    assert lines[1].endswith("cannot open rtsp://***@h/s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_a_planted_password_comes_out_nowhere(tmp_path: Path) -> None:
    """Everything that a live run says, writes and serves, with a camera that is not there."""
    port, out = free_port(), tmp_path / "out"
    site = tmp_path / "site.yaml"
    site.write_text(
        "cameras:\n"
        f"  hall: 'rtsp://viewer:${{HALL_PASSWORD}}@127.0.0.1:{free_port()}/s?token=${{HALL_PASSWORD}}'\n"
        "embedder: {kind: none}\n"
        "flow: {kind: none}\n"
        f"bus: {{events: 'ipc://{tmp_path}/e', replay: 'ipc://{tmp_path}/r', boxes: 'ipc://{tmp_path}/b'}}\n"
        f"live: {{http: '127.0.0.1:{port}'}}\n"
    )
    command = [
        sys.executable,
        "-m",
        "run_tracker",
        "live",
        str(site),
        "-o",
        str(out),
        "-v",
        "--log-format",
        "json",
    ]
    environment = os.environ | {"HALL_PASSWORD": "pl4nted"}
    pages = {}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as live:
        assert live.stderr is not None
        lines = []
        for line in live.stderr:  # until the camera has been missed, and that is in the figures
            lines.append(json.loads(line))
            if lines[-1].get("camera") == "hall" and (out / "metrics" / "worker-0.json").exists():
                break
        for path in ("healthz", "readyz", "metrics"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE_S) as page:
                    pages[path] = page.read().decode()
            except urllib.error.HTTPError as error:
                pages[path] = error.read().decode()
        live.terminate()
        told, more = live.communicate(timeout=PATIENCE_S)
    assert live.returncode == 0
    lines += [json.loads(line) for line in more.splitlines()]
    assert {one["process"] for one in lines} >= {"live", "linker", "worker-0"}
    assert pages["healthz"] == "alive\n" and pages["readyz"].startswith("not ready\n")
    assert 'throughline_process_up{process="linker"} 1' in pages["metrics"]
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"hall" in written
    everything = json.dumps(lines) + told + "".join(pages.values()) + written.decode("latin-1")
    assert "pl4nted" not in everything
