"""Bytes in, records out: sound ones, or WireError."""

from __future__ import annotations

import json
import re
import struct
import typing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tracker.io import wire
from tracker.types import (
    Advance,
    Appeared,
    CameraStatus,
    CameraUpdate,
    Command,
    Event,
    Evidence,
    Merged,
    Record,
    Sighting,
    TrackKey,
    Tracklet,
    Tracks,
    View,
)


def a_tracklet(dimensions: int = 4, **changes: Any) -> Tracklet:
    values: dict[str, Any] = {
        "key": TrackKey(camera_id="hall", run=1, number=2),
        "revision": 3,
        "ended": True,
        "t_first_ns": 1,
        "t_last_ns": 2,
        "first_box": np.array([0, 1, 2, 3], np.float32),
        "last_box": np.array([0, 1, 2, 3], np.float32),
        "velocity_px_s": np.zeros(2, np.float32),
        "image_size": (640, 480),
        "boxes_seen": 5,
        "score_mean": 0.5,
        "prototypes": np.eye(2, dimensions, dtype=np.float16),
        "quality": np.ones(2, np.float32),
        "mean_embedding": np.ones(dimensions, np.float32),
        "embeddings_seen": 2,
    }
    return Tracklet(**(values | changes))


def an_update(*tracklets: Tracklet) -> CameraUpdate:
    tracks = Tracks.of(np.array([2, 3]), np.arange(8).reshape(2, 4), np.array([0, 1]))
    return CameraUpdate(
        camera_id="hall", run=1, seq=9, t_ns=10**18, tracks=tracks, tracklets=tracklets, detected=True
    )


def same(a: Any, b: Any) -> bool:
    """Equality that looks into arrays, their dtypes and their NaNs."""
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if isinstance(a, Record):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__struct_fields__)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def tampered(record: Any, path: str, value: Any) -> bytes:
    """The record's message with one field replaced (or added), as any program could have sent it."""
    version, body = msgspec.msgpack.decode(wire.encode(record))
    *way, last = path.split(".")
    place = body
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    return msgspec.msgpack.encode((version, body))


