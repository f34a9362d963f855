"""What reconnecting leaves behind: network cameras that hang up again and again, and what the worker then holds."""

from __future__ import annotations

import time

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, holdings
from benchmarks.reliability.filming import Heard, Order, Servers, Worker
from tracker.io.bus import local_endpoints
from tracker.roles.following import Retry

AT_MOST_S = 590.0  # within the ten minutes that the row may take


def run(bench: Bench) -> Row:
    """Every connection is cut shortly after its first pictures; the worker is weighed before and after."""
    is_quick = bench.effort == "quick"
    wanted = bench.of(30, 1000)
    names = tuple(f"net{n}" for n in range(bench.of(4, 6)))
    # So often is nobody meant to come and go: without the rest that flapping cameras are given.
    retry = Retry(first_s=0.05, most_s=0.2, outages=wanted)
    with bench.folder() as folder, Servers(names, stand_in=is_quick, seed=bench.seed) as servers:
        bus = local_endpoints(folder)
        urls = {name: line.url for name, line in servers.lines.items()}
        order = Order(urls, (), bus, folder / "worker.json", timeout_s=5.0, stalled_after_s=5.0, retry=retry)
        with Heard(folder, bus, names) as heard, Worker(order) as worker:

            def losses() -> int:
                return sum(state == "gone" for words in heard.words.values() for _, state, _ in words)

            def are_up() -> bool:
                return all(words and words[-1][1] == "up" for words in heard.words.values())

            def settle() -> None:
                """All cameras connected and nothing to be cut, so that like is compared with like."""
                for line in servers.lines.values():
                    line.life_s = None
                heard.wait(are_up)
                seen = {name: len(frames) for name, frames in heard.frames.items()}
                heard.wait(lambda: all(len(heard.frames[name]) > seen[name] + 5 for name in names))

            def cut_until(count: int) -> None:
                for line in servers.lines.values():
                    line.life_s = 0.1
                heard.wait(lambda: losses() >= count, max(AT_MOST_S - (time.monotonic() - began_s), 1.0))
                settle()

            began_s = time.monotonic()
            settle()
            # Allocators and FFmpeg's tables reach their size within the first connections.
            cut_until(bench.of(len(names) * 2, 100))
            before, warm = holdings(worker.pid), losses()
            cut_until(warm + wanted)
            after, count = holdings(worker.pid), losses() - warm
            took_s = time.monotonic() - began_s
    return Row(
        "reconnects",
        {
            "reconnects": count,
            "rss_growth_mib": round(after.rss_mib - before.rss_mib, 2),
            "threads_more": after.threads - before.threads,
            "children_more": after.children - before.children,
            "descriptors_more": after.descriptors - before.descriptors,
            "warm_up_reconnects": warm,
            "rss_mib": round(after.rss_mib, 1),
            "seconds": round(took_s, 1),
        },
        {
            "reconnects": least(wanted),
            "rss_growth_mib": most(5.0),
            "threads_more": most(0),
            "children_more": most(0),
            "descriptors_more": most(0),
        },
        bench.commands,
        note=f"cameras: {servers.kind}",
    )
