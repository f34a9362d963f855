"""What a scene's YAML file may say. Angles in degrees, lengths in metres, times in seconds.

``difficulty`` is one dial from 0 (easy) to 1 (hard) for what the file leaves out. It moves

- how alike people dress: ``people.likeness`` is the difficulty;
- how crowded it is: ``people.count`` is `usual_count`, 4 to 20 people per 100 square metres of floor;
- how cameras differ and how bad they are: the spread of ``gain`` and ``gamma``, ``noise`` and ``blur``
  (`scenes.look`), and ``quality``, the constant rate factor: 20 to 32 (`usual_quality`).

What a file says stands, whatever the difficulty.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from configs.reading import read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Point = tuple[float, float]
Place = tuple[float, float, float]
Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[Share, Share, Share]
Gain = Annotated[float, Field(gt=0, lt=4)]
Side = Annotated[float, Field(ge=0.05, le=100)]
Rate = Annotated[float, Field(ge=0.05, le=120)]


class SceneError(ValueError):
    """A scene file that cannot be used; says every mistake with its place."""


class Settings(BaseModel):
    """Frozen, and refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Area(Settings):
    """A room, corridor or courtyard: a rectangle of floor with walls around it."""

    x: tuple[float, float]  # from, to
    y: tuple[float, float]
    kind: Literal["room", "corridor", "courtyard", "street"] = "courtyard"
    floor: Literal["paving", "tiles", "parquet", "carpet", "asphalt", "grass"] = "paving"
    floor_colour: Colour | None = None  # None: drawn
    walls: Literal["plaster", "brick", "none"] = "plaster"
    wall_colour: Colour | None = None
    height: float = Field(3.2, gt=0)
    windows: Share = 0.5  # share of the walls' length

    @model_validator(mode="after")
    def _has_floor(self) -> Area:
        if not (self.x[0] < self.x[1] and self.y[0] < self.y[1]):
            raise ValueError("x and y go from the smaller to the larger number")
        if min(self.x[1] - self.x[0], self.y[1] - self.y[0]) < 1:
            raise ValueError("an area is at least 1 m wide: its walls stand inside it")
        return self


class Door(Settings):
    """An opening in a wall: between two areas, or out of the scene where there is one area only."""

    between: tuple[Name] | tuple[Name, Name]
    at: Point  # its middle, on the wall
    width: float = Field(1.2, gt=0.6)


class Obstacle(Settings):
    """Something in the way, on a rectangle of floor."""

    kind: Literal["pillar", "bench", "planter", "table", "shelf", "kiosk", "car", "box"]
    at: Point  # its middle
    size: tuple[Side, Side, Side] | None = None  # along x, along y, height; None: what is usual of its kind
    turn: float = 0.0  # degrees
    colour: Colour | None = None


class Person(Settings):
    """Somebody by design and not by chance. What is left out is drawn."""

    look: dict[str, Any] = {}  # fields of scenes.wardrobe.Look
    start: Point | None = None
    goals: tuple[Point, ...] = ()  # walked to one after the other, then out by the nearest door
    enters: float | None = Field(None, ge=0)  # when
    speed: float | None = Field(None, gt=0.3, lt=2.5)  # m/s


class People(Settings):
    count: int = Field(
        8, ge=0, le=2000
    )  # in the whole scene, those of `cast` included; left out: `usual_count`
    cast: tuple[Person, ...] = ()
    at_once: int | None = Field(None, ge=1)  # so many are inside at most, others enter when somebody left
    seed: int | None = None  # None: the scene's; the same seed draws the same people in another scene
    likeness: Share | None = None  # how alike they dress: 0 chance, 1 one uniform; None: from difficulty
    groups: Share = 0.2  # share of people who walk with somebody
    standing: Share = 0.15  # share of goals where somebody stops for a while
    seated: Share = 0.0  # share of people who sit down on benches
    carrying: Share = 0.4  # share with backpacks and bags
    children: Share = 0.0


class Motion(Settings):
    """A camera that moves."""

    pan: float = Field(0.0, ge=0, le=90)  # degrees to each side
    period: float = Field(20.0, gt=0)
    shake: float = Field(0.0, ge=0)  # px, root mean square