def test_a_message_comes_back_as_it_was_and_read_only() -> None:
    record = an_update(a_tracklet())
    back = wire.decode(wire.encode(record))
    assert same(record, back) and isinstance(back, CameraUpdate)
    assert np.isnan(back.tracks.floor_xy_m).all()  # unknown stays unknown
    with pytest.raises(ValueError, match="read-only"):
        back.tracks.boxes[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        back.tracklets[0].prototypes[0, 0] = 1


floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
ints = st.integers(-(2**63), 2**63 - 1)
names = st.text(st.characters(codec="utf-8"), max_size=8)
keys = st.builds(TrackKey, camera_id=names, run=ints, number=ints)


def arrays(dtype: Any, *shape: int) -> st.SearchStrategy[Any]:
    elements = None if np.dtype(dtype).kind != "f" else {"allow_nan": False, "allow_infinity": False}
    return hnp.arrays(dtype, shape, elements=elements)


@st.composite
def updates(draw: st.DrawFn) -> CameraUpdate:
    n, k, d = draw(st.integers(0, 4)), draw(st.integers(0, 8)), draw(st.integers(1, 5))
    tracks = Tracks(
        ids=draw(arrays(np.int64, n)),
        boxes=draw(arrays(np.float32, n, 4)),
        states=draw(arrays(np.int8, n)),
        scores=draw(arrays(np.float32, n)),
        detections=draw(arrays(np.int32, n)),
        floor_xy_m=draw(hnp.arrays(np.float32, (n, 2), elements={"allow_infinity": False})),
        floor_sigma_m=draw(hnp.arrays(np.float32, (n,), elements={"allow_infinity": False})),
    )
    prototypes, mean = draw(arrays(np.float16, k, d)), draw(arrays(np.float32, d))
    prototypes[:, 0] = mean[0] = 1  # an embedding of zero is refused
    tracklet = a_tracklet(
        key=draw(keys),
        revision=draw(ints),
        ended=draw(st.booleans()),
        first_box=draw(arrays(np.float32, 4)),
        prototypes=prototypes,
        quality=draw(arrays(np.float32, k)),
        mean_embedding=mean,
        score_mean=draw(floats),
        model_hash=draw(names),
    )
    return CameraUpdate(
        camera_id=draw(names),
        run=draw(ints),
        seq=draw(ints),
        t_ns=draw(ints),
        tracks=tracks,
        tracklets=(tracklet,) * draw(st.integers(0, 2)),
        detected=draw(st.booleans()),
    )


sightings = st.builds(
    Sighting,
    camera_id=names,
    t_ns=ints,
    box=st.tuples(floats, floats, floats, floats),
    floor_xy_m=st.none() | st.tuples(floats, floats),
)
evidence = st.builds(
    Evidence,
    probability=floats,
    runner_up=st.none() | ints,
    gap_s=st.none() | floats,
    cues=st.dictionaries(names, floats, max_size=3),
)
records = st.one_of(
    updates(),
    st.builds(CameraStatus, camera_id=names, run=ints, t_ns=ints, state=st.sampled_from(["up", "gone"])),
    st.builds(Advance, t_ns=ints, final=st.booleans()),
    st.builds(
        Command, t_ns=ints, verb=st.just("split"), track_keys=st.tuples(keys), name=names, id=names, by=names
    ),
    st.builds(
        wire.Outcome,
        id=names,
        t_ns=ints,
        verb=names,
        global_ids=st.tuples(ints, ints),
        by=names,
        obeyed=st.booleans(),
        reason=names,
        events=st.tuples(st.builds(Merged, t_ns=ints, kept=ints, absorbed=ints, tracks=st.tuples(keys))),
    ),
    st.builds(Appeared, t_ns=ints, global_id=ints, track=keys, sighting=sightings, evidence=evidence),
    st.builds(Merged, t_ns=ints, kept=ints, absorbed=ints, tracks=st.tuples(keys, keys)),
)


@given(records)
@settings(max_examples=200, deadline=None)
def test_every_record_survives_the_round_trip(record: Any) -> None:
    assert same(record, wire.decode(wire.encode(record)))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_random_bytes_raise_nothing_but_wire_error(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data)


@given(records, st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_messages_give_a_sound_record_or_wire_error(record: Any, data: st.DataObject) -> None:
    message = bytearray(wire.encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    for hostile in (bytes(message), bytes(message[:cut])):
        try:
            back = wire.decode(hostile)
        except wire.WireError:
            continue
        wire.encode(back)  # sound enough to be sent on


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=5)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["camera_id", "t_ns", "tracks", "tracks.boxes", "tracks.ids", "tracklets", "tracklets.0", "detected"]
FIELDS += [f"tracklets.0.{name}" for name in Tracklet.__struct_fields__]


@given(st.sampled_from(FIELDS), json_like)
@settings(max_examples=400, deadline=None)
def test_any_value_in_any_field_gives_a_sound_record_or_wire_error(field: str, value: Any) -> None:
    if field == "tracklets.0":
        version, body = msgspec.msgpack.decode(wire.encode(an_update(a_tracklet())))
        body["tracklets"][0] = value
        message = msgspec.msgpack.encode((version, body))
    else:
        message = tampered(an_update(a_tracklet()), field, value)
    try:
        wire.encode(wire.decode(message))
    except wire.WireError:
        pass


@pytest.mark.parametrize(
    "poisoned",
    [
        {"prototypes": np.array([[1, 0], [0, 0]], np.float16), "mean_embedding": np.ones(2, np.float32)},
        {"prototypes": np.zeros((0, 0), np.float16), "quality": np.zeros(0, np.float32)}
        | {"mean_embedding": np.zeros(2, np.float32)},
    ],
)
def test_an_embedding_of_zero_is_refused(poisoned: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError, match="an embedding is zero"):
        wire.decode(wire.encode(an_update(a_tracklet(**poisoned))))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tracks.boxes", ["<f4", [2, 4], b"\0" * 31]),  # one byte short
        ("tracks.boxes", ["<f4", [2, 4], b"\0" * 28 + struct.pack("<f", float("nan"))]),
        ("tracks.boxes", ["<f4", [-2, -4], b"\0" * 32]),
        ("tracks.boxes", ["<f4", [2**62, 8, 2, 4], b"\0" * 32]),  # the product wraps in 64 bits
        ("tracks.boxes", ["<f4", [4, 2], b"\0" * 32]),  # not this field's shape
        ("tracks.boxes", ["|O8", [2, 4], b"\0" * 64]),
        ("tracks.boxes", ["V4", [2, 4], b"\0" * 32]),
        ("tracks.boxes", [[2, 4], "<f4", b"\0" * 32]),
        ("tracks.ids", ["<f8", [2], b"\0" * 16]),  # no ids with a fraction
        ("tracks.scores", ["<f8", [2], struct.pack("<dd", 1e300, 0)]),  # too large for its field
        ("tracks.floor_xy_m", ["<f4", [2, 2], struct.pack("<ffff", float("inf"), 0, 0, 0)]),
        ("t_ns", 2**64 - 1),
        ("t_ns", 1.5),
        ("camera_id", 7),
        ("type", "frame"),
        ("tracklets.0.image_size", [0, 480]),
        ("tracklets.0.score_mean", float("nan")),
        ("tracklets.0.mean_embedding", ["<f4", [3], b"\0" * 12]),  # prototypes have 4 values
    ],
)
def test_hostile_fields_are_refused(path: str, value: Any) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(tampered(an_update(a_tracklet()), path, value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,  # nested deeper than Python's stack
        b"\x92\x01" + b"\x81\xa1x" * 100_000 + b"\xc0",
        b"\x92\x01\x81\xa4type\xa2\xff\xfe",  # no UTF-8
        b"\x92\x01\xdd\xff\xff\xff\xff",  # four thousand million items announced
        msgspec.msgpack.encode((1, {"type": "advance"})),  # a field is missing
        msgspec.msgpack.encode((2, {"type": "advance", "t_ns": 1})),
        msgspec.msgpack.encode({"type": "advance", "t_ns": 1}),
    ],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data)


