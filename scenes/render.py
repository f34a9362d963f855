"""Pictures of a place and the people in it, with exact truth for every pixel.

A camera that stands still sees a background that is drawn once; the people are drawn over it at twice the resolution,
in its light and with their shadows. Truth does not come from what was drawn but from which triangle each pixel's
centre shows: its ray is cut with that triangle's plane, now and at the next frame.

Needs the extra ``[scenes]`` (moderngl) and a driver with EGL: a graphics card's, or Mesa's software one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scenes import settings, shaders
from scenes.camera import Camera
from scenes.light import LAMPS, Lighting, shade_of_feet
from scenes.records import Figure, Picture, Surface, Truth

Floats = NDArray[np.float64]
SAMPLES = 2  # along each side of a pixel
SHADOW_PX = 1024
PLACE_SHADOW_PX = 2048
FEET_CELL_M = 0.06
FEET_CELLS = 1024  # along one side, at most
BACKGROUNDS = 8  # of cameras that stand still, about 45 bytes a pixel each
SKY_M = 1e6  # depth where nothing stands
CLIP_DISTANCE = 0x3000  # GL_CLIP_DISTANCE0
ATTRIBUTES = (
    ("4f1", "a_colour"),
    ("4f1", "a_colour2"),
    ("2f", "a_kind"),
    ("3f", "a_paint"),
    ("1f", "a_mask"),
)


class RenderError(RuntimeError):
    """No context to draw in."""


class Renderer:
    """Draws one place and whoever is in it.

    Args:
        surface: The place's, in the world.
        light: What it is lit by.
        largest: Width and height of the largest picture that will be asked for.

    Raises:
        RenderError: moderngl is not installed, or no driver offers a context.
    """

    def __init__(
        self, surface: Surface, light: settings.Light, *, largest: tuple[int, int] = (640, 360)
    ) -> None:
        self._gl = _context()
        self._largest = largest
        self._place = surface
        self._corners = surface.vertices.astype(np.float64)[surface.triangles]  # (T, 3, 3)
        bounded = surface.vertices[surface.triangles.ravel()] if len(surface.triangles) else np.zeros((1, 3))
        self._low, self._high = bounded.min(axis=0).astype(float), bounded.max(axis=0).astype(float)
        self._light = Lighting.of(light, self._low, self._high)
        self._people: dict[int, _Person] = {}
        self._backgrounds: OrderedDict[tuple[Any, ...], _Background] = OrderedDict()
        self._fresh = False  # are the shadows of this pose drawn?
        self._make_programs()
        self._make_targets()
        self._make_place()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the driver holds."""
        self._people.clear()
        self._backgrounds.clear()
        self._gl.release()

    @property
    def device(self) -> str:
        """The renderer's name, as the driver gives it."""
        return str(self._gl.info["GL_RENDERER"])

    # ---------------------------------------------------------------------------------------------------- people

    def add(self, person: int, figure: Figure) -> None:
        """Make a person known. Adding again exchanges the figure."""
        self.remove(person)
        self._people[person] = _Person(self._gl, self._programs, figure)

    def remove(self, person: int) -> None:
        """Forget a person and free what it holds; nothing happens where nobody is."""
        gone = self._people.pop(person, None)
        if gone is not None:
            gone.release()

    def pose(self, matrices: Mapping[int, tuple[NDArray[np.floating], NDArray[np.floating]]]) -> None:
        """Where the bones of people are, rest -> world (B, 3, 4): now, and at the next frame. Once an instant."""
        for person, (now, after) in matrices.items():
            self._people[person].pose(now, after)
        self._fresh = False

    # --------------------------------------------------------------------------------------------------- picture

    def picture(
        self,
        camera: Camera,
        camera_next: Camera | None,
        present: Sequence[int],
        *,
        want: frozenset[str] = frozenset(),
        window: tuple[int, int, int, int] | None = None,
        t_s: float = 0.0,
    ) -> Picture:
        """What a camera sees of the people ``present``, all posed.

        Args:
            camera: As it stands now.
            camera_next: As it stands at the next frame; None: the same. Only "flow" needs it.
            present: Numbers of the people; nobody else is drawn, nor throws a shadow.
            want: Of "masks", "depth" and "flow" (with which `hidden_next` comes).
            window: x0, y0, x1, y1: draw that part alone. Boxes then count from its corner.
            t_s: What the truth is stamped with.

        Raises:
            ValueError: The picture is larger than ``largest``.
        """
        if window is not None:
            camera_next = None if camera_next is None else camera_next.window(*window)
            camera = camera.window(*window)
        if camera.size[0] > self._largest[0] or camera.size[1] > self._largest[1]:
            raise ValueError(f"a picture of {camera.size} px is larger than the renderer's {self._largest}")
        present = sorted(present)
        self._cast_shadows(present)
        background = self._background(camera)
        seen = {person: self._people[person].box(camera) for person in present}
        shown = [person for person in present if _overlaps(seen[person], camera.size)]
        image = self._draw(camera, background, present, shown)
        numbers = self._number(camera, shown, background, after=False)
        return self._tell(camera, camera_next, background, present, shown, seen, image, numbers, want, t_s)

    def _tell(
        self,
        camera: Camera,
        camera_next: Camera | None,
        background: _Background,
        present: Sequence[int],
        shown: list[int],
        seen: dict[int, Floats],
        image: NDArray[np.uint8],
        numbers: NDArray[np.int32],
        want: frozenset[str],
        t_s: float,
    ) -> Picture:
        firsts = self._firsts(shown)
        row = np.searchsorted(firsts, numbers.ravel(), side="right").astype(np.int32).reshape(numbers.shape)
        visible = np.bincount(row.ravel(), minlength=len(shown) + 1)[1:]
        whole = self._silhouettes(camera, shown, seen)
        share = np.minimum(visible / np.maximum(whole, 1), 1.0)
        places = [self._people[person].stand() for person in shown]
        truth = Truth(
            t_s=t_s,
            ids=np.array(shown, np.int32),
            boxes=np.array([seen[person] for person in shown], np.float32).reshape(-1, 4),
            visibility=share.astype(np.float32),
            floor_xy_m=np.array([place[0] for place in places], np.float64).reshape(-1, 2),
            heading_rad=np.array([place[1] for place in places], np.float64),
        )
        masks = depth = flow = hidden = None
        if "masks" in want:
            masks = np.concatenate(([0], np.array(shown, np.int32)))[row].astype(np.int32)
        if "depth" in want or "flow" in want:
            hit = _Hits(self, camera, shown, numbers, row, firsts)
            depth_now = background.depth.copy()
            depth_now[hit.rows, hit.columns] = hit.depth
            depth = depth_now.astype(np.float32) if "depth" in want else None
            if "flow" in want:
                after = camera if camera_next is None else camera_next
                flow, hidden = self._flow(camera, after, background, present, hit)
        return Picture(image, truth, masks, depth, flow, hidden)

    def _flow(
        self,
        camera: Camera,
        after: Camera,
        background: _Background,
        present: Sequence[int],
        hit: _Hits,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where each pixel's surface point goes, and is it hidden there?"""
        height, width = background.depth.shape
        points = background.points.copy()
        points[hit.rows, hit.columns] = hit.after
        centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
        to, depth = after.project(points.reshape(-1, 3))
        flow = to.reshape(height, width, 2) - centres
        shown = [person for person in present if _overlaps(self._people[person].box(after, True), after.size)]
        there = self._background(after)
        numbers = self._number(after, shown, there, after=True)
        with np.errstate(invalid="ignore"):
            inside = ((to >= 0) & (to < (width, height))).all(axis=1)
        cell = np.where(inside[:, None], to, 0).astype(int)
        # What the next picture shows at exactly that place: the plane of the triangle there, cut by its ray.
        shows = self._depth_at(after, shown, there, numbers, cell[:, 1], cell[:, 0], to)
        hidden = ~inside | (shows < depth - 0.004 - 0.001 * depth)
        flow = np.where(np.isnan(flow), 0, flow)
        return flow.astype(np.float32), hidden.reshape(height, width)

    def _depth_at(
        self,
        camera: Camera,
        shown: list[int],
        background: _Background,
        numbers: NDArray[np.int32],
        rows: NDArray[np.intp],
        columns: NDArray[np.intp],
        px: Floats,
    ) -> Floats:
        """(N,) m depth of the triangle that pixels show, exactly at places (N, 2) px within them."""
        depth = background.depth[rows, columns].astype(np.float64)
        number = numbers[rows, columns]
        people = np.flatnonzero(number > 0)
        if len(people):
            corners = self._corners_of(shown, number[people], after=True)
            rays = camera.rays(px[people]) @ camera.R
            depth[people] = _cut(camera.centre_m, rays, corners)[0]
        place = np.flatnonzero((number == 0) & (background.numbers[rows, columns] > 0))
        if camera.moves or True:
            corners = self._corners[background.numbers[rows[place], columns[place]] - 1]
            rays = camera.rays(px[place]) @ camera.R
            depth[place] = _cut(camera.centre_m, rays, corners)[0]
        return depth

    def _firsts(self, shown: Sequence[int]) -> NDArray[np.int64]:
        """Number of each person's first triangle, from 1."""
        counts = np.array([self._people[person].count for person in shown], np.int64)
        return 1 + np.cumsum(counts) - counts

    def _corners_of(self, shown: Sequence[int], numbers: NDArray[np.int32], after: bool) -> Floats:
        """(N, 3, 3) m of people's triangles."""
        corners = np.empty((len(numbers), 3, 3))
        for person, first in zip(shown, self._firsts(shown)):
            one = self._people[person]
            mine = (numbers >= first) & (numbers < first + one.count)
            corners[mine] = one.corners(numbers[mine] - first, after)
        return corners

    # ----------------------------------------------------------------------------------------------------- drawing

    def _draw(
        self, camera: Camera, background: _Background, present: Sequence[int], shown: Sequence[int]
    ) -> NDArray[np.uint8]:
        width, height = camera.size
        light = self._light
        twice = (0, 0, SAMPLES * width, SAMPLES * height)
        self._samples.use()
        self._samples.viewport = twice
        self._samples.clear(0, 0, 0, 0, viewport=twice)
        program = self._programs["person"]
        self._aim(program, camera)
        _set(program, eye=camera.centre_m, light_people=self._people_light, people_texel=1 / SHADOW_PX)
        background.depth_samples.use(0)
        self._people_map.use(1)
        self._place_map.use(2)
        self._noise.use(3)
        for person in shown:
            self._people[person].arrays["person"].render()
        self._out.use()
        self._out.viewport = (0, 0, width, height)
        program = self._programs["compose"]
        background.lit.use(0)
        self._people_map.use(1)
        background.shaded.use(2)
        background.where.use(3)
        self._sample_colours.use(4)
        self._feet.use(5)
        _set(
            program,
            light_people=self._people_light,
            people_texel=1.3 / SHADOW_PX,
            has_sun=float(light.has_sun),
            feet_at=self._feet_at,
            part=(-1, -1, 1, 1),
        )
        self._whole("compose").render(self._moderngl.TRIANGLE_STRIP)
        read = self._out.read(components=4, viewport=(0, 0, width, height))
        return np.ascontiguousarray(np.frombuffer(read, np.uint8).reshape(height, width, 4)[..., :3])

    def _number(
        self, camera: Camera, shown: Sequence[int], background: _Background, after: bool
    ) -> NDArray[np.int32]:
        """(H, W) the person's triangle that each pixel's centre shows, from 1 over all `shown`; 0 none."""
        width, height = camera.size
        if not shown:
            return np.zeros((height, width), np.int32)
        self._numbers.use()
        self._numbers.viewport = (0, 0, width, height)
        self._numbers.clear(0, 0, 0, 0, viewport=(0, 0, width, height))
        program = self._programs["number"]
        self._aim(program, camera)
        background.where.use(0)
        _set(program, hides=1.0)
        for person, first in zip(shown, self._firsts(shown)):
            _set(program, first=float(first))
            self._people[person].arrays["number_next" if after else "number"].render()
        read = self._numbers.read(components=1, dtype="f4", viewport=(0, 0, width, height))
        return np.frombuffer(read, np.float32).reshape(height, width).astype(np.int32)

    def _silhouettes(self, camera: Camera, shown: Sequence[int], boxes: Mapping[int, Floats]) -> Floats:
        """(N,) px of each person's whole silhouette, as if nothing stood before it and the picture had no edge."""
        areas = np.zeros(len(shown))
        program = self._programs["silhouette"]
        for row, person in enumerate(shown):
            x0, y0 = np.floor(boxes[person][:2]).astype(int) - 1
            x1, y1 = np.ceil(boxes[person][2:]).astype(int) + 1
            part = camera.window(x0, y0, x1, y1)
            factor = min(1.0, self._atlas.size[0] / max(part.size))
            part = part if factor == 1.0 else part.scaled(factor)
            self._atlas.use()
            self._atlas.viewport = (0, 0, *part.size)
            self._atlas.clear(0, 0, 0, 0, viewport=(0, 0, *part.size))
            self._aim(program, part)
            self._people[person].arrays["silhouette"].render()
            read = self._atlas.read(components=1, viewport=(0, 0, *part.size), alignment=1)
            areas[row] = np.count_nonzero(np.frombuffer(read, np.uint8)) / factor**2
        return areas

    def _cast_shadows(self, present: Sequence[int]) -> None:
        """The shadow map of all who are present, and what they take of the sky's light on the floor."""
        if self._fresh and self._cast == tuple(present):
            return
        self._fresh, self._cast = True, tuple(present)
        people = [self._people[person] for person in present]
        balls = [person.balls() for person in people]
        cells = shade_of_feet(balls, self._low[:2], self._feet_cell_m, self._feet_shape)
        self._feet.write(cells.tobytes())
        if not self._light.has_sun:
            return
        low = np.min([person.low for person in people], axis=0) if people else np.zeros(3)
        high = np.max([person.high for person in people], axis=0) if people else np.ones(3)
        self._people_light = _sunlight(self._light.sun, low, high)
        self._shadow.use()
        self._shadow.clear()
        _set(self._programs["shadow"], light=self._people_light)
        for person in people:
            person.arrays["shadow"].render()

    def _background(self, camera: Camera) -> _Background:
        found = self._backgrounds.get(camera.key)
        if found is not None:
            found.uses += 1
            self._backgrounds.move_to_end(camera.key)
            return found
        once = [key for key, one in self._backgrounds.items() if one.uses == 0]
        if len(once) >= 2 or len(self._backgrounds) >= BACKGROUNDS:
            # What was used once belongs to a camera that moves.
            self._backgrounds.pop(once[0] if once else next(iter(self._backgrounds))).release()
        made = self._backgrounds[camera.key] = self._draw_background(camera)
        return made

    def _draw_background(self, camera: Camera) -> _Background:
        width, height = camera.size
        one = _Background(self._gl, camera.size, (self._sample_lit, self._sample_shaded))
        light = self._light
        one.samples.use()
        one.samples.viewport = (0, 0, SAMPLES * width, SAMPLES * height)
        one.samples.clear(0, 0, 0, 1, depth=1.0)
        self._gl.disable(self._moderngl.DEPTH_TEST)
        sky = self._programs["sky"]
        _set(
            sky,
            part=(-1, -1, 1, 1),
            from_pixel=_from_pixel(camera, SAMPLES),
            horizon=light.horizon,
            zenith=light.zenith,
        )
        self._whole("sky").render(self._moderngl.TRIANGLE_STRIP)
        self._gl.enable(self._moderngl.DEPTH_TEST)
        program = self._programs["place"]
        self._aim(program, camera)
        _set(program, eye=camera.centre_m, horizon=light.horizon)
        self._place_map.use(0)
        self._corner_shade.use(1)
        self._noise.use(3)
        self._place_arrays["place"].render()
        one.target.use()
        one.target.viewport = (0, 0, width, height)
        self._sample_lit.use(0)
        self._sample_shaded.use(1)
        _set(self._programs["settle"], part=(-1, -1, 1, 1))
        self._gl.disable(self._moderngl.DEPTH_TEST)
        self._whole("settle").render(self._moderngl.TRIANGLE_STRIP)
        self._gl.enable(self._moderngl.DEPTH_TEST)
        # Which triangle, hence which point of the world, each pixel's centre shows.
        self._numbers.use()
        self._numbers.viewport = (0, 0, width, height)
        self._numbers.clear(0, 0, 0, 0, viewport=(0, 0, width, height))
        program = self._programs["number"]
        self._aim(program, camera)
        _set(program, hides=0.0, first=1.0)
        self._place_arrays["number"].render()
        read = self._numbers.read(components=1, dtype="f4", viewport=(0, 0, width, height))
        one.numbers = np.frombuffer(read, np.float32).reshape(height, width).astype(np.int32)
        rays = camera.rays() @ camera.R
        one.depth = np.full((height, width), SKY_M)
        rows, columns = np.nonzero(one.numbers)
        corners = self._corners[one.numbers[rows, columns] - 1]
        one.depth[rows, columns] = _cut(camera.centre_m, rays[rows, columns], corners)[0]
        one.points = camera.centre_m + rays * one.depth[..., None]
        where = np.concatenate((one.points, one.depth[..., None]), axis=-1).astype(np.float32)
        one.where.write(where.tobytes())
        return one

    # ---------------------------------------------------------------------------------------------------- set-up

    def _make_programs(self) -> None:
        import moderngl

        self._moderngl = moderngl
        make = self._gl.program
        self._programs = {
            "person": make(shaders.PERSON_VERTEX, shaders.PERSON_FRAGMENT),
            "number": make(shaders.FIGURE_VERTEX, shaders.NUMBER_FRAGMENT),
            "silhouette": make(shaders.FIGURE_VERTEX, shaders.SILHOUETTE_FRAGMENT),
            "shadow": make(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT),
            "place": make(shaders.PLACE_VERTEX, shaders.PLACE_FRAGMENT),
            "sky": make(shaders.WHOLE_VERTEX, shaders.SKY_FRAGMENT),
            "settle": make(shaders.WHOLE_VERTEX, shaders.SETTLE_FRAGMENT),
            "compose": make(shaders.WHOLE_VERTEX, shaders.COMPOSE_FRAGMENT),
        }
        light = self._light
        lamps = np.zeros((LAMPS, 4), np.float32)
        lamps[: len(light.lamps)] = light.lamps
        for program in self._programs.values():
            _set(
                program,
                sun=light.sun,
                sun_colour=light.sun_colour,
                sky=light.sky,
                ground=light.ground,
                lamp_colour=light.lamp_colour,
                lamp_count=len(light.lamps),
                lamps=lamps,
                exposure=light.exposure,
                has_sun=float(light.has_sun),
                noise=3,
            )
        _set(self._programs["person"], behind=0, people_map=1, place_map=2)
        _set(self._programs["number"], behind=0)
        _set(self._programs["place"], place_map=0, corners=1)
        _set(self._programs["settle"], lit_samples=0, shaded_samples=1)
        _set(
            self._programs["compose"],
            lit_picture=0,
            people_map=1,
            shaded_picture=2,
            where=3,
            people=4,
            feet=5,
        )

    def _make_targets(self) -> None:
        gl, (width, height) = self._gl, self._largest
        nearest = (self._moderngl.NEAREST, self._moderngl.NEAREST)
        twice = (SAMPLES * width, SAMPLES * height)
        gl.enable(self._moderngl.DEPTH_TEST)
        self._sample_colours = gl.texture(twice, 4)
        self._samples = gl.framebuffer([self._sample_colours], gl.depth_renderbuffer(twice))
        self._sample_lit, self._sample_shaded = gl.texture(twice, 4), gl.texture(twice, 4)
        self._out = gl.framebuffer([gl.texture(self._largest, 4)])
        self._numbers = gl.framebuffer(
            [gl.texture(self._largest, 1, dtype="f4")], gl.depth_renderbuffer(self._largest)
        )
        side = max(self._largest)
        self._atlas = gl.framebuffer([gl.texture((side, side), 1, alignment=1)])
        self._people_map = gl.depth_texture((SHADOW_PX, SHADOW_PX))
        self._place_map = gl.depth_texture((PLACE_SHADOW_PX, PLACE_SHADOW_PX))
        for depth in (self._people_map, self._place_map):
            depth.compare_func = ""
            depth.filter = nearest
        self._shadow = gl.framebuffer(depth_attachment=self._people_map)
        noise = np.random.default_rng(0).integers(0, 256, 32**3).astype(np.uint8)
        self._noise = gl.texture3d((32, 32, 32), 1, noise.tobytes())
        self._noise.filter = (self._moderngl.LINEAR, self._moderngl.LINEAR)
        self._corner = gl.buffer(np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32).tobytes())
        self._wholes: dict[str, Any] = {}
        self._people_light = np.eye(4)
        self._cast: tuple[int, ...] = ()
        sides = self._high[:2] - self._low[:2]
        self._feet_cell_m = max(FEET_CELL_M, float(sides.max()) / FEET_CELLS)
        columns, rows = np.maximum(1, np.ceil(sides / self._feet_cell_m)).astype(int)
        self._feet_shape = (int(rows), int(columns))
        self._feet = gl.texture((int(columns), int(rows)), 1, alignment=1)
        self._feet.repeat_x = self._feet.repeat_y = False
        scale = 1 / (self._feet_cell_m * np.array([columns, rows]))
        self._feet_at = (*scale, *(-self._low[:2] * scale))

    def _make_place(self) -> None:
        place = self._place
        gl = self._gl
        index = gl.buffer(place.triangles.astype("i4").tobytes())
        position = gl.buffer(_packed(place.vertices, place.normals))
        paint = gl.buffer(_paint(place, np.ones(len(place.vertices))))
        self._place_arrays = {
            name: _array(gl, self._programs[program], position, paint, index)
            for name, program in (("place", "place"), ("number", "number"), ("shadow", "shadow"))
        }
        self._place_light = _sunlight(self._light.sun, self._low, self._high)
        texel = 1 / PLACE_SHADOW_PX
        for name in ("place", "person"):
            _set(self._programs[name], light_place=self._place_light, place_texel=texel)
        if self._light.has_sun:
            target = gl.framebuffer(depth_attachment=self._place_map)
            target.use()
            target.clear()
            _set(self._programs["shadow"], light=self._place_light)
            self._place_arrays["shadow"].render()
            target.release()
        self._corner_shade = self._make_corner_shade()
        _set(self._programs["place"], corners_at=self._feet_at)

    def _make_corner_shade(self) -> Any:
        """How open the floor is beside walls and what stands on it, from the place seen from above."""
        gl, (rows, columns) = self._gl, self._feet_shape
        depth = gl.depth_renderbuffer((columns, rows))
        seen = gl.texture((columns, rows), 1, alignment=1)
        target = gl.framebuffer([seen], depth)
        low = np.array([*self._low[:2], 0.04])
        high = np.array([*(self._low[:2] + self._feet_cell_m * np.array([columns, rows])), 1.2])
        view = np.eye(4)
        view[[0, 1, 2], [0, 1, 2]] = 2 / (high - low)
        view[:3, 3] = -(high + low) / (high - low)
        vertex = "#version 330\nuniform mat4 light; in vec3 a_position; in float a_mask; out float mask;\n"
        vertex += "void main() { mask = a_mask; gl_Position = light * vec4(a_position, 1); }"
        program = gl.program(vertex, shaders.SILHOUETTE_FRAGMENT)
        _set(program, light=view)
        place = self._place
        position = gl.buffer(_packed(place.vertices, place.normals))
        paint = gl.buffer(_paint(place, np.ones(len(place.vertices))))
        index = gl.buffer(place.triangles.astype("i4").tobytes())
        target.use()
        target.clear(0, 0, 0, 0)
        _array(gl, program, position, paint, index).render()
        stands = np.frombuffer(target.read(components=1, alignment=1), np.uint8).reshape(rows, columns)
        target.release()
        # Walls are planes without thickness, which no view from above shows: draw their lines.
        stands = stands.copy()
        for corners in self._corners[np.abs(_normals(self._corners)[:, 2]) < 0.3]:
            if corners[:, 2].min() < 0.6 and corners[:, 2].max() > 0.3:
                px = ((corners[:, :2] - self._low[:2]) / self._feet_cell_m).astype(np.int32)
                cv2.polylines(stands, [px], False, 255, 1)
        near = cv2.GaussianBlur(stands, (0, 0), 0.10 / self._feet_cell_m).astype(np.float32)
        far = cv2.GaussianBlur(stands, (0, 0), 0.45 / self._feet_cell_m).astype(np.float32)
        dark = np.clip(0.35 * near / 128 + 0.45 * far / 100, 0, 0.55)
        texture = gl.texture((columns, rows), 1, (255 * (1 - dark)).astype(np.uint8).tobytes(), alignment=1)
        texture.repeat_x = texture.repeat_y = False
        return texture

    def _aim(self, program: Any, camera: Camera) -> None:
        (width, height), K = camera.size, camera.K
        view = np.eye(4)
        view[:3, :3], view[:3, 3] = camera.R, camera.t
        k1, k2, p1, p2, k3 = camera.distortion
        _set(
            program,
            view=view,
            lens=(
                2 * K[0, 0] / width,
                2 * K[1, 1] / height,
                2 * K[0, 2] / width - 1,
                2 * K[1, 2] / height - 1,
            ),
            bend=(k1, k2, p1, p2),
            bend3=(k3, camera.reach2, float(camera.is_distorted)),
        )
        if camera.is_distorted:
            self._gl.enable_direct(CLIP_DISTANCE)
        else:
            self._gl.disable_direct(CLIP_DISTANCE)

    def _whole(self, name: str) -> Any:
        if name not in self._wholes:
            self._wholes[name] = self._gl.vertex_array(
                self._programs[name], [(self._corner, "2f", "a_corner")]
            )
        return self._wholes[name]


