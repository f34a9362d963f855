"""What a scene's YAML file may say. Angles in degrees, lengths in metres, times in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Point = tuple[float, float]
Place = tuple[float, float, float]
Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[Share, Share, Share]


class SceneError(ValueError):
    """A scene file that cannot be used; says every mistake with its place."""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    size: Place | None = None  # along x, along y, height; None: what is usual of its kind
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
    count: int = Field(8, ge=0, le=2000)  # in the whole scene, those of `cast` included
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
    fps: float | None = Field(None, gt=0, le=120)  # None: the scene's
    distortion: tuple[float, float, float, float, float] = (0, 0, 0, 0, 0)  # OpenCV's k1 k2 p1 p2 k3
    gain: Colour | None = None  # red, green, blue; None: drawn, as far from 1 as the difficulty says
    gamma: float | None = Field(None, gt=0.3, lt=3)
    noise: float | None = Field(None, ge=0)  # grey levels, standard deviation
    blur: float | None = Field(None, ge=0)  # px, standard deviation
    shutter: float = Field(0.0, ge=0, le=0.5)  # s that the shutter is open: motion blur
    quality: int | None = Field(None, ge=0, le=51)  # H.264 constant rate factor; None: from difficulty
    clock_offset: float = 0.0  # s that its clock is ahead
    clock_drift: float = 0.0  # parts per million that it is fast
    drops: Share = 0.0  # share of frames that are lost
    motion: Motion = Motion()


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
    fps: float = Field(10.0, gt=0, le=120)
    difficulty: Share = 0.3  # dial: how alike people dress, how different and how bad cameras are
    areas: dict[Name, Area] = Field(min_length=1)
    doors: tuple[Door, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    light: Light = Light()
    people: People = People()
    cameras: dict[Name, Camera] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Scene:
        unknown = sorted({name for door in self.doors for name in door.between} - set(self.areas))
        if unknown:
            raise ValueError(f"doors name areas that are not there: {', '.join(unknown)}")
        if len(self.people.cast) > self.people.count:
            raise ValueError(
                f"people.cast names {len(self.people.cast)}, people.count allows {self.people.count}"
            )
        return self


def load(path: Path | str) -> Scene:
    """Read a scene file.

    Raises:
        SceneError: It cannot be read, is no YAML, or says something unknown or out of range; all mistakes at once.
    """
    path = Path(path)
    try:
        said = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise SceneError(f"{path}: {' '.join(str(problem).split())}") from problem
    if not isinstance(said, dict):
        raise SceneError(f"{path}: a scene file is a table of settings")
    try:
        return Scene.model_validate({"name": path.stem} | said)
    except ValidationError as problem:
        raise SceneError(
            "\n".join(
                f"{path}: {'.'.join(map(str, error['loc'])) or 'scene'}: {error['msg']}"
                for error in problem.errors()
            )
        ) from problem