def test_the_size_limit_is_checked_first() -> None:
    with pytest.raises(wire.WireError, match="101 bytes is larger than 100"):
        wire.decode(b"\0" * 101, max_bytes=100)


def test_fields_of_a_newer_program_are_skipped_and_missing_new_ones_have_defaults() -> None:
    event = Appeared(
        t_ns=1,
        global_id=5,
        track=TrackKey(camera_id="a", run=0, number=1),
        sighting=Sighting(camera_id="a", t_ns=1, box=(0.0, 0.0, 1.0, 1.0)),
    )
    assert wire.decode(tampered(event, "colour_of_coat", {"r": [1, 2]})) == event
    version, body = msgspec.msgpack.decode(wire.encode(event))
    for name in ("evidence", "epoch", "seq", "schema_version"):
        del body[name]
    assert wire.decode(msgspec.msgpack.encode((version, body))) == event


def test_a_command_of_before_it_had_an_id_still_reads() -> None:
    old = {"type": "command", "t_ns": 5, "verb": "forget", "global_ids": [7], "track_keys": [], "name": ""}
    assert wire.decode(msgspec.msgpack.encode((1, old))) == Command(t_ns=5, verb="forget", global_ids=(7,))


def test_precision_may_change_between_versions() -> None:
    coarse = np.array([[0.5, 0.25, 0, 0], [0, 1, 0, 0]], np.float64)
    message = tampered(an_update(a_tracklet()), "tracklets.0.prototypes", ["<f8", [2, 4], coarse.tobytes()])
    back = wire.decode(message)
    assert isinstance(back, CameraUpdate)
    assert back.tracklets[0].prototypes.dtype == np.float16
    assert (back.tracklets[0].prototypes == coarse).all()
    assert not back.tracklets[0].prototypes.flags.writeable