class _Person:
    """A figure in the driver's memory, as it stands."""

    def __init__(self, gl: Any, programs: Mapping[str, Any], figure: Figure) -> None:
        surface = figure.surface
        self.figure = figure
        self.count = len(surface.triangles)
        bones = len(figure.skeleton.names)
        points = len(surface.vertices)
        rows = np.repeat(np.arange(points), figure.bones.shape[1])
        self._weights = csr_matrix(
            (figure.weights.ravel().astype(np.float32), (rows, figure.bones.ravel())), shape=(points, bones)
        )
        self._now, self._after = np.zeros((0, 3, 4)), np.zeros((0, 3, 4))
        self._points = np.zeros((0, 3), np.float32)
        self._points_next: NDArray[np.float32] | None = None
        self._position = gl.buffer(reserve=24 * points)
        self._position_next = gl.buffer(reserve=24 * points)
        self._paint = gl.buffer(_paint(surface, _openness(figure)))
        self._index = gl.buffer(surface.triangles.astype("i4").tobytes())
        self.arrays = {
            name: _array(gl, programs[name], self._position, self._paint, self._index)
            for name in ("person", "number", "silhouette", "shadow")
        }
        self.arrays["number_next"] = _array(
            gl, programs["number"], self._position_next, self._paint, self._index
        )
        self._outline, self._outline_share = _outline(surface)

    def release(self) -> None:
        for array in self.arrays.values():
            array.release()
        for buffer in (self._position, self._position_next, self._paint, self._index):
            buffer.release()

    def pose(self, now: NDArray[np.floating], after: NDArray[np.floating]) -> None:
        self._now, self._after = np.asarray(now, np.float32), np.asarray(after, np.float32)
        self._points, packed = self._skin(self._now)
        self._position.write(packed)
        self._points_next = None
        self.low, self.high = self._points.min(axis=0), self._points.max(axis=0)

    @property
    def points_next(self) -> NDArray[np.float32]:
        if self._points_next is None:
            self._points_next, packed = self._skin(self._after)
            self._position_next.write(packed)
        return self._points_next

    def _skin(self, matrices: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(V, 3) m, and (V, 6) with normals."""
        mixed = self._weights @ matrices.reshape(-1, 12)
        surface = self.figure.surface
        x, y, z = (surface.vertices[:, k, None] for k in range(3))
        packed = np.empty((len(mixed), 6), np.float32)
        packed[:, :3] = mixed[:, 0::4] * x + mixed[:, 1::4] * y + mixed[:, 2::4] * z + mixed[:, 3::4]
        x, y, z = (surface.normals[:, k, None] for k in range(3))
        packed[:, 3:] = mixed[:, 0::4] * x + mixed[:, 1::4] * y + mixed[:, 2::4] * z
        return packed[:, :3].copy(), packed

    def corners(self, triangles: NDArray[np.integer], after: bool) -> Floats:
        """(N, 3, 3) m of the triangles' corners."""
        points = self.points_next if after else self._points
        return points[self.figure.surface.triangles[triangles]].astype(np.float64)

    def box(self, camera: Camera, after: bool = False) -> Floats:
        """(4,) px around the whole silhouette; all NaN where it is not in front of the camera."""
        points = self.points_next if after else self._points
        ends = points[self._outline]
        edge = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * self._outline_share
        px, _ = camera.project(edge)
        good = ~np.isnan(px[:, 0])
        if not good.any():
            return np.full(4, np.nan)
        return np.concatenate((px[good].min(axis=0), px[good].max(axis=0)))

    def balls(self) -> tuple[Floats, Floats]:
        """Centres (S, 3) m and radii (S,) m of the balls that fill the figure, posed."""
        one = self.figure
        turn = self._now[one.ball_bones]
        centres = np.einsum("sij,sj->si", turn[:, :, :3], one.ball_centres) + turn[:, :, 3]
        return centres, one.ball_radii

    def stand(self) -> tuple[Floats, float]:
        """Where the root is above the floor (2,) m, and where it faces."""
        skeleton = self.figure.skeleton
        root = int(np.flatnonzero(skeleton.parents < 0)[0])
        turn = self._now[root]
        ahead = turn[:, :3] @ (0.0, 0.0, 1.0)
        at = turn[:, :3] @ skeleton.heads[root] + turn[:, 3]
        return at[:2].astype(np.float64), math.atan2(ahead[1], ahead[0])


class _Background:
    """What a camera sees of the place alone."""

    def __init__(self, gl: Any, size: tuple[int, int], samples: tuple[Any, Any]) -> None:
        self.uses = 0
        self.lit, self.shaded = gl.texture(size, 4), gl.texture(size, 4)
        self.where = gl.texture(size, 4, dtype="f4")  # world x y z, depth m
        self.depth_samples = gl.depth_texture((SAMPLES * size[0], SAMPLES * size[1]))
        self.depth_samples.compare_func = ""
        self.samples = gl.framebuffer(list(samples), self.depth_samples)
        self.target = gl.framebuffer([self.lit, self.shaded])
        self.numbers = np.zeros((0, 0), np.int32)  # (H, W) triangle of the place from 1, 0 sky
        self.depth = np.zeros((0, 0))  # (H, W) m
        self.points = np.zeros((0, 0, 3))  # (H, W, 3) m in the world

    def release(self) -> None:
        for one in (self.samples, self.target, self.lit, self.shaded, self.where, self.depth_samples):
            one.release()


class _Hits:
    """The pixels that show people: which, how far, and where their surface points are at the next frame."""

    def __init__(
        self,
        renderer: Renderer,
        camera: Camera,
        shown: Sequence[int],
        numbers: NDArray[np.int32],
        row: NDArray[np.int32],
        firsts: NDArray[np.int64],
    ) -> None:
        self.rows, self.columns = np.nonzero(numbers)
        number = numbers[self.rows, self.columns]
        rays = camera.rays()[self.rows, self.columns] @ camera.R
        now = renderer._corners_of(shown, number, after=False)
        self.depth, share = _cut(camera.centre_m, rays, now)
        after = renderer._corners_of(shown, number, after=True)
        self.after = (share[:, :, None] * after).sum(axis=1)


def _cut(eye: Floats, rays: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """Where rays (N, 3) from a point meet the planes of triangles (N, 3, 3): (N,) along them, (N, 3) barycentric.

    Möller & Trumbore 1997, without the test whether the triangle itself is met.
    """
    a = corners[:, 0]
    u, v = corners[:, 1] - a, corners[:, 2] - a
    cross = np.cross(rays, v)
    volume = (u * cross).sum(axis=1)
    scale = 1 / np.where(np.abs(volume) < 1e-15, 1e-15, volume)
    from_a = eye - a
    b = (from_a * cross).sum(axis=1) * scale
    other = np.cross(from_a, u)
    c = (rays * other).sum(axis=1) * scale
    return (v * other).sum(axis=1) * scale, np.stack((1 - b - c, b, c), axis=1)


def _context() -> Any:
    try:
        import moderngl
    except ImportError as missing:
        raise RenderError("drawing scenes needs moderngl: install the extra [scenes]") from missing
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as problem:  # noqa: BLE001  # moderngl raises bare Exceptions, and the loader OSErrors
        raise RenderError(
            "no driver offers a context to draw in: install the extra [scenes] and, on Debian, libegl1, libegl-mesa0"
            f" and libgl1-mesa-dri ({problem})"
        ) from problem


def _set(program: Any, **values: Any) -> None:
    """Uniforms that the program has; the compiler drops those it does not need."""
    for name, value in values.items():
        if name not in program:
            continue
        if np.ndim(value) == 2 and name != "lamps":
            program[name].write(np.ascontiguousarray(np.asarray(value).T, np.float32).tobytes())
        elif np.ndim(value) == 2:
            program[name].write(np.ascontiguousarray(value, np.float32).tobytes())
        else:
            program[name].value = tuple(float(one) for one in value) if np.ndim(value) else value


def _packed(points: NDArray[np.floating], normals: NDArray[np.floating]) -> bytes:
    return np.concatenate((points, normals), axis=1).astype(np.float32).tobytes()


def _paint(surface: Surface, openness: NDArray[np.floating]) -> bytes:
    """What is said of each point, as `ATTRIBUTES` lie in memory."""
    kind = np.dtype([("c", "u1", 4), ("d", "u1", 4), ("k", "f4", 2), ("p", "f4", 3), ("m", "f4")])
    packed = np.zeros(len(surface.vertices), kind)
    for name, colour, extra in (("c", surface.colour, surface.gloss), ("d", surface.colour2, openness)):
        packed[name] = np.rint(255 * np.clip(np.column_stack((colour, extra)), 0, 1))
    packed["k"] = np.column_stack((surface.pattern, surface.frequency))
    packed["p"], packed["m"] = surface.paint, surface.mask
    return packed.tobytes()


def _array(gl: Any, program: Any, position: Any, paint: Any, index: Any) -> Any:
    """A vertex array that skips what the program does not read."""
    sizes = {"3f": 12, "4f1": 4, "2f": 8, "1f": 4}

    def layout(columns: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
        words, names = [], []
        for kind, name in columns:
            used = name in program
            words.append(kind if used else f"{sizes[kind]}x")
            names.extend([name] if used else [])
        return " ".join(words), names

    content = []
    for buffer, columns in ((position, (("3f", "a_position"), ("3f", "a_normal"))), (paint, ATTRIBUTES)):
        words, names = layout(columns)
        if names:
            content.append((buffer, words, *names))
    return gl.vertex_array(program, content, index)


def _outline(surface: Surface) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Points that a silhouette reaches to: pairs of vertices (P, 2), and where between them (P, 1).

    The vertices that are shown, and where the mask cuts an edge.
    """
    shown = np.unique(surface.triangles[(surface.mask[surface.triangles] >= 0).any(axis=1)])
    alone = shown[surface.mask[shown] >= 0]
    edges = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    cut = np.unique(np.sort(edges[(surface.mask[edges] >= 0).sum(axis=1) == 1], axis=1), axis=0)
    first, last = surface.mask[cut[:, 0]], surface.mask[cut[:, 1]]
    share = np.concatenate((np.zeros(len(alone)), first / np.where(first == last, 1, first - last)))
    pairs = np.concatenate((np.stack((alone, alone), axis=1), cut))
    return pairs.astype(np.int64), share[:, None].astype(np.float32)


def _openness(figure: Figure) -> NDArray[np.float32]:
    """(V,) share of the sky that each point sees past the figure itself, at rest."""
    surface = figure.surface
    taken = np.zeros(len(surface.vertices), np.float32)
    for centre, radius in zip(figure.ball_centres, figure.ball_radii):
        to = centre - surface.vertices
        distance = np.maximum(np.linalg.norm(to, axis=1), 1e-3)
        facing = (to * surface.normals).sum(axis=1) / distance
        taken += np.maximum(facing - 0.1, 0) * np.minimum(radius / np.maximum(distance, radius), 1) ** 2
    return np.clip(1.0 - 0.6 * taken, 0.35, 1).astype(np.float32)


def _sunlight(sun: Floats, low: Floats, high: Floats) -> Floats:
    """(4, 4) world -> the sun's view of a box, in [-1, 1]."""
    ahead = -sun
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-6 else np.array([1.0, 0, 0])
    turn = np.stack((right, np.cross(ahead, right), ahead))
    corners = np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )
    seen = corners @ turn.T
    first, last = seen.min(axis=0) - 0.1, seen.max(axis=0) + 0.1
    first[:2] -= 0.02 * (last - first)[:2]
    last[:2] += 0.02 * (last - first)[:2]
    view = np.eye(4)
    view[:3, :3] = turn * (2 / (last - first))[:, None]
    view[:3, 3] = -(first + last) / (last - first)
    return view


def _from_pixel(camera: Camera, samples: int) -> Floats:
    """(4, 4) sample (x, y, 1) -> direction in the world, without distortion."""
    made = np.eye(4)
    made[:3, :3] = camera.R.T @ np.linalg.inv(camera.K) @ np.diag([1 / samples, 1 / samples, 1.0])
    return made


def _normals(corners: Floats) -> Floats:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _overlaps(box: Floats, size: tuple[int, int]) -> bool:
    """Does a box reach into the picture?"""
    return bool(box[0] < size[0] and box[2] > 0 and box[1] < size[1] and box[3] > 0)
