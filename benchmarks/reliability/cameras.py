"""Network cameras that freeze, die, send garbage, change size or jump in time, beside healthy ones, in one worker."""

from __future__ import annotations

import time

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench
from benchmarks.reliability.filming import FPS, Heard, Order, Servers, Worker
from tracker.io.bus import local_endpoints
from tracker.roles.following import Retry
from tracker.types import CameraBack, CameraLost

JUMP_S = -3600  # a camera that is given the time anew


def run(bench: Bench) -> Row:
    """Stage every fault in turn and time what the worker says and does."""
    is_quick = bench.effort == "quick"
    # In quick mode the same waits, shorter; what is allowed shrinks with them.
    wait_s = 1.0 if is_quick else 5.0
    retry = Retry(first_s=0.2) if is_quick else Retry()
    names = tuple(f"net{n}" for n in range(bench.of(2, 4)))
    made = tuple(f"made{n:02d}" for n in range(bench.of(4, 16)))
    rounds = bench.of(1, 2)
    figures: dict[str, float] = {}

    def worst(name: str, value: float) -> None:
        figures[name] = round(max(figures.get(name, 0.0), value), 3)

    with bench.folder() as folder, Servers(names, stand_in=is_quick, seed=bench.seed) as servers:
        bus = local_endpoints(folder)
        urls = {name: line.url for name, line in servers.lines.items()}
        order = Order(urls, made, bus, folder / "worker.json", wait_s, wait_s, retry)
        with Heard(folder, bus, [*names, *made]) as heard, Worker(order) as worker:

            def frame_after(name: str, at_s: float) -> tuple[float, int, tuple[int, int]]:
                if not heard.wait(lambda: heard.first_frame(name, at_s) is not None):
                    raise RuntimeError(f"{name} never came back")
                found = heard.first_frame(name, at_s)
                assert found is not None
                return found

            def word_after(name: str, at_s: float) -> float:
                if not heard.wait(lambda: heard.first_word(name, at_s) is not None):
                    raise RuntimeError(f"nothing was said of {name}")
                found = heard.first_word(name, at_s)
                assert found is not None
                return found[0] - at_s

            def retried(name: str, at_s: float) -> float:
                """From the connection that brought the first frame since a moment to that frame."""
                came_s = frame_after(name, at_s)[0]
                tries = [t for t in servers.lines[name].accepted_s if at_s <= t <= came_s]
                return came_s - tries[-1] if tries else 0.0

            def run_for(name: str, frames: int) -> None:
                for _ in range(frames):
                    frame_after(name, time.monotonic())

            for name in (*names, *made):
                frame_after(name, 0.0)
            run_for(names[0], 10)
            began_ns = time.time_ns()
            began_s = time.monotonic()
            outages = dict.fromkeys(names, 0)
            for n in range(rounds):
                frozen, noisy = names[n % len(names)], names[(n + 1) % len(names)]
                small, jumping = names[(n + 2) % len(names)], names[(n + 3) % len(names)]

                line = servers.lines[frozen]
                line.mode = "frozen"
                at_s = time.monotonic()
                heard.wait(lambda: heard.first_word(frozen, at_s) is not None)  # noqa: B023  (waited for here)
                worst("stall_seen_s", word_after(frozen, line.passed_s))
                outages[frozen] += 1
                line.mode = "open"
                worst("frames_after_retry_s", retried(frozen, time.monotonic()))

                line = servers.lines[noisy]
                noise_s = time.monotonic()
                line.mode = "garbled"
                while time.monotonic() - noise_s < 1.0 and heard.first_word(noisy, noise_s) is None:
                    run_for(made[0], 1)
                line.mode = "open"
                clear_s = time.monotonic()

                before = frame_after(small, time.monotonic())
                small_s = time.monotonic()
                servers.size(small, *((160, 120) if n % 2 == 0 else (320, 240)))
                run_for(small, bench.of(12, 30))
                seen = [f for f in heard.frames[small] if f[0] > small_s]
                worst("gap_at_resize_s", _longest_gap([before[0], *(f[0] for f in seen)]))
                figures["sizes_handed_on"] = max(
                    figures.get("sizes_handed_on", 0), len({f[2] for f in (before, *seen)})
                )

                before = frame_after(jumping, time.monotonic())
                jump_s = time.monotonic()
                servers.jump(jumping, JUMP_S if n % 2 == 0 else -JUMP_S)
                run_for(jumping, bench.of(12, 30))
                seen = [f for f in heard.frames[jumping] if f[0] > jump_s]
                worst("gap_at_time_jump_s", _longest_gap([before[0], *(f[0] for f in seen)]))
                now = time.monotonic(), time.time_ns()
                worst(
                    "time_off_after_jump_s",
                    max(abs((now[1] - t_ns) / 1e9 - (now[0] - heard_s)) for heard_s, t_ns, _ in seen),
                )

                # By now it is known whether the noise cost the connection, which is an outage, or a few pictures only.
                word = heard.first_word(noisy, noise_s)
                outages[noisy] += word is not None
                came_s = frame_after(noisy, clear_s if word is None else max(clear_s, word[0]))[0]
                worst("frames_after_garbage_s", came_s - clear_s)
                if word is not None:
                    worst("frames_after_retry_s", retried(noisy, word[0]))

                killed_s = servers.kill()
                for name in names:
                    worst("end_of_stream_seen_s", word_after(name, killed_s))
                    outages[name] += 1
                servers.restart()
                back_s = time.monotonic()
                for name in names:
                    worst("frames_after_retry_s", retried(name, back_s))
            ended_s = time.monotonic()
            shares = [
                sum(began_s <= f[0] <= ended_s for f in heard.frames[name]) / ((ended_s - began_s) * FPS)
                for name in made
            ]
            figures["healthy_least_share_of_rate"] = round(min(min(shares), 1.0), 4)
            is_alive = worker.is_alive
        disordered = sum(b[1] <= a[1] for f in heard.frames.values() for a, b in zip(f, f[1:], strict=False))
        told = {
            name: [e for e in heard.events if _is_about(e, name) and e.t_ns >= began_ns]
            for name in (*names, *made)
        }
    figures |= {
        "outages_staged": sum(outages.values()),
        "lost_or_back_events_wrong": sum(
            _wrong([isinstance(e, CameraLost) for e in events], outages.get(name, 0))
            for name, events in told.items()
        ),
        "frames_out_of_order": disordered,
        "worker_died": int(not is_alive),
        "network_cameras": len(names),
        "healthy_cameras": len(made),
    }
    return Row(
        "cameras",
        figures,
        {
            # Seen when due; the worker looks every 0.2 s, and begins to look a round earlier.
            "stall_seen_s": bench.within(wait_s + 0.2),
            "end_of_stream_seen_s": bench.within(1.0),
            "frames_after_retry_s": bench.within(1.0),
            # Silence is waited out, then the retry.
            "frames_after_garbage_s": bench.within(wait_s + 1.5 * retry.first_s + 1.0),
            "gap_at_resize_s": bench.within(1.0),
            "sizes_handed_on": most(1),
            "gap_at_time_jump_s": bench.within(1.0),
            "time_off_after_jump_s": most(1.0),
            "healthy_least_share_of_rate": least(0.5 if is_quick else 0.95),
            "lost_or_back_events_wrong": most(0),
            "frames_out_of_order": most(0),
            "worker_died": most(0),
        },
        bench.commands,
        note=f"cameras: {servers.kind}; time-outs of {wait_s:g} s",
    )


def _longest_gap(times_s: list[float]) -> float:
    return max(b - a for a, b in zip(times_s, times_s[1:], strict=False))


def _is_about(event: object, name: str) -> bool:
    return isinstance(event, CameraLost | CameraBack) and event.camera_id == name


def _wrong(is_lost: list[bool], outages: int) -> int:
    """How far a camera's events are from lost, back, lost, back, ... once for every outage."""
    twice = sum(a == b for a, b in zip([False, *is_lost], is_lost, strict=False))
    return twice + abs(sum(is_lost) - outages) + (bool(is_lost) and is_lost[-1])