class Camera(Settings):
    at: Place
    look: Place  # the point in the middle of the picture
    size: tuple[int, int] = (640, 360)  # width, height; even numbers
    view: float = Field(70.0, gt=5, lt=150)  # degrees from the left edge to the right one
    fps: Rate | None = None  # None: the scene's
    distortion: tuple[float, float, float, float, float] = (0, 0, 0, 0, 0)  # OpenCV's k1 k2 p1 p2 k3
    gain: tuple[Gain, Gain, Gain] | None = (
        None  # red, green, blue; None: drawn, as far from 1 as the difficulty says
    )
    gamma: float | None = Field(None, gt=0.3, lt=3)
    noise: float | None = Field(None, ge=0, le=24)  # grey levels, standard deviation
    blur: float | None = Field(None, ge=0, le=50)  # px, standard deviation
    shutter: float = Field(0.0, ge=0, le=0.5)  # s that the shutter is open: motion blur
    quality: int | None = Field(None, ge=0, le=51)  # H.264 constant rate factor; None: from difficulty
    clock_offset: float = 0.0  # s that its clock is ahead
    clock_drift: float = Field(0.0, ge=-100_000, le=100_000)  # parts per million that it is fast
    drops: Share = 0.0  # share of frames that are lost
    motion: Motion = Motion()

    @field_validator("size")
    @classmethod
    def _even(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= pixels <= 8192 and pixels % 2 == 0 for pixels in size):
            raise ValueError("width and height are even numbers from 16 to 8192")
        return size

    @model_validator(mode="after")
    def _looks_somewhere(self) -> Camera:
        if math.dist(self.at, self.look) < 1e-6:
            raise ValueError("at and look are the same point")
        return self

    @model_validator(mode="after")
    def _lens_reaches(self) -> Camera:
        """Within the distortion's reach lie the middles of the left edge and the right one."""
        k1, k2, _, _, k3 = self.distortion
        steps = np.arange(1, 1001) / 250  # undistorted radii at depth 1, up to 4: beyond 150 degrees
        square = steps * steps
        bent = steps * (1 + square * (k1 + square * (k2 + square * k3)))
        grows = np.concatenate(([True], np.diff(bent) > 0)) & (bent > 0)
        most = bent[: len(grows) if grows.all() else max(1, int(grows.argmin()))].max()
        if most < math.tan(math.radians(self.view) / 2):
            raise ValueError(
                "distortion: so strong that the picture folds over before its left and right edges;"
                " take less of it, or a narrower view"
            )
        return self


class Light(Settings):
    kind: Literal["day", "dusk", "indoor"] = "day"
    azimuth: float = 215.0  # degrees from x to y: where the sun stands
    elevation: float = Field(50.0, gt=5, le=90)
    strength: float = Field(1.0, gt=0, le=3)


