"""Who walks where: people with goals, who enter, walk alone or together, stop, sit down and leave.

People make up *parties*: one person, or a group that walks abreast with the leader in the middle (0.7 m apart and
slower the larger it is, as M. Moussaid and others measured: "The walking behaviour of pedestrian social groups", PLoS
ONE 5 (2010) e10047). A party has an errand at a time; `scenes.social_force` moves its people.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from scenes import social_force as forces
from scenes.place import Place
from scenes.plan import Doorway
from scenes.records import ABSENT, SEATED, STANDING, WALKING, Trajectory
from scenes.settings import Person, Scene, SceneError

STEP_S = 0.05  # of the simulation and of the trajectories
AFTER_S = 1.0  # trajectories go on so long after the scene's end
THINK = 5  # steps from one decision to the next
SMOOTH = 3.0  # steps, standard deviation of the last smoothing

SPEED_M_S = (1.3, 0.18)  # of adults who walk alone: mean, standard deviation
SLOWEST_M_S, FASTEST_M_S = 0.8, 1.6
HURRY = 1.3  # nobody goes faster than so many times the own speed
SLOWER_IN_GROUP = 0.06  # share of the speed, per companion
GROUP_SIZES = ((2, 0.7), (3, 0.2), (4, 0.1))
ABREAST_M = 0.72

TURN_RAD_S = 2.6  # fastest turn
TURN_RAD_S2 = 10.0
NEAR_M = 0.8  # a goal that is walked past is reached from so far
CAST_NEAR_M = 0.3
DOCK_M = 0.9  # to a seat, from so far, people come nearer to obstacles than they walk
AT_M = 0.03  # a place to stand or sit, from so far
GONE_M = 0.35  # the end of the way out, from so far
GATHER_M = 3.0  # a group goes abreast until its goal is so near; then each goes to the own place
STAND_S = (4.0, 15.0)  # from, to
SIT_S = (15.0, 60.0)
SETTLE_S = 1.3  # stands so long before sitting down and after rising
STAY_S = (40.0, 180.0)  # one visit
REST_S = (5.0, 20.0)  # outside, between two visits


class Do(Enum):
    """What an errand ends with."""

    PASS = auto()
    STAND = auto()
    SIT = auto()
    LEAVE = auto()


class State(Enum):
    OUTSIDE = auto()
    ENTERING = auto()
    GOING = auto()
    STAYING = auto()
    RISING = auto()
    LEAVING = auto()
    GONE = auto()


@dataclass(frozen=True)
class Errand:
    do: Do
    goal: tuple[float, float]
    near_m: float = NEAR_M
    stay_s: float = 0.0
    facing_rad: float | None = None
    seat: int = -1


@dataclass
class Party:
    """People who are together, the leader first, and what they are up to."""

    members: list[int]
    state: State = State.OUTSIDE
    until_s: float = 0.0  # when the present state may end
    leaves_s: float = np.inf
    errand: Errand | None = None
    plan: deque[Errand] = field(default_factory=deque)  # of the cast
    is_cast: bool = False
    door: Doorway | None = None
    waiting: list[int] = field(default_factory=list)  # have not come in yet
    apart: bool = False  # each walks alone: the goal is near
    seat: int = -1

    @property
    def leader(self) -> int:
        return self.members[0]


def simulate(place: Place, scene: Scene, rng: np.random.Generator) -> list[Trajectory]:
    """Where everybody is from time 0 until a second after the scene's end, in steps of `STEP_S`.

    Persons 1, 2, ... are the scene's cast in its order, then those left to chance. A member of the cast without goals
    is left to chance after the start; one with goals visits them in order and leaves for good. Others who leave come
    again later. Where no door leads outside, everybody is there all the time. Whoever never comes is ABSENT throughout.

    Raises:
        SceneError: There is no room for so many people, or somebody of the cast starts in a wall or cannot get to a
            goal.
    """
    crowd = _Crowd(place, scene, rng)
    steps = int(np.ceil((scene.seconds + AFTER_S) / STEP_S)) + 1
    number = scene.people.count
    xy, heading = np.zeros((steps, number, 2)), np.zeros((steps, number))
    activity = np.full((steps, number), ABSENT, np.int8)
    for step in range(steps):
        crowd.step(step)
        xy[step], heading[step], activity[step] = crowd.xy, crowd.heading, crowd.activity()
    t_s = np.arange(steps, dtype=np.float64) * STEP_S
    return [
        _trajectory(person, t_s, xy[:, person], heading[:, person], activity[:, person], crowd.seat_m[person])
        for person in range(number)
    ]


class _Crowd:
    """The state of a simulation; row i is person i + 1."""

    def __init__(self, place: Place, scene: Scene, rng: np.random.Generator) -> None:
        people = scene.people
        number = people.count
        self.place, self.scene, self.rng = place, scene, rng
        self.exits = [door for door in place.doors if door.is_exit]
        self.limit = people.at_once or number
        self.speed = np.clip(rng.normal(*SPEED_M_S, number), SLOWEST_M_S, FASTEST_M_S)
        self.xy, self.velocity = np.zeros((number, 2)), np.zeros((number, 2))
        self.heading, self.turning = np.zeros(number), np.zeros(number)
        self.is_present, self.is_fixed = np.zeros(number, bool), np.zeros(number, bool)
        self.is_seated, self.is_near = np.zeros(number, bool), np.zeros(number, bool)
        self.seat_m = np.full(number, 0.45)
        self.stuck_s = np.zeros(number)
        self.side = rng.choice([-1.0, 1.0], number)  # to which somebody turns who is stuck
        self.goal, self.aim = np.zeros((number, 2)), np.zeros((number, 2))
        self.near_m = np.full(number, NEAR_M)
        self.stops = np.zeros(number, bool)  # at the goal
        self.docks = np.zeros(number, bool)  # at a seat: nearer to obstacles than people walk
        self.face = np.full(number, np.nan)
        self.route: list[NDArray[np.float64]] = [np.zeros((0, 2))] * number
        self.follows = np.full(number, -1)
        self.slot = np.zeros((number, 2))  # m, to the leader's left and behind
        self.abreast = np.ones(number)  # 1 beside the leader, 0 behind
        self.haste = np.ones(number)
        self.taken: set[int] = set()  # seats
        self.pool = place.draw_points(rng, 400, 0.6)
        self.parties = self._parties()
        self.party = np.zeros(number, np.int64)
        for row, party in enumerate(self.parties):
            self.party[party.members] = row
        self._begin()

    # Who comes with whom, and where everybody is at time 0.

    def _parties(self) -> list[Party]:
        people, rng = self.scene.people, self.rng
        cast = len(people.cast)
        parties = [Party([i], is_cast=True) for i in range(cast)]
        free = list(range(cast, people.count))
        grouped = round(people.groups * len(free))
        sizes, shares = zip(*GROUP_SIZES)
        while grouped >= 2 and len(free) >= 2:
            size = min(int(rng.choice(sizes, p=shares)), grouped, len(free))
            members, free = free[:size], free[size:]
            grouped -= size
            parties.append(Party(members))
            self._form(members)
        return parties + [Party([i]) for i in free]

    def _form(self, members: list[int]) -> None:
        self.speed[members] = self.speed[members].mean() * (1 - SLOWER_IN_GROUP * (len(members) - 1))
        self.speed[members] = np.maximum(self.speed[members], SLOWEST_M_S)
        side = float(self.rng.choice([-1, 1]))
        places = [(side, 0.05), (-side, 0.05), (side * 0.5, 1.0)]
        for member, (left, behind) in zip(members[1:], places):
            self.slot[member] = left * ABREAST_M, behind

    def _begin(self) -> None:
        people, rng = self.scene.people, self.rng
        for number, (party, person) in enumerate(zip(self.parties, people.cast)):
            self._cast(number, party, person)
        inside = sum(len(party.members) for party in self.parties if party.state is not State.OUTSIDE)
        share = 1.0 if not self.exits else 0.8
        first = max(1, round(share * self.limit)) if people.count else 0
        spread = min(self.scene.seconds, 60.0)
        for party in self.parties[len(people.cast) :]:
            size = len(party.members)
            if inside + size <= first and self._put(party):
                inside += size
                continue
            if not self.exits and inside + size <= self.limit:
                raise SceneError(f"people.count: there is no room for {people.count} people")
            party.until_s = float(rng.uniform(0, 0.6 * spread))

    def _cast(self, number: int, party: Party, person: Person) -> None:
        where = f"people.cast.{number}"
        if person.speed is not None:
            self.speed[party.leader] = person.speed
        points = [("start", person.start)] if person.start else []
        points += [(f"goals.{i}", goal) for i, goal in enumerate(person.goals)]
        for name, point in points:
            if not self.place.is_free([point], 0.2)[0]:
                raise SceneError(f"{where}.{name}: {point} is not on free floor")
        for (_, before), (name, point) in zip(points, points[1:]):
            if not len(self.place.route(before, point)):
                raise SceneError(f"{where}.{name}: there is no way to {point}")
        party.plan = deque(Errand(Do.PASS, goal, CAST_NEAR_M) for goal in person.goals)
        if person.enters is not None:
            if not self.exits:
                raise SceneError(f"{where}.enters: no door leads outside")
            party.until_s = person.enters
            if points:
                party.door = self._nearest_door(points[0][1])
        elif not self._put(party, person.start):
            raise SceneError(f"{where}: there is no room for so many people")

    def _put(self, party: Party, at: tuple[float, float] | None = None) -> bool:
        """Put a party somewhere in the scene, on the way to its first errand or already there."""
        for point in [np.array(at)] if at else self.rng.permutation(self.pool)[:40]:
            self.xy[party.leader] = point
            self._next(party, 0.0, settled=at is None)
            if self._settle(party, point, rests=at is None):
                party.leaves_s = self._stay() * float(self.rng.random())
                return True
            self._free_seat(party)
        return False

    def _settle(self, party: Party, point: NDArray[np.float64], *, rests: bool) -> bool:
        """Begin at a point, or where the errand is done if that is a stop: unless there is no room."""
        errand, members = party.errand, party.members
        assert errand is not None
        rests = rests and errand.do in (Do.STAND, Do.SIT)
        route = self.route[party.leader]
        ahead = route[0] - point if len(route) else self.rng.normal(size=2)
        angle = float(np.arctan2(ahead[1], ahead[0]))
        if rests:
            if len(members) > 1:
                self._gather(party, errand)
            places = self.goal[members].copy()
        else:
            places = np.array([point + _rotate(self._offset(member), angle) for member in members])
        gaps = np.hypot(*(places[:, None] - self.xy[self.is_present]).transpose(2, 0, 1)).min(initial=np.inf)
        body = 0.1 if errand.do is Do.SIT or not rests else 0.3
        if gaps < 0.6 or not self.place.is_free(places, max(body, 0.3 * (len(members) > 1))).all():
            return False
        self.xy[members], self.is_present[members] = places, True
        self.heading[members] = np.where(rests, np.nan_to_num(self.face[members]), angle)
        self.is_fixed[members] = rests
        self.velocity[members] = 0 if rests else self.speed[members, None] * (np.cos(angle), np.sin(angle))
        for member in members:
            self._order(member, self.goal[member])
        return True

    def _stay(self) -> float:
        people = self.scene.people
        low, high = STAY_S
        if self.limit < people.count:  # so long that everybody can come once
            low = float(np.clip(0.6 * self.scene.seconds * self.limit / people.count, 12, low))
            high = 2 * low
        return float(self.rng.uniform(low, high))

    # What parties do, every THINK steps.

    def step(self, step: int) -> None:
        """Go on to the time ``step`` * STEP_S; step 0 only takes stock."""
        if step:
            self._move()
        if step % THINK == 0:
            for party in self.parties:
                self._think(party, step * STEP_S)
            self._look_around()

    def _think(self, party: Party, t_s: float) -> None:
        match party.state:
            case State.OUTSIDE:
                self._come(party, t_s)
            case State.ENTERING:
                self._enter(party)
            case State.GOING:
                self._go(party, t_s)
            case State.STAYING if t_s >= party.until_s:
                self._stop_staying(party, t_s)
            case State.RISING if t_s >= party.until_s:
                self._free_seat(party)
                self._next(party, t_s)
            case State.LEAVING:
                self._leave(party, t_s)

    def _come(self, party: Party, t_s: float) -> None:
        inside = int(self.is_present.sum()) + sum(len(other.waiting) for other in self.parties)
        allowed = party.is_cast or inside + len(party.members) <= self.limit
        if t_s < party.until_s or not self.exits or not allowed:
            return
        party.door = party.door or self.exits[int(self.rng.integers(len(self.exits)))]
        party.waiting = list(party.members)
        party.leaves_s = t_s + self._stay()
        party.state = State.ENTERING
        self._enter(party)

    def _enter(self, party: Party) -> None:
        """The next of the party comes in, once there is room in the doorway."""
        door = party.door
        assert door is not None
        right = -min(0.25, door.width_m / 2 - 0.3) if door.width_m < 2 else float(self.rng.uniform(-0.6, 0.6))
        spot = np.array(door.point(door.depth_m - 0.45, -right))
        near = np.hypot(*(self.xy[self.is_present] - spot).T)
        if (near < 0.65).any():
            return
        member = party.waiting.pop(0)
        self.xy[member] = spot
        self.heading[member] = _turn_to(self.heading[member], np.arctan2(door.inward[1], door.inward[0]))
        self.velocity[member] = 0.7 * self.speed[member] * np.array(door.inward)
        self.turning[member] = self.stuck_s[member] = 0.0
        self.is_present[member] = True
        if member == party.leader:
            self._next(party, 0.0)
            party.state = State.ENTERING
        else:
            self.follows[member] = party.leader
        if not party.waiting:
            party.state, party.door = State.GOING, None

    def _go(self, party: Party, t_s: float) -> None:
        errand = party.errand
        assert errand is not None
        together = party.members[1:]
        if errand.do is Do.STAND and together and not party.apart:
            if self._is_close(party, errand):
                self._gather(party, errand)
            return
        if not self.is_near[party.members if party.apart else party.leader].all():
            return
        if errand.do is Do.PASS:
            self._next(party, t_s)
            return
        party.state = State.STAYING
        party.until_s = t_s + errand.stay_s

    def _gather(self, party: Party, errand: Errand) -> None:
        """Everybody of a group has an own place in a circle, looking to its middle."""
        party.apart = True
        radius = 0.42 if len(party.members) == 2 else 0.55
        come = np.arctan2(*(self.xy[party.leader] - errand.goal)[::-1])
        for i, member in enumerate(party.members):
            angle = come + 2 * np.pi * i / len(party.members)
            spot = np.array(errand.goal) + radius * np.array([np.cos(angle), np.sin(angle)])
            self.follows[member] = -1
            self._order(member, spot, AT_M, stops=True, face=angle + np.pi)

    def _stop_staying(self, party: Party, t_s: float) -> None:
        if party.seat < 0:
            self._next(party, t_s)
        elif self.is_seated[party.leader]:
            self.is_seated[party.leader] = False
            party.state, party.until_s = State.RISING, t_s + SETTLE_S

    def _leave(self, party: Party, t_s: float) -> None:
        errand = party.errand
        assert errand is not None
        if not party.apart and self._is_close(party, errand):
            party.apart = True
            for member in party.members[1:]:
                self.follows[member] = -1
                self._order(member, np.array(errand.goal), GONE_M)
        for member in party.members:
            if self.is_present[member] and self.is_near[member] and party.apart:
                self.is_present[member] = self.is_fixed[member] = False
        if not self.is_present[party.members].any():
            party.state = State.GONE if party.is_cast and self._has_goals(party) else State.OUTSIDE
            party.until_s = t_s + float(self.rng.uniform(*REST_S))
            party.door = None

    def _is_close(self, party: Party, errand: Errand) -> bool:
        xy = self.xy[party.leader]
        return bool(np.hypot(*(xy - errand.goal)) < GATHER_M and self.place.sees(xy, errand.goal, 0.15)[0])

    def _has_goals(self, party: Party) -> bool:
        return bool(self.scene.people.cast[party.leader].goals)

    def _next(self, party: Party, t_s: float, *, settled: bool = False) -> None:
        """Give the party its next errand. ``settled``: before the scene begins, anything."""
        errand = self._draw_errand(party, t_s, settled)
        party.errand, party.apart = errand, False
        self.is_fixed[party.members] = False
        party.state = State.LEAVING if errand.do is Do.LEAVE else State.GOING
        stops = errand.do in (Do.STAND, Do.SIT)
        self._order(
            party.leader, np.array(errand.goal), AT_M if stops else errand.near_m,
            stops=stops, face=errand.facing_rad, docks=errand.do is Do.SIT,
        )  # fmt: skip
        for member in party.members[1:]:
            self.follows[member] = party.leader
            self._order(member, np.array(errand.goal), 0.0)

    def _draw_errand(self, party: Party, t_s: float, settled: bool) -> Errand:
        if party.plan:
            return party.plan.popleft()
        xy, rng, people = self.xy[party.leader], self.rng, self.scene.people
        done = party.is_cast and self._has_goals(party)
        if self.exits and (done or (t_s >= party.leaves_s and not settled)):
            door = self._nearest_door(xy) if done else self._some_door(xy)
            if door is not None:
                right = min(0.25, door.width_m / 2 - 0.3)
                return Errand(Do.LEAVE, door.point(door.depth_m - 0.4, right), GONE_M)
        if done:
            return Errand(Do.STAND, (float(xy[0]), float(xy[1])), stay_s=np.inf, facing_rad=None)
        if (
            len(party.members) == 1
            and rng.random() < people.seated
            and (seat := self._free_seat_near(xy)) >= 0
        ):
            x, y, facing, height = self.place.seats[seat]
            self.taken.add(seat)
            party.seat = seat
            self.seat_m[party.leader] = height
            return Errand(
                Do.SIT, (x, y), stay_s=float(rng.uniform(*SIT_S)), facing_rad=float(facing), seat=seat
            )
        stands = rng.random() < people.standing
        goal = self._draw_goal(party.leader, away_from_doors=stands)
        if not stands:
            return Errand(Do.PASS, goal)
        return Errand(
            Do.STAND, goal, stay_s=float(rng.uniform(*STAND_S)), facing_rad=float(rng.uniform(-np.pi, np.pi))
        )

    def _draw_goal(self, leader: int, *, away_from_doors: bool) -> tuple[float, float]:
        """A reachable point: rather ahead than back, and not just here, if there is one."""
        pool, xy, velocity = self.pool, self.xy[leader], self.velocity[leader]
        if away_from_doors and self.place.doors and len(pool):
            doors = np.array(
                [point for door in self.place.doors for point in (door.at, door.point(door.depth_m))]
            )
            pool = pool[np.hypot(*(pool[:, None] - doors).transpose(2, 0, 1)).min(axis=1) > 1.6]
        others = self.goal[self.is_present & self.stops]
        candidates = self.rng.permutation(pool)[:24]
        offset = candidates - xy
        away = np.hypot(*offset.T)
        free = np.hypot(*(candidates[:, None] - others).transpose(2, 0, 1)).min(axis=1, initial=np.inf) > 1.4
        ahead = offset @ velocity > -0.35 * away * np.hypot(*velocity)
        for wanted in (free & ahead & (away > 4), free & (away > 4), free & (away > 0.5)):
            for point in candidates[wanted]:
                if len(self.place.route(xy, point)):
                    return float(point[0]), float(point[1])
        return float(xy[0]), float(xy[1])

    def _free_seat_near(self, xy: NDArray[np.float64]) -> int:
        free = [seat for seat in range(len(self.place.seats)) if seat not in self.taken]
        if not free:
            return -1
        seat = free[int(self.rng.integers(len(free)))]
        return seat if len(self.place.route(xy, self.place.seats[seat, :2])) else -1

    def _free_seat(self, party: Party) -> None:
        self.taken.discard(party.seat)
        party.seat = -1

    def _nearest_door(self, xy: ArrayLike) -> Doorway | None:
        ways = [(_length(self.place.route(xy, door.outside)), door) for door in self.exits]
        return (
            min(ways, key=lambda way: way[0])[1]
            if ways and min(ways, key=lambda w: w[0])[0] < np.inf
            else None
        )

    def _some_door(self, xy: NDArray[np.float64]) -> Doorway | None:
        reached = [door for door in self.exits if len(self.place.route(xy, door.outside))]
        return reached[int(self.rng.integers(len(reached)))] if reached else None

    def _order(
        self, member: int, goal: NDArray[np.float64], near_m: float | None = None, *,
        stops: bool | None = None, face: float | None = None, docks: bool | None = None,
    ) -> None:  # fmt: skip
        """Walk to a goal. With the goal alone: find the way anew."""
        self.goal[member] = goal
        self.route[member] = self.place.route(self.xy[member], goal)[1:]
        if near_m is not None:
            self.near_m[member], self.is_near[member] = near_m, False
            self.stops[member], self.docks[member] = bool(stops), bool(docks)
            self.face[member] = np.nan if face is None else face
            self.is_fixed[member] = False
        self.aim[member] = self.route[member][0] if len(self.route[member]) else self.xy[member]

    # Where everybody walks to next.

    def _look_around(self) -> None:
        """Everybody finds the next point of the way; companions, whether there is room beside the leader."""
        walking = np.flatnonzero(self.is_present & ~self.is_fixed)
        self._fold(walking[self.follows[walking] >= 0])
        alone = walking[(self.follows[walking] < 0) | ~self._leader_seen(walking)]
        lost = alone[~self.place.sees(self.xy[alone], self.aim[alone], 0.05)]
        for member in lost:
            leader = self.follows[member]
            self._order(member, self.xy[leader] if leader >= 0 else self.goal[member])
        on = np.array([member for member in alone if len(self.route[member]) > 1], dtype=np.int64)
        if not len(on):
            return
        following = np.array([self.route[member][1] for member in on])
        reached = np.hypot(*(self.xy[on] - self.aim[on]).T) < 0.25
        margin = np.minimum(0.3, 0.9 * self.place.clearance(self.xy[on]))
        for member in on[reached | self._sees_each(self.xy[on], following, margin)]:
            self.route[member] = self.route[member][1:]
            self.aim[member] = self.route[member][0]

    def _sees_each(
        self, start: NDArray[np.float64], end: NDArray[np.float64], margin: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        wide = self.place.sees(start, end, 0.3)
        return wide | ((margin < 0.3) & self.place.sees(start, end, 0.15))

    def _leader_seen(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        seen = self.follows[rows] >= 0
        mine = rows[seen]
        seen[seen] = self.place.sees(self.xy[mine], self.xy[self.follows[mine]], 0.15)
        return seen

    def _fold(self, rows: NDArray[np.int64]) -> None:
        """Companions walk behind the leader where there is no room beside, now or a step ahead."""
        beside = self._slots(rows, np.ones(len(rows)))
        heading = self.heading[self.follows[rows]]
        ahead = beside + 1.2 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        room = self.place.is_free(beside, 0.35) & self.place.is_free(ahead, 0.35)
        room &= self.place.sees(self.xy[rows], beside, 0.2)
        step = STEP_S * THINK
        self.abreast[rows] = np.clip(self.abreast[rows] + np.where(room, 0.8 * step, -1.6 * step), 0, 1)

    def _slots(self, rows: NDArray[np.int64], abreast: NDArray[np.float64]) -> NDArray[np.float64]:
        leader = self.follows[rows]
        left, behind = self.slot[rows].T
        behind = behind * abreast + (0.75 + np.maximum(behind, 0)) * (1 - abreast)
        cos, sin = np.cos(self.heading[leader]), np.sin(self.heading[leader])
        left = left * abreast
        return self.xy[leader] + np.stack([-behind * cos - left * sin, -behind * sin + left * cos], axis=1)

    def _offset(self, member: int) -> NDArray[np.float64]:
        left, behind = self.slot[member]
        return np.array([-behind, left])

    # One step of everybody.

    def _move(self) -> None:
        rows = np.flatnonzero(self.is_present)
        if not len(rows):
            return
        wish = self._wishes(rows)
        docking = self._docking(rows)
        bodies = forces.Bodies(
            xy_m=self.xy[rows], velocity_m_s=self.velocity[rows], heading_rad=self.heading[rows],
            party=self.party[rows], is_fixed=self.is_fixed[rows],
            body_m=np.where(self.docks[rows] & docking, 0.08, forces.BODY_M),
        )  # fmt: skip
        change = forces.accelerations(bodies, wish, self.place) * STEP_S
        velocity = self.velocity[rows] + change
        velocity = np.where(docking[:, None], wish, velocity)
        fastest = HURRY * self.speed[rows]
        velocity *= np.minimum(1, fastest / np.maximum(np.hypot(*velocity.T), 1e-9))[:, None]
        velocity[bodies.is_fixed] = 0
        xy = forces.separate(bodies, bodies.xy_m + velocity * STEP_S, self.place)
        self.velocity[rows] = (xy - bodies.xy_m) / STEP_S
        self.xy[rows] = xy
        self._get_stuck(rows, wish)
        self._turn(rows, wish)
        self._arrive(rows)

    def _docking(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Who is on the last step to a place to stand or to a seat."""
        away = np.hypot(*(self.goal[rows] - self.xy[rows]).T)
        straight = (self.aim[rows] == self.goal[rows]).all(axis=1)
        last = straight & (away < np.where(self.docks[rows], DOCK_M, 0.35))
        return np.asarray(last & self.stops[rows] & (self.follows[rows] < 0) & ~self.is_fixed[rows])

    def _wishes(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 2) m/s, the velocity that each would like."""
        self._wait_for_companions()
        offset = self.aim[rows] - self.xy[rows]
        away = np.maximum(np.hypot(*offset.T), 1e-6)
        direction = np.arctan2(offset[:, 1], offset[:, 0])
        direction += self.side[rows] * np.clip(self.stuck_s[rows] - 1.0, 0, 3) * 0.5
        speed = self.speed[rows] * self.haste[rows]
        left = np.hypot(*(self.goal[rows] - self.xy[rows]).T)
        speed = np.where(self.stops[rows], np.minimum(speed, 0.1 + 0.9 * left), speed)
        # First turn, then walk: slow while the body looks elsewhere.
        facing = np.cos(direction - self.heading[rows])
        slow = np.hypot(*self.velocity[rows].T) < 0.5
        speed = speed * np.where(slow, np.clip(0.15 + facing, 0.0, 1), np.clip(0.5 + facing, 0.3, 1))
        wish = speed[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)
        wish[away < 0.02] = 0
        beside = (self.follows[rows] >= 0) & self._leader_seen(rows)
        wish[beside] = self._keep_up(rows[beside])
        docking = self._docking(rows)
        home = 1.6 * (self.goal[rows] - self.xy[rows])[docking]
        wish[docking] = home * np.minimum(1, 0.7 / np.maximum(np.hypot(*home.T), 1e-9))[:, None]
        wish[self.is_fixed[rows]] = 0
        return wish

    def _keep_up(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        gap = self._slots(rows, self.abreast[rows]) - self.xy[rows]
        return self.velocity[self.follows[rows]] + gap / 0.9

    def _wait_for_companions(self) -> None:
        """Leaders slow down while somebody of their party lags behind."""
        self.haste[:] = 1
        rows = np.flatnonzero((self.follows >= 0) & self.is_present)
        lag = np.hypot(*(self.xy[rows] - self.xy[self.follows[rows]]).T)
        np.minimum.at(self.haste, self.follows[rows], np.clip(1 - (lag - 1.2) / 1.5, 0.05, 1))
        for party in self.parties:
            if party.waiting and party.door is not None and self.is_present[party.leader]:
                gone = np.hypot(*(self.xy[party.leader] - party.door.outside))
                if gone > 2.5:
                    self.haste[party.leader] = 0.1

    def _get_stuck(self, rows: NDArray[np.int64], wish: NDArray[np.float64]) -> None:
        held_up = (np.hypot(*wish.T) > 0.4) & (np.hypot(*self.velocity[rows].T) < 0.2)
        stuck = self.stuck_s[rows]
        self.stuck_s[rows] = np.where(held_up, stuck + STEP_S, np.maximum(stuck - 2 * STEP_S, 0))
        weary = rows[self.stuck_s[rows] > 4.0]
        self.side[weary] *= -1
        self.stuck_s[weary] = 1.0

    def _turn(self, rows: NDArray[np.int64], wish: NDArray[np.float64]) -> None:
        """Bodies turn to where they walk, or would; those who stand, to what they look at."""
        velocity = self.velocity[rows]
        fast, keen = np.hypot(*velocity.T), np.hypot(*wish.T)
        toward = np.where((fast > 0.35)[:, None], velocity, wish)
        offset = self.aim[rows] - self.xy[rows]
        wants = ~self.is_fixed[rows] & (self.follows[rows] < 0) & (np.hypot(*offset.T) > 0.5)
        toward = np.where(((fast <= 0.35) & (keen < 0.3) & wants)[:, None], offset, toward)
        target = np.arctan2(toward[:, 1], toward[:, 0])
        looks = ~np.isnan(self.face[rows]) & (self.is_fixed[rows] | self._docking(rows))
        idle = ~looks & (fast < 0.15) & (np.hypot(*toward.T) < 0.15)
        target = np.where(looks, np.nan_to_num(self.face[rows]), np.where(idle, self.heading[rows], target))
        error = (target - self.heading[rows] + np.pi) % (2 * np.pi) - np.pi
        wanted = np.clip(3.5 * error, -TURN_RAD_S, TURN_RAD_S)
        change = np.clip(wanted - self.turning[rows], -TURN_RAD_S2 * STEP_S, TURN_RAD_S2 * STEP_S)
        self.turning[rows] += change
        self.heading[rows] += self.turning[rows] * STEP_S

    def _arrive(self, rows: NDArray[np.int64]) -> None:
        away = np.hypot(*(self.goal[rows] - self.xy[rows]).T)
        near = (away < self.near_m[rows]) & (self.follows[rows] < 0)
        # Where somebody else stands in the way, near by will do: but not for a seat.
        near |= self.stops[rows] & ~self.docks[rows] & (away < 0.6) & (self.stuck_s[rows] > 1.5)
        self.is_near[rows] |= near
        stay = rows[near & self.stops[rows]]
        self.is_fixed[stay] = True
        self.velocity[stay] = 0
        for party in self.parties:
            if party.state is State.STAYING and party.seat >= 0 and not self.is_seated[party.leader]:
                error = (self.face[party.leader] - self.heading[party.leader] + np.pi) % (2 * np.pi) - np.pi
                self.is_seated[party.leader] = abs(error) < 0.05 and abs(self.turning[party.leader]) < 0.1

    def activity(self) -> NDArray[np.int8]:
        """(N,) What everybody does now."""
        moves = np.hypot(*self.velocity.T) > 0.12
        does = np.where(self.is_seated, SEATED, np.where(moves & ~self.is_fixed, WALKING, STANDING))
        return np.where(self.is_present, does, ABSENT).astype(np.int8)


def _trajectory(
    person: int, t_s: NDArray[np.float64], xy: NDArray[np.float64], heading: NDArray[np.float64],
    activity: NDArray[np.int8], seat_m: float,
) -> Trajectory:  # fmt: skip
    """Smooth every stretch of presence, so that velocity and turning rate have no jumps."""
    xy, heading = xy.copy(), heading.copy()
    there = np.flatnonzero(np.diff(np.concatenate([[False], activity != ABSENT, [False]])))
    for begin, end in there.reshape(-1, 2):
        xy[begin:end] = _smooth(xy[begin:end])
        heading[begin:end] = _smooth(heading[begin:end, None])[:, 0]
    return Trajectory(person + 1, t_s, xy, heading, activity, float(seat_m))


def _smooth(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian over time; beyond its ends a stretch goes on as it did, turned about the end point."""
    reach = min(int(4 * SMOOTH), len(rows) - 1)
    if reach < 1:
        return rows
    before, after = 2 * rows[0] - rows[reach:0:-1], 2 * rows[-1] - rows[-2 : -2 - reach : -1]
    return np.asarray(gaussian_filter1d(np.concatenate([before, rows, after]), SMOOTH, axis=0)[reach:-reach])


def _rotate(offset: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([offset[0] * cos - offset[1] * sin, offset[0] * sin + offset[1] * cos])


def _turn_to(heading: float, target: float) -> float:
    """``target``, by whole turns as near to ``heading`` as can be."""
    return float(target + 2 * np.pi * round((heading - target) / (2 * np.pi)))


def _length(route: NDArray[np.float64]) -> float:
    return float(np.hypot(*np.diff(route, axis=0).T).sum()) if len(route) else np.inf


__all__ = ["simulate", "STEP_S"]
