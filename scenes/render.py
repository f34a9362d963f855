"""Pictures of a place and the people in it, with exact truth for every pixel.

A camera that stands still sees a background that is drawn once; the people are drawn over it at twice the resolution,
in its light and with their shadows. Truth does not come from colours: it follows from which triangle the centre of
each pixel shows. Its ray is cut with that triangle's plane, now and at the next frame.

For pictures of single people draw a ``window`` of the picture: 64x128 px with one person took 17 ms of CPU where the
window is new to the camera, 7 ms where it was drawn before, and a whole picture of 640x360 px with six people 80 to 120
(two cores without a graphics card, much else running).

Needs the extra ``[scenes]`` (moderngl) and a driver with EGL: a graphics card's, or Mesa's software one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes import settings, shaders
from scenes.camera import Camera
from scenes.driver import RenderError, aim, arrays, context, paint_bytes, say, skin_bytes
from scenes.facets import cut, cut_fine, finest_angle
from scenes.light import LAMP_NEAR, LAMPS, FloorShade, Lighting, nearest_lamps, sunlight
from scenes.posed import Matrices, Posed, openness
from scenes.records import Figure, Picture, Surface, Truth

__all__ = ["RenderError", "Renderer"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int32]
SAMPLES = 2  # along each side of a pixel
PEOPLE_SHADOW_PX = 1024
PLACE_SHADOW_PX = 2048
BACKGROUNDS_MB = 500  # kept of cameras that stand still, four at least
BACKGROUND_BYTES = 85  # a pixel
SINGLE_USE = 2  # backgrounds kept of cameras seen once: of moving ones
FACETS = 4  # places cut fine, kept for cameras with distortion
FEW = 16  # so many people cast shadows at once for all cameras; of more, those whom a camera needs
SKY_M = 1e6  # depth where nothing stands
TOUCHING_M = 0.004  # how much nearer something must be to hide a point, and
TOUCHING = 0.001  # this share of its depth
PEOPLE_PROGRAMS = ("person", "number", "silhouette", "shadow")


class Renderer:
    """Draws one place and whoever is in it. Use it in a ``with``, in one thread.

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
        self._gl = context()
        self._largest = largest
        self._place = surface
        self._corners = surface.vertices.astype(np.float64)[surface.triangles]  # (T, 3, 3)
        self._planes = _planes(self._corners)
        shown = self._corners.reshape(-1, 3) if len(self._corners) else np.zeros((1, 3))
        self._low, self._high = shown.min(axis=0), shown.max(axis=0)
        self._light = Lighting.of(light, self._low, self._high)
        self._people: dict[int, _Person] = {}
        self._backgrounds: OrderedDict[tuple[Any, ...], _Background] = OrderedDict()
        self._facets: OrderedDict[tuple[Any, ...], _Built] = OrderedDict()
        self._shaded: tuple[int, ...] | None = None  # whose shadows of this pose are drawn
        self._people_light = np.eye(4)
        self._programs = self._make_programs()
        self._floor = FloorShade.of(self._corners, self._low, self._high)
        self._make_targets()
        self._built = _Built(self._gl, self._programs, surface)
        self._cast_place()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back all that the driver holds; the renderer cannot be used any more."""
        self._people.clear()
        self._backgrounds.clear()
        self._facets.clear()
        self._gl.release()

    @property
    def device(self) -> str:
        """Who draws, by the driver's own name."""
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

    def pose(self, matrices: Mapping[int, tuple[Matrices, Matrices]]) -> None:
        """Where the bones of people are, rest -> world (B, 3, 4): now, and at the next frame. Once an instant."""
        for person, (now, after) in matrices.items():
            self._people[person].pose(now, after)
        self._shaded = None

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
        """What a camera sees of the people ``present``, all added and posed.

        Truth lists everybody whose box reaches into the picture, hidden or not. Place and heading are the root bone's.

        Args:
            camera: As it stands now.
            camera_next: As it stands at the next frame; None: the same. Only "flow" needs it.
            present: Numbers of the people; nobody else is drawn, nor throws a shadow.
            want: Of "masks", "depth" and "flow" (with which `hidden_next` comes).
            window: x0, y0, x1, y1 px: draw that part alone; boxes then count from its corner.
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
        background = self._background(camera)
        view = self._view(camera, background, present, after=False)
        self._cast_people(camera, present)
        image = self._draw(view)
        self._number(view)
        masks = depth = flow = hidden = None
        if "masks" in want:
            masks = np.concatenate(([0], view.ids)).astype(np.int32)[view.rows]
        if "depth" in want:
            depth = background.depth.astype(np.float32)
            seen = np.nonzero(view.numbers)
            depth[seen] = self._cut_people(view, *seen)[0]
        if "flow" in want:
            flow, hidden = self._flow(view, camera if camera_next is None else camera_next, present)
        return Picture(image, self._truth(view, t_s), masks, depth, flow, hidden)

    def _view(self, camera: Camera, background: _Background, present: Sequence[int], *, after: bool) -> _View:
        boxes = {person: self._people[person].posed.box(camera, after=after) for person in present}
        shown = [person for person in present if _reaches(boxes[person][0], camera.size)]
        counts = np.array([len(self._people[person].posed.figure.surface.triangles) for person in shown])
        return _View(
            camera=camera,
            background=background,
            ids=np.array(shown, np.int32),
            boxes=np.array([boxes[person][0] for person in shown]).reshape(-1, 4),
            farthest=np.array([boxes[person][1] for person in shown]),
            firsts=1 + np.cumsum(counts) - counts if len(shown) else np.zeros(0, np.int64),
            after=after,
            numbers=np.zeros(camera.size[::-1], np.int32),
        )

    # ----------------------------------------------------------------------------------------------------- truth

    def _truth(self, view: _View, t_s: float) -> Truth:
        places = [self._people[person].posed.stand() for person in view.ids.tolist()]
        seen = np.bincount(view.rows.ravel(), minlength=len(view.ids) + 1)[1:]
        whole = np.array([self._whole(view, row, int(seen[row])) for row in range(len(view.ids))])
        return Truth(
            t_s=t_s,
            ids=view.ids,
            boxes=view.boxes.astype(np.float32),
            visibility=np.minimum(seen / np.maximum(whole, 1), 1).astype(np.float32),
            floor_xy_m=np.array([place[0] for place in places], np.float64).reshape(-1, 2),
            heading_rad=np.array([place[1] for place in places], np.float64),
        )

    def _whole(self, view: _View, row: int, seen: int) -> float:
        """How many px somebody's silhouette has, if nothing stood before it and the picture went on."""
        box, (width, height) = view.boxes[row], view.camera.size
        x0, y0 = np.floor(box[:2]).astype(int).tolist()
        x1, y1 = np.ceil(box[2:]).astype(int).tolist()
        within = x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height
        others = np.delete(view.boxes, row, axis=0)
        alone = not ((others[:, :2] < box[2:]) & (others[:, 2:] > box[:2])).all(axis=1).any()
        if within and alone and view.background.stands[y0:y1, x0:x1].min() > view.farthest[row]:
            return seen
        part = view.camera.window(x0, y0, x1, y1)
        factor = min(1.0, self._alone_side / max(part.size))
        part = part if factor == 1 else part.scaled(factor)
        frame = (0, 0, *part.size)
        self._alone.use()
        self._alone.viewport = frame
        self._alone.clear(0, 0, 0, 0, viewport=frame)
        aim(self._gl, self._programs["silhouette"], part)
        self._people[int(view.ids[row])].arrays["silhouette"].render()
        read = self._alone.read(components=1, viewport=frame, alignment=1)
        return np.count_nonzero(np.frombuffer(read, np.uint8)) / factor**2

    def _flow(
        self, view: _View, camera: Camera, present: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(H, W, 2) px to where each pixel's surface point is at the next frame, (H, W) is it hidden there?"""
        background = self._background(camera)
        following = self._view(camera, background, present, after=True)
        self._number(following)
        shape = view.numbers.shape
        if camera.key == view.camera.key:  # of the place nothing moves, it may be covered
            flow = np.zeros((*shape, 2), np.float32)
            hidden = np.array(following.numbers > 0)
            seen = np.nonzero(view.numbers)
            points = np.zeros((len(seen[0]), 3))
        else:
            flow, hidden = np.empty((*shape, 2), np.float32), np.empty(shape, bool)
            seen = tuple(index.ravel() for index in np.indices(shape))
            points = view.background.points.reshape(-1, 3).copy()
        people = view.numbers[seen] > 0
        rows, columns = seen[0][people], seen[1][people]
        share = self._cut_people(view, rows, columns)[1]
        corners = self._people_corners(view, view.numbers[rows, columns], after=True)
        points[people] = (share[:, :, None] * corners).sum(axis=1)
        to, depth = camera.project(points)
        lost = np.isnan(to[:, 0])
        way = to - np.stack((seen[1] + 0.5, seen[0] + 0.5), axis=1)
        flow[seen] = np.where(lost[:, None], 0, way)
        hidden[seen] = lost | self._is_hidden(following, np.where(lost[:, None], -1, to), depth)
        return flow, hidden

    def _is_hidden(self, view: _View, px: Floats, depth: Floats) -> NDArray[np.bool_]:
        """(N,) does a view show something nearer than ``depth`` (N,) m at places (N, 2) px, or end before them?

        What it shows there is the triangle of the pixel around the place, cut by the ray of the place itself.
        """
        hidden = np.array(~((px >= 0) & (px < view.camera.size)).all(axis=1))
        index = np.flatnonzero(~hidden)
        columns, rows = px[index].astype(np.int64).T
        eye, rays = view.camera.centre_m, view.camera.rays(px[index]) @ view.camera.R
        shows = np.full(len(index), np.inf)
        number, built = view.numbers[rows, columns], view.background.numbers[rows, columns]
        people, place = np.flatnonzero(number), np.flatnonzero((number == 0) & (built > 0))
        corners = self._people_corners(view, number[people], after=view.after)
        shows[people] = cut(eye, rays[people], corners)[0]
        shows[place] = _meet(eye, rays[place], self._planes[built[place] - 1])
        hidden[index] = (shows > 0) & (shows < depth[index] * (1 - TOUCHING) - TOUCHING_M)
        return hidden

    def _cut_people(
        self, view: _View, rows: NDArray[np.integer], columns: NDArray[np.integer]
    ) -> tuple[Floats, Floats]:
        """Of pixels that show people: (N,) m depth and (N, 3) place in the triangle."""
        rays = view.camera.rays()[rows, columns] @ view.camera.R
        corners = self._people_corners(view, view.numbers[rows, columns], after=view.after)
        return cut(view.camera.centre_m, rays, corners)

    def _people_corners(self, view: _View, numbers: NDArray[np.integer], *, after: bool) -> Floats:
        """(N, 3, 3) m of triangles as a view numbers them."""
        corners = np.empty((len(numbers), 3, 3))
        row = np.searchsorted(view.firsts, numbers, side="right") - 1
        for k, person in enumerate(view.ids.tolist()):
            mine = np.flatnonzero(row == k)
            if len(mine):
                posed = self._people[person].posed
                corners[mine] = posed.corners(numbers[mine] - view.firsts[k], after=after)
        return corners

    # --------------------------------------------------------------------------------------------------- drawing

    def _draw(self, view: _View) -> NDArray[np.uint8]:
        (width, height), background = view.camera.size, view.background
        frame = (0, 0, SAMPLES * width, SAMPLES * height)
        self._samples.use()
        self._samples.viewport = frame
        self._samples.clear(0, 0, 0, 0, viewport=frame)
        program = self._programs["person"]
        aim(self._gl, program, view.camera)
        say(program, eye=view.camera.centre_m)
        self._textures(background.depth_samples, self._people_map, self._place_map, self._noise)
        for person in view.ids.tolist():
            one = self._people[person]
            if len(self._light.lamps):
                near = nearest_lamps(self._light.lamps, one.posed.stand()[0])
                say(program, lamps=near, lamp_count=min(len(self._light.lamps), LAMP_NEAR))
            one.arrays["person"].render()
        self._out.use()
        self._out.viewport = (0, 0, width, height)
        self._textures(
            background.lit,
            self._people_map,
            background.shaded,
            background.where,
            self._sample_colours,
            self._floor_shade,
        )
        self._fill("compose")
        read = self._out.read(components=4, viewport=(0, 0, width, height))
        return np.ascontiguousarray(np.frombuffer(read, np.uint8).reshape(height, width, 4)[..., :3])

    def _number(self, view: _View) -> None:
        """Say for each pixel's centre which triangle of the people it shows, from 1 over all; 0 none."""
        if not len(view.ids):
            return
        program = self._start_numbers(view.camera)
        self._textures(view.background.where)
        say(program, hides=1.0)
        for person, first in zip(view.ids.tolist(), view.firsts):
            say(program, first=float(first))
            self._people[person].numbered(after=view.after).render()
        view.numbers = self._read_numbers(view.camera)

    def _start_numbers(self, camera: Camera) -> Any:
        frame = (0, 0, *camera.size)
        self._numbers.use()
        self._numbers.viewport = frame
        self._numbers.clear(0, 0, 0, 0, viewport=frame)
        aim(self._gl, self._programs["number"], camera)
        return self._programs["number"]

    def _read_numbers(self, camera: Camera) -> Numbers:
        read = self._numbers.read(components=1, dtype="f4", viewport=(0, 0, *camera.size))
        return np.frombuffer(read, np.float32).reshape(camera.size[::-1]).astype(np.int32)

    def _cast_people(self, camera: Camera, present: Sequence[int]) -> None:
        """The shadow map of those who are present, and what they take of the light on the floor."""
        casting = tuple(present) if len(present) <= FEW else tuple(self._casting(camera, present))
        if self._shaded == casting:
            return
        self._shaded = casting
        people = [self._people[person] for person in casting]
        cells = self._floor.of_people([one.posed.balls() for one in people], self._light.lamps)
        self._floor_shade.write(cells.tobytes())
        if not self._light.has_sun:
            return
        ends = [np.concatenate([pick(one.posed.skin[:, :3], axis=0) for one in people] or [np.zeros(3)])
                .reshape(-1, 3) for pick in (np.min, np.max)]  # fmt: skip
        low, high = ends[0].min(axis=0).astype(float), ends[1].max(axis=0).astype(float)
        self._people_light, depth_m = sunlight(self._light.sun, low, high)
        for name in ("person", "compose"):
            slack = (0.05 if name == "person" else 0.03) / depth_m
            say(self._programs[name], light_people=self._people_light, people_slack=slack)
        self._shadow.use()
        self._shadow.clear()
        say(self._programs["shadow"], light=self._people_light)
        for one in people:
            one.arrays["shadow"].render()

    def _casting(self, camera: Camera, present: Sequence[int]) -> list[int]:
        """Those whose shadows may fall into the picture."""
        near = []
        for person in present:
            centres, radii = self._people[person].posed.balls()
            low, high = centres - radii[:, None], centres + radii[:, None]
            low, high = low.min(axis=0), high.max(axis=0)
            ends = np.array(
                [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (0, high[2])]
            )
            falls = ends - self._light.sun * (ends[:, 2:] / max(self._light.sun[2], 0.05))
            px, _ = camera.project(np.concatenate((ends, falls)))
            if np.isnan(px).any() or _reaches(np.concatenate((px.min(axis=0), px.max(axis=0))), camera.size):
                near.append(person)
        return near

    def _background(self, camera: Camera) -> _Background:
        found = self._backgrounds.get(camera.key)
        if found is not None:
            found.is_used_again = True
            self._backgrounds.move_to_end(camera.key)
            return found
        room = max(4, BACKGROUNDS_MB * 10**6 // (BACKGROUND_BYTES * self._largest[0] * self._largest[1]))
        once = [key for key, one in self._backgrounds.items() if not one.is_used_again]
        while len(once) >= SINGLE_USE or len(self._backgrounds) >= room:
            # What was used once may belong to a camera that moves. Cameras come in turn, so the newest goes: of more
            # backgrounds than there is room for, most stay and are found again. The oldest first would find none.
            self._backgrounds.pop(once.pop() if once else next(reversed(self._backgrounds))).release()
        made = self._backgrounds[camera.key] = self._draw_background(camera)
        return made

    def _draw_background(self, camera: Camera) -> _Background:
        width, height = camera.size
        one = _Background(self._gl, camera.size)
        built = self._built_for(camera)
        twice = (SAMPLES * width, SAMPLES * height)
        lit, shaded = self._gl.texture(twice, 4), self._gl.texture(twice, 4)
        samples = self._gl.framebuffer([lit, shaded], one.depth_samples)
        samples.use()
        samples.clear(0, 0, 0, 1, depth=1.0)
        turn = np.eye(4)
        turn[:3, :3] = camera.R.T @ np.linalg.inv(camera.K) @ np.diag([1 / SAMPLES, 1 / SAMPLES, 1.0])
        program = self._programs["place"]
        aim(self._gl, program, camera)
        say(program, eye=camera.centre_m)
        self._textures(self._place_map, self._corner_shade, None, self._noise)
        built.arrays["place"].render()
        say(self._programs["sky"], from_pixel=turn)
        self._gl.depth_func = "<="
        self._frames["sky"].render(self._flags.TRIANGLE_STRIP)  # where nothing is
        self._gl.depth_func = "<"
        one.target.use()
        self._textures(lit, shaded)
        self._fill("settle")
        for scratch in (samples, lit, shaded):
            scratch.release()
        say(self._start_numbers(camera), hides=0.0, first=1.0)
        built.arrays["number"].render()
        one.numbers = built.original(self._read_numbers(camera))
        self._measure(camera, one)
        return one

    def _measure(self, camera: Camera, one: _Background) -> None:
        """Where in the world the surface is that each pixel's centre shows."""
        rays = camera.rays() @ camera.R
        one.depth = np.full(one.numbers.shape, SKY_M)
        seen = np.nonzero(one.numbers)
        planes = self._planes[one.numbers[seen] - 1]
        one.depth[seen] = np.clip(_meet(camera.centre_m, rays[seen], planes), 0.01, SKY_M)
        one.points = camera.centre_m + rays * one.depth[..., None]
        one.stands = np.where(one.points[..., 2] > 0.06, one.depth, SKY_M)
        where = np.concatenate((one.points, one.depth[..., None]), axis=-1).astype(np.float32)
        one.where.write(where.tobytes())

    def _built_for(self, camera: Camera) -> _Built:
        """The place; cut fine where the camera's lens bends straight lines."""
        if not camera.is_distorted:
            return self._built
        key = (camera.centre_m.round(6).tobytes(), camera.distortion.tobytes(), camera.K[0, 0], camera.size)
        if key not in self._facets:
            if len(self._facets) >= FACETS:
                self._facets.popitem(last=False)[1].release()
            fine, old = cut_fine(self._place, camera.centre_m, finest_angle(camera))
            self._facets[key] = _Built(self._gl, self._programs, fine, old)
        self._facets.move_to_end(key)
        return self._facets[key]

    def _textures(self, *textures: Any) -> None:
        for unit, texture in enumerate(textures):
            if texture is not None:
                texture.use(unit)

    def _fill(self, name: str) -> None:
        """Run a program for every pixel of the target's frame."""
        self._gl.disable(self._flags.DEPTH_TEST)
        self._frames[name].render(self._flags.TRIANGLE_STRIP)
        self._gl.enable(self._flags.DEPTH_TEST)

    # --------------------------------------------------------------------------------------------------- making

    def _make_programs(self) -> dict[str, Any]:
        made = {
            name: self._gl.program(vertex, fragment) for name, (vertex, fragment) in shaders.PROGRAMS.items()
        }
        light = self._light
        lamps = np.zeros((LAMPS, 4))
        lamps[: len(light.lamps)] = light.lamps
        for name, program in made.items():
            say(
                program,
                sun=light.sun,
                sun_colour=light.sun_colour,
                side=light.side,
                sky=light.sky,
                ground=light.ground,
                horizon=light.horizon,
                zenith=light.zenith,
                lamp_colour=light.lamp_colour,
                lamp_count=len(light.lamps),
                lamps=lamps,
                exposure=light.exposure,
                has_sun=float(light.has_sun),
                people_texel=1 / PEOPLE_SHADOW_PX,
                place_texel=1 / PLACE_SHADOW_PX,
            )
            for unit, texture in enumerate(shaders.TEXTURES.get(name, ())):
                say(program, **{texture: unit})
        return made

    def _make_targets(self) -> None:
        import moderngl

        gl, (width, height) = self._gl, self._largest
        self._flags = moderngl
        twice = (SAMPLES * width, SAMPLES * height)
        gl.enable(moderngl.DEPTH_TEST)
        self._sample_colours = gl.texture(twice, 4)
        self._samples = gl.framebuffer([self._sample_colours], gl.depth_renderbuffer(twice))
        self._out = gl.framebuffer([gl.texture(self._largest, 4)])
        self._numbers = gl.framebuffer(
            [gl.texture(self._largest, 1, dtype="f4")], gl.depth_renderbuffer(self._largest)
        )
        self._alone_side = max(self._largest)
        self._alone = gl.framebuffer([gl.texture((self._alone_side, self._alone_side), 1, alignment=1)])
        self._people_map = gl.depth_texture((PEOPLE_SHADOW_PX, PEOPLE_SHADOW_PX))
        self._place_map = gl.depth_texture((PLACE_SHADOW_PX, PLACE_SHADOW_PX))
        for depth in (self._people_map, self._place_map):
            depth.compare_func = ""
            depth.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._shadow = gl.framebuffer(depth_attachment=self._people_map)
        noise = np.random.default_rng(0).integers(0, 256, 32**3).astype(np.uint8)
        self._noise = gl.texture3d((32, 32, 32), 1, noise.tobytes())
        self._noise.filter = (moderngl.LINEAR, moderngl.LINEAR)
        shape = self._floor.open.shape
        self._corner_shade = gl.texture(shape[::-1], 1, self._floor.open.tobytes(), alignment=1)
        self._floor_shade = gl.texture(shape[::-1], 1, alignment=1)
        for texture in (self._corner_shade, self._floor_shade):
            texture.repeat_x = texture.repeat_y = False
        corner = gl.buffer(np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32).tobytes())
        self._frames = {}
        for name in ("sky", "settle", "compose"):
            self._frames[name] = gl.vertex_array(self._programs[name], [(corner, "2f", "a_corner")])
        for name in ("place", "compose"):
            say(self._programs[name], floor_at=self._floor.from_world)

    def _cast_place(self) -> None:
        """The place's own shadows, once."""
        view, depth_m = sunlight(self._light.sun, self._low, self._high)
        for name in ("place", "person"):
            say(self._programs[name], light_place=view, place_slack=0.02 / depth_m)
        target = self._gl.framebuffer(depth_attachment=self._place_map)
        target.use()
        target.clear()
        if self._light.has_sun:
            say(self._programs["shadow"], light=view)
            self._built.arrays["shadow"].render()
        target.release()


class _Person:
    """A figure in the driver's memory."""

    def __init__(self, gl: Any, programs: Mapping[str, Any], figure: Figure) -> None:
        self.posed = Posed(figure)
        size = 24 * len(figure.surface.vertices)
        self._skin, self._skin_next = gl.buffer(reserve=size), gl.buffer(reserve=size)
        self._paint = gl.buffer(paint_bytes(figure.surface, openness(figure)))
        self._index = gl.buffer(figure.surface.triangles.astype("i4").tobytes())
        self.arrays = arrays(gl, programs, PEOPLE_PROGRAMS, self._skin, self._paint, self._index)
        self._next = arrays(gl, programs, ["number"], self._skin_next, self._paint, self._index)
        self._is_next_written = False

    def pose(self, now: Matrices, after: Matrices) -> None:
        self.posed.pose(now, after)
        self._skin.write(self.posed.skin)
        self._is_next_written = False

    def numbered(self, *, after: bool) -> Any:
        """What draws its triangles' numbers."""
        if not after:
            return self.arrays["number"]
        if not self._is_next_written:
            self._skin_next.write(self.posed.skin_next)
            self._is_next_written = True
        return self._next["number"]

    def release(self) -> None:
        for one in (*self.arrays.values(), *self._next.values()):
            one.release()
        for buffer in (self._skin, self._skin_next, self._paint, self._index):
            buffer.release()


class _Built:
    """A place in the driver's memory; ``old``: of which triangle of the place each of its triangles is a part."""

    def __init__(
        self, gl: Any, programs: Mapping[str, Any], surface: Surface, old: Numbers | None = None
    ) -> None:
        self._old = old
        self._buffers = (
            gl.buffer(skin_bytes(surface)),
            gl.buffer(paint_bytes(surface, np.ones(len(surface.vertices)))),
            gl.buffer(surface.triangles.astype("i4").tobytes()),
        )
        self.arrays = arrays(gl, programs, ("place", "number", "shadow"), *self._buffers)

    def original(self, numbers: Numbers) -> Numbers:
        """The place's triangle numbers, from 1, for those of what was drawn."""
        return (
            numbers if self._old is None else np.concatenate(([0], self._old + 1)).astype(np.int32)[numbers]
        )

    def release(self) -> None:
        for one in (*self.arrays.values(), *self._buffers):
            one.release()


class _Background:
    """What a camera sees of the place alone."""

    def __init__(self, gl: Any, size: tuple[int, int]) -> None:
        self.is_used_again = False
        self.lit, self.shaded = gl.texture(size, 4), gl.texture(size, 4)
        self.where = gl.texture(size, 4, dtype="f4")  # world x y z, depth m
        self.depth_samples = gl.depth_texture((SAMPLES * size[0], SAMPLES * size[1]))
        self.depth_samples.compare_func = ""
        self.target = gl.framebuffer([self.lit, self.shaded])
        self.numbers: Numbers = np.zeros((0, 0), np.int32)  # (H, W) triangle of the place from 1, 0 sky
        self.depth: Floats = np.zeros((0, 0))  # (H, W) m
        self.points: Floats = np.zeros((0, 0, 3))  # (H, W, 3) m in the world
        self.stands: Floats = np.zeros((0, 0))  # (H, W) m, depth of what is no floor

    def release(self) -> None:
        for one in (self.target, self.lit, self.shaded, self.where, self.depth_samples):
            one.release()


@dataclass
class _View:
    """What a camera sees at one time: N people that reach into the picture."""

    camera: Camera
    background: _Background
    ids: Numbers  # (N,) rising
    boxes: Floats  # (N, 4) px
    farthest: Floats  # (N,) m depth of the farthest point
    firsts: NDArray[np.int64]  # (N,) number of the first triangle
    after: bool  # at the next frame?
    numbers: Numbers  # (H, W) the person's triangle that each pixel shows, from 1 over all; 0 none

    @property
    def rows(self) -> NDArray[np.int64]:
        """(H, W) who is seen: row of `ids` from 1, 0 nobody."""
        return np.searchsorted(self.firsts, self.numbers.ravel(), side="right").reshape(self.numbers.shape)


def _reaches(box: Floats, size: tuple[int, int]) -> bool:
    """Does a box reach into the picture?"""
    return bool(box[0] < size[0] and box[2] > 0 and box[1] < size[1] and box[3] > 0)


def _planes(corners: Floats) -> Floats:
    """(T, 4) normal n and offset d of triangles (T, 3, 3): n x = d."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.column_stack((normals, (normals * corners[:, 0]).sum(axis=1)))


def _meet(eye: Floats, rays: Floats, planes: Floats) -> Floats:
    """(N,) how far along rays (N, 3) from a point they meet planes (N, 4)."""
    across = np.einsum("ij,ij->i", rays, planes[:, :3])
    height = planes[:, 3] - planes[:, :3] @ eye
    return height / np.where(np.abs(across) < 1e-15, 1e-15, across)