class Scene(Settings):
    """A whole scene."""

    name: Name
    seed: int = Field(0, ge=0)
    seconds: float = Field(25.0, gt=0, le=86_400)
    fps: Rate = 10.0
    difficulty: Share = 0.3  # dial: how alike people dress, how different and how bad cameras are
    areas: dict[Name, Area] = Field(min_length=1)
    doors: tuple[Door, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    light: Light = Light()
    people: People = People()
    cameras: dict[Name, Camera] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Scene:
        if "count" not in self.people.model_fields_set:
            usual = max(usual_count(self.areas, self.difficulty), len(self.people.cast))
            people = self.people.model_copy(update={"count": usual})
            people.model_fields_set.discard(
                "count"
            )  # nobody said it: of another difficulty it is another number
            object.__setattr__(self, "people", people)
        mistakes = [*self._of_doors(), *self._of_people()]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _of_doors(self) -> list[str]:
        known = list(self.areas)
        return [
            f"doors.{number}.between: there is no area {name!r}{hint(name, known)}"
            for number, door in enumerate(self.doors)
            for name in door.between
            if name not in self.areas
        ]

    def _of_people(self) -> list[str]:
        mistakes = []
        if len(self.people.cast) > self.people.count:
            mistakes.append(
                f"people.cast: names {len(self.people.cast)} people, people.count allows {self.people.count}"
            )
        for number, person in enumerate(self.people.cast):
            for what, points in (("start", (person.start,)), ("goals", person.goals)):
                if any(point is not None and not self._on_floor(point) for point in points):
                    mistakes.append(f"people.cast.{number}.{what}: lies in no area")
        return mistakes

    def _on_floor(self, point: Point) -> bool:
        return any(
            area.x[0] <= point[0] <= area.x[1] and area.y[0] <= point[1] <= area.y[1]
            for area in self.areas.values()
        )


def usual_count(areas: Mapping[str, Area], difficulty: float) -> int:
    """So many people are in a scene that says no number: 4 to 20 per 100 square metres, at least 2, at most 500."""
    floor_m2 = sum((area.x[1] - area.x[0]) * (area.y[1] - area.y[0]) for area in areas.values())
    return min(500, max(2, round(floor_m2 * (0.04 + 0.16 * difficulty))))


def usual_quality(difficulty: float) -> int:
    """The constant rate factor of a camera that says none."""
    return round(20 + 12 * difficulty)


def load(path: Path | str) -> Scene:
    """Read a scene file.

    Raises:
        SceneError: It cannot be read, is no YAML, or says something unknown or out of range; all mistakes at once.
    """
    path = Path(path)
    try:
        said = read_yaml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SceneError(f"{path}: no such file; give the path of a scene file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SceneError(f"{path}: cannot be read ({problem})") from problem
    except yaml.YAMLError as problem:
        where = getattr(problem, "problem_mark", None)
        place = f"{path}:{where.line + 1}:{where.column + 1}" if where else str(path)
        raise SceneError(f"{place}: no valid YAML: {getattr(problem, 'problem', problem)}") from problem
    if not isinstance(said, dict):
        raise SceneError(f"{path}: a scene file is a table with at least 'areas:' and 'cameras:'")
    return from_values({"name": path.stem} | said, source=str(path))


def from_values(values: Mapping[str, Any], *, source: str = "scene") -> Scene:
    """A scene from plain values.

    Raises:
        SceneError: All mistakes, each with its place in ``source``.
    """
    mistakes: list[str] = []
    scene = None
    try:
        scene = Scene.model_validate(dict(values))
    except ValidationError as problem:
        mistakes += [line for error in problem.errors() for line in _mistake(error).split("\n")]
    people = values.get("people")
    cast = people.get("cast") if isinstance(people, Mapping) else None
    for number, person in enumerate(cast if isinstance(cast, Sequence) else ()):
        if isinstance(person, Mapping) and isinstance(person.get("look"), Mapping):
            mistakes += look_mistakes(person["look"], f"people.cast.{number}.look")
    if mistakes or scene is None:
        raise SceneError("\n".join(f"{source}: {mistake}" for mistake in mistakes))
    return scene


def checked_look(said: Mapping[str, Any], place: str = "look") -> dict[str, Any]:
    """Values for fields of `scenes.wardrobe.Look`, as their types want them: lists become tuples.

    Raises:
        SceneError: An unknown field, or a value that its field cannot have; all mistakes at once.
    """
    mistakes = look_mistakes(said, place)
    if mistakes:
        raise SceneError("\n".join(mistakes))
    adapters = _look_fields()
    return {name: adapters[name].validate_python(value) for name, value in said.items()}


def look_mistakes(said: Mapping[str, Any], place: str) -> list[str]:
    """What `checked_look` would refuse."""
    from scenes.wardrobe import Look  # loads the wardrobe only for scenes that dress somebody by name

    adapters = _look_fields()
    mistakes = []
    good: dict[str, Any] = {}
    for name, value in said.items():
        if name not in adapters:
            mistakes.append(f"{place}.{name}: unknown name{hint(str(name), list(adapters))}")
            continue
        try:
            good[name] = adapters[name].validate_python(value)
        except ValidationError as problem:
            mistakes += [_mistake(error, f"{place}.{name}") for error in problem.errors()[:1]]
    try:
        Look(**good)
    except ValueError as problem:
        mistakes += [f"{place}.{mistake}" for mistake in str(problem).split("; ")]
    return mistakes


@lru_cache
def _look_fields() -> dict[str, TypeAdapter[Any]]:
    from scenes.wardrobe import Look

    hints = get_type_hints(Look)
    return {field.name: TypeAdapter(hints[field.name]) for field in dataclasses.fields(Look)}


def hint(name: str, known: Sequence[str]) -> str:
    """'; did you mean ...?' where a known name is near, else nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _mistake(error: Any, place: str | None = None) -> str:
    where = place or ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown name{hint(str(error['loc'][-1]), _names_at(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{where}: is missing"
    message = error["msg"]
    if error["type"] == "value_error":  # our own words
        message = message.removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    return f"{where}: {message[0].lower()}{message[1:]}"


def _names_at(path: Sequence[str | int]) -> list[str]:
    """The field names that would have been right at this place."""
    kind: Any = Scene
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = kind.model_fields.get(str(part))
            kind = found.annotation if found else None
        else:  # a name in a table, or a number in a list
            kind = next((inner for inner in reversed(get_args(kind)) if inner is not Ellipsis), None)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
