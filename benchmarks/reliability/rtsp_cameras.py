"""Network cameras by GStreamer's RTSP server: rtsp://127.0.0.1:PORT/NAME, H.264 over RTP, with sender reports.

    /usr/bin/python3 rtsp_cameras.py NAME ...        with the system's Python, which has GStreamer's bindings

Prints "ready PORT", then obeys lines: "size NAME WIDTH HEIGHT" changes what a camera sends in mid-stream. Exit code 3:
the bindings or a plugin are missing.
"""
# mypy: ignore-errors
# The system's Python runs this, and its bindings have no types.

import sys

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer
except (ImportError, ValueError):
    sys.exit(3)

CAPS = "video/x-raw,width={},height={},framerate=10/1"
LAUNCH = (
    "( videotestsrc is-live=true pattern=ball ! capsfilter name=size caps=" + CAPS.format(320, 240) + " "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 config-interval=-1 pt=96 )"
)


def main(names):
    Gst.init(None)
    if not all(Gst.ElementFactory.find(name) for name in ("videotestsrc", "x264enc", "rtph264pay")):
        sys.exit(3)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    sizes = {}
    for name in names:
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(LAUNCH)
        factory.set_shared(True)
        factory.connect("media-configure", configure, name, sizes)
        server.get_mount_points().add_factory("/" + name, factory)
    server.attach(None)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, obey, sizes, loop)
    print("ready", server.get_bound_port(), flush=True)
    loop.run()


def configure(_, media, name, sizes):
    sizes[name] = media.get_element().get_by_name("size")


def obey(_, condition, sizes, loop):
    words = sys.stdin.readline().split()
    if not words:
        loop.quit()
        return False
    if words[0] == "size" and words[1] in sizes:
        sizes[words[1]].set_property("caps", Gst.Caps.from_string(CAPS.format(words[2], words[3])))
    return True


main(sys.argv[1:])