def test_big_endian_and_strided_arrays_travel() -> None:
    turned = np.arange(8, dtype=">f4").reshape(4, 2).T
    record = wire.Boxes(
        camera_id="a",
        run=0,
        seq=0,
        t_ns=0,
        numbers=np.array([1, 2]),
        global_ids=np.array([0, 7]),
        boxes=turned,
        states=np.zeros(2, np.int8),
    )
    back = wire.decode(wire.encode(record))
    assert isinstance(back, wire.Boxes)
    assert back.boxes.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_what_is_no_record_does_not_travel() -> None:
    with pytest.raises(TypeError):
        wire.encode({"t_ns": 1})  # type: ignore[arg-type]
    bad = a_tracklet(quality=np.array([None, None], object))
    with pytest.raises(TypeError, match="object"):
        wire.encode(an_update(bad))


def test_kinds() -> None:
    assert wire.kind_of(an_update()) == "camera_update"
    assert wire.kinds_of(Event) == (
        *("appeared", "updated", "handed_over", "merged", "split", "left", "camera_lost", "camera_back"),
    )


def test_json_form() -> None:
    values = json.loads(json.dumps(wire.to_builtins(an_update())))
    assert values["type"] == "camera_update"
    assert values["tracks"]["boxes"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert values["tracks"]["floor_xy_m"] == [[None, None], [None, None]]
    view = View(epoch=1, seq=2, t_ns=3, identities=())
    assert json.dumps(wire.to_builtins(view)) == (
        '{"type": "view", "epoch": 1, "seq": 2, "t_ns": 3, "identities": []}'
    )


# docs/events.md

DOCS = Path(__file__).parent.parent / "docs" / "events.md"


def sections() -> dict[str, str]:
    """The text under every third-level heading."""
    parts = re.split(r"^### (.+)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", text, flags=re.MULTILINE)[0] for name, text in zip(parts[1::2], parts[2::2])
    }


def fields_told(text: str) -> list[str]:
    """The first column of the section's table."""
    return re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)


HEAD = ["t_ns", "epoch", "seq", "schema_version"]


@pytest.mark.parametrize("kind", typing.get_args(Event), ids=wire.kinds_of(Event))
def test_the_docs_tell_every_field_of_an_event_and_their_example_is_one(kind: type[Record]) -> None:
    section = sections()[str(kind.__struct_config__.tag)]
    assert HEAD + fields_told(section) == list(kind.__struct_fields__)
    (example,) = re.findall(r"```json\n(.+?)\n```", section, flags=re.DOTALL)
    told = json.loads(example)
    event: Event = msgspec.convert(told, Event)
    assert type(event).__name__ == kind.__name__
    # The example names every field, in the order of the record; and it travels.
    assert json.dumps(wire.to_builtins(event)) == json.dumps(told)
    assert wire.decode(wire.encode(event)) == event
    assert list(told) == ["type", *kind.__struct_fields__]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("key", TrackKey),
        ("sighting", Sighting),
        ("evidence", Evidence),
        ("heartbeat", wire.Heartbeat),
        ("ask", wire.Ask),
        ("replay", wire.Replay),
        ("page", wire.Page),
        ("boxes", wire.Boxes),
        ("command", Command),
        ("outcome", wire.Outcome),
        ("audit", wire.Audit),
    ],
)
def test_the_docs_tell_every_field_of_the_other_records(name: str, kind: type[Record]) -> None:
    assert fields_told(sections()[name]) == list(kind.__struct_fields__)


def test_the_docs_tell_the_head_the_formats_version_and_the_dtypes() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert fields_told(text.split("## Events")[1].split("### ")[0]) == HEAD
    assert f"`[{wire.FORMAT_VERSION}, record]`" in text
    for dtype in wire._DTYPES:
        assert dtype in text


def test_tracks_from_before_hidden_feet_were_thought_of_have_none():
    told = from_bytes_of_old_tracks()
    assert told.floor_near_xy_m.shape == (2, 2) and np.isnan(told.floor_near_xy_m).all()


def from_bytes_of_old_tracks() -> Tracks:
    """Tracks without the field, as a tape of that time holds them."""
    tracks = Tracks.of(np.arange(2), np.zeros((2, 4)), np.zeros(2))
    columns = {name: getattr(tracks, name) for name in tracks.__struct_fields__ if name != "floor_near_xy_m"}
    return Tracks(**columns)
