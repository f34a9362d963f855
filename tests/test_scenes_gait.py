"""How people move: footsteps that agree with the speed, planted feet, legs that bend forwards, no jumps."""

from dataclasses import replace

import numpy as np
import pytest

from scenes import gait
from scenes.body import Shape, body, template
from scenes.gait import Motion, Style
from scenes.records import ABSENT, SEATED, STANDING, WALKING, Trajectory

STEP_S = 0.05  # of all trajectories here


def going(xy, heading, activity, **more):
    count = len(heading)
    return Trajectory(
        person=1,
        t_s=STEP_S * np.arange(count),
        xy_m=np.asarray(xy, float).reshape(count, 2),
        heading_rad=np.asarray(heading, float),
        activity=np.broadcast_to(np.asarray(activity, np.int8), count).copy(),
        **more,
    )


def straight(speed, seconds=6.0):
    t = np.arange(0, seconds, STEP_S)
    return going(np.stack([speed * t, 0 * t], 1), 0 * t, WALKING)


def start_and_stop():
    speed = np.interp(np.arange(0, 8, STEP_S), [1.5, 2.0, 4.5, 5.0], [0, 1.3, 1.3, 0])
    x = np.cumsum(speed) * STEP_S
    return going(np.stack([x, 0 * x], 1), 0 * x, np.where(speed > 0, WALKING, STANDING))


def turn_in_place(angle=np.pi):
    heading = np.interp(np.arange(0, 8, STEP_S), [2, 2 + abs(angle) / 2], [0, angle])
    return going(np.zeros((len(heading), 2)), heading, STANDING)


def circle(speed=1.2, radius=1.5):
    a = np.arange(0, 6, STEP_S) * speed / radius
    return going(radius * np.stack([np.sin(a), 1 - np.cos(a)], 1), a, WALKING)


def about_turn():
    """Walks, stops within half a second while turning round, and walks back."""
    t = np.arange(0, 6, STEP_S)
    x = np.cumsum(np.interp(t, [2.2, 2.7, 3.0, 3.6], [1.4, 0, 0, -1.4])) * STEP_S
    return going(np.stack([x, 0 * x], 1), np.interp(t, [2.3, 3.3], [0, np.pi]), WALKING)


def sit_down(seat_m=0.45):
    t = np.arange(0, 12, STEP_S)
    x = (
        np.interp(t, [2, 10], [0, 0])
        + np.where(t < 2, (t - 2) * 1.0, 0)
        + np.where(t > 10, (t - 10) * 1.0, 0)
    )
    return going(
        np.stack([x, 0 * x], 1),
        0 * x,
        np.select([(t > 2.5) & (t < 9.5), (t > 2) & (t < 10)], [SEATED, STANDING], WALKING),
        seat_m=seat_m,
    )


SCENES = {
    "slow": straight(0.5),
    "walk": straight(1.3),
    "fast": straight(1.8),
    "start and stop": start_and_stop(),
    "turn": turn_in_place(),
    "circle": circle(),
    "about turn": about_turn(),
    "sit": sit_down(),
}


@pytest.fixture(scope="module")
def adult():
    return body(Shape(height_m=1.75), detail=0.3)


@pytest.fixture(scope="module")
def child():
    return body(Shape(height_m=1.15, age_years=6.0), detail=0.3)


def points(motion, t, bone):
    """(N, 3) m where the joint of a bone is at times (N,)."""
    row = motion.bones.names.index(bone)
    matrix = motion.poses(t)[:, row].astype(float)
    return matrix[..., :3] @ motion.bones.heads[row].astype(float) + matrix[..., 3]


def forward(motion, t, bone):
    """(N, 3) where a bone's front looks."""
    return motion.poses(t)[:, motion.bones.names.index(bone), :, 2].astype(float)


def soles(person, motion, t, sign):
    """(N, V, 3) m the lower side of one foot: +1 left, -1 right."""
    mesh = template(0.3)
    rows = np.arange(len(person.vertices))[mesh.parts["body"].rows]
    rows = rows[(person.vertices[rows, 1] < 0.017 * person.height_m) & (sign * person.vertices[rows, 0] > 0)]
    matrices = motion.poses(t).astype(float)[:, mesh.bones[rows]]  # (N, V, 8, 3, 4)
    blended = np.einsum("vk,nvkij->nvij", mesh.weights[rows], matrices)
    return np.einsum("nvij,vj->nvi", blended[..., :3], person.vertices[rows]) + blended[..., 3]


def in_stance(motion, t, side):
    steps = motion._walks[0].steps[side]
    return t < steps.lift_s[np.searchsorted(steps.land_s, t, side="right") - 1]


# --- footsteps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.8, 1.3, 1.7])
def test_steps_are_as_long_as_speed_and_cadence_say(adult, speed):
    left, right = Motion(adult.skeleton, straight(speed, 10.0), Style())._walks[0].steps
    land_s = np.sort(np.concatenate([left.land_s, right.land_s]))
    land_s = land_s[(land_s > 2) & (land_s < 8)]
    x = np.sort(np.concatenate([left.xy_m[:, 0], right.xy_m[:, 0]]))
    step_s, step_m = np.diff(land_s).mean(), np.diff(x[(x > 2 * speed) & (x < 8 * speed)]).mean()
    assert step_m == pytest.approx(speed * step_s, rel=0.01)
    # Step length / cadence is 0.0065 m min for a leg of 0.86 m, and grows as leg^1.5 (equal Froude numbers).
    leg_m = Motion(adult.skeleton, straight(speed), Style())._legs[0].length_m
    assert step_m / (60 / step_s) == pytest.approx(0.0065 * (leg_m / 0.86) ** 1.5, rel=0.03)


def test_a_child_takes_more_steps(adult, child):
    steps = [
        len(Motion(who.skeleton, straight(1.0, 10.0), Style())._walks[0].steps[0].land_s)
        for who in (adult, child)
    ]
    assert steps[1] > 1.2 * steps[0]


def test_feet_come_down_in_turn_and_each_on_its_side(adult):
    for name in ("walk", "slow", "start and stop", "circle"):
        left, right = Motion(adult.skeleton, SCENES[name], Style())._walks[0].steps
        for one, other in ((left, right), (right, left)):
            lift, land = one.lift_s[:-1], one.land_s[1:]
            assert (lift < land).all()
            # While one swings the other stands, all the time.
            k = np.searchsorted(other.land_s, lift, side="right") - 1
            assert (other.lift_s[k] >= land - 1e-9).all()
        before = (
            np.searchsorted(right.land_s, left.land_s[1:]) - 1
        )  # the right print when the left foot lands
        yaw = (left.yaw_rad[1:] + right.yaw_rad[before]) / 2
        to_right = right.xy_m[before] - left.xy_m[1:]
        assert (-np.sin(yaw) * to_right[:, 0] + np.cos(yaw) * to_right[:, 1] < -0.05).all()


def test_in_a_sharp_turn_nobody_squats_or_crosses_the_legs_for_long(adult):
    motion = Motion(adult.skeleton, about_turn(), Style())
    t = np.arange(0.5, 5.5, 0.02)
    hips = points(motion, t, "pelvis")[:, 2]
    assert hips.min() > 0.8 * hips.max()
    left = forward(motion, t, "pelvis") @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]])
    apart = ((points(motion, t, "foot_l") - points(motion, t, "foot_r")) * left).sum(1)
    assert (apart < 0).sum() * 0.02 < 0.4  # s, of half a turn in one second


def test_who_stands_still_keeps_both_feet_where_they_are(adult):
    motion = Motion(adult.skeleton, going(np.zeros((200, 2)), np.zeros(200), STANDING), Style())
    t = np.linspace(0.5, 9, 40)
    for bone in ("foot_l", "foot_r"):
        assert np.ptp(points(motion, t, bone), axis=0).max() < 1e-5
    assert np.ptp(points(motion, t, "head"), axis=0).max() > 0.005  # but is no statue


@pytest.mark.parametrize("angle", [np.pi, -np.pi / 2])
def test_turning_in_place_is_done_by_steps(adult, angle):
    motion = Motion(adult.skeleton, turn_in_place(angle), Style(toe_out_rad=0.0, restless=0.0))
    end = np.array([7.5])
    for bone in ("foot_l", "foot_r", "pelvis"):
        x, y, _ = forward(motion, end, bone)[0]
        assert abs(np.angle(np.exp(1j * (np.arctan2(y, x) - angle)))) < 0.42
    assert all(len(steps.land_s) >= 2 for steps in motion._walks[0].steps)


# --- planted feet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SCENES if name != "sit"])
def test_standing_soles_do_not_slip(adult, child, name):
    for person in (adult, child):
        motion = Motion(person.skeleton, SCENES[name], Style())
        t = np.arange(0.5, 5.5, 0.02)
        for side, sign in enumerate((1, -1)):
            planted = in_stance(motion, t, side)
            before, now, after = (soles(person, motion, t + d, sign) for d in (-0.002, 0.0, 0.002))
            lowest = now[..., 2].argmin(1)
            slip = np.linalg.norm((after - before)[np.arange(len(t)), lowest, :2], axis=1)[planted] / 0.004
            assert slip.mean() < 0.008 and np.percentile(slip, 95) < 0.02  # m/s


@pytest.mark.parametrize("name", SCENES)
def test_the_lowest_point_is_on_the_floor(adult, name):
    motion = Motion(adult.skeleton, SCENES[name], Style())
    t = np.arange(0.5, 5.8, 0.03)
    lowest = np.minimum(*(soles(adult, motion, t, sign)[..., 2].min(1) for sign in (1, -1)))
    assert lowest.min() > -0.009 and lowest.max() < 0.009


def test_shoes_lift_the_body(adult):
    t = np.arange(1, 4, 0.1)
    bare, shod = (Motion(adult.skeleton, SCENES["walk"], Style(), sole_m=sole) for sole in (0.0, 0.03))
    assert (points(shod, t, "head") - points(bare, t, "head"))[:, 2] == pytest.approx(0.03, abs=0.004)


# --- posture ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
def test_knees_bend_forwards_and_legs_stay_whole(adult, name):
    motion = Motion(adult.skeleton, SCENES[name], Style())
    t = np.arange(0.2, 5.8, 0.02)
    for side in "lr":
        hip, knee, ankle = (points(motion, t, f"{bone}_{side}") for bone in ("thigh", "calf", "foot"))
        thigh, calf = knee - hip, ankle - knee
        heads = {
            name: motion.bones.heads[motion.bones.names.index(f"{name}_{side}")]
            for name in ("thigh", "calf", "foot")
        }
        assert np.linalg.norm(thigh, axis=1) == pytest.approx(
            np.linalg.norm(heads["calf"] - heads["thigh"]), abs=1e-4
        )
        assert np.linalg.norm(calf, axis=1) == pytest.approx(
            np.linalg.norm(heads["foot"] - heads["calf"]), abs=3e-3
        )
        ahead = forward(motion, t, "pelvis") + forward(motion, t, f"foot_{side}")
        line = (ankle - hip) / np.linalg.norm(ankle - hip, axis=1, keepdims=True)
        bow = thigh - (thigh * line).sum(1, keepdims=True) * line
        assert ((bow * ahead).sum(1) > 0).all()
        cosine = (thigh * calf).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(calf, axis=1)
        bend = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        assert bend.max() < 115


def test_a_walk_looks_like_measured_ones(adult):
    """Against the textbook's curves at a comfortable speed (Winter 2009): ranges, not shapes."""
    motion = Motion(adult.skeleton, straight(1.3, 8.0), Style())
    steps = motion._walks[0].steps[0]
    k = int(np.searchsorted(steps.land_s, 3.0))
    stride_s = steps.land_s[k + 1] - steps.land_s[k]
    assert 0.57 < (steps.lift_s[k] - steps.land_s[k]) / stride_s < 0.65  # toe-off at about 60 % of the stride
    t = steps.land_s[k] + stride_s * np.arange(100) / 100
    hip, knee, ankle = (points(motion, t, bone) for bone in ("thigh_l", "calf_l", "foot_l"))
    thigh, calf = knee - hip, ankle - knee
    cosine = (thigh * calf).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(calf, axis=1)
    bend = np.degrees(np.arccos(cosine))
    assert 55 < bend.max() < 75 and 68 <= bend.argmax() <= 82  # swing
    assert bend[90:].min() < 15  # a straight leg comes down
    swing = np.degrees(np.arctan2(thigh[:, 0], -thigh[:, 2]))
    assert 22 < swing.max() < 38 and -25 < swing.min() < -8
    rise = np.ptp(points(motion, t, "pelvis")[:, 2])
    assert 0.02 < rise < 0.06


def test_arms_swing_against_the_legs(adult):
    motion = Motion(adult.skeleton, SCENES["walk"], Style())
    t = np.arange(2, 4, 0.02)
    pelvis = points(motion, t, "pelvis")[:, 0]
    arm, leg = points(motion, t, "hand_l")[:, 0] - pelvis, points(motion, t, "foot_l")[:, 0] - pelvis
    assert np.corrcoef(arm, leg)[0, 1] < -0.8
    assert 0.2 < np.ptp(arm) < 0.7


def test_hands_stay_outside_the_body(adult):
    for name in ("walk", "fast", "start and stop"):
        motion = Motion(adult.skeleton, SCENES[name], Style())
        t = np.arange(1, 5, 0.05)
        left = points(motion, t, "hand_l")[:, 1] - points(motion, t, "pelvis")[:, 1]
        hip = adult.skeleton.heads[adult.skeleton.names.index("thigh_l")][0]
        assert left.min() > 1.7 * hip


def test_the_body_follows_its_trajectory(adult):
    for name in ("walk", "slow", "circle", "start and stop"):
        trajectory = SCENES[name]
        motion = Motion(adult.skeleton, trajectory, Style())
        rows = slice(2, -2)
        away = points(motion, trajectory.t_s[rows], "pelvis")[:, :2] - trajectory.xy_m[rows]
        assert np.linalg.norm(away, axis=1).max() < 0.1
        front = forward(motion, trajectory.t_s[rows], "pelvis")
        off = np.arctan2(front[:, 1], front[:, 0]) - trajectory.heading_rad[rows]
        assert np.abs(np.angle(np.exp(1j * off))).max() < np.radians(15)


@pytest.mark.parametrize("seat_m", [0.4, 0.5])
def test_who_sits_has_the_hips_on_the_seat_and_the_feet_in_front(adult, seat_m):
    motion = Motion(adult.skeleton, sit_down(seat_m), Style())
    t = np.arange(4.0, 8.0, 0.25)
    hips = points(motion, t, "thigh_l")
    assert hips[:, 2] == pytest.approx(seat_m + 0.1, abs=0.03)
    thigh_m = motion._legs[0].thigh_m
    assert hips[:, 0] == pytest.approx(
        -0.95 * thigh_m, abs=0.06
    )  # the trajectory's place is that of the feet
    for bone in ("foot_l", "foot_r"):
        feet = points(motion, t, bone)
        assert np.ptp(feet, axis=0).max() < 1e-3
        assert np.abs(feet[:, 0]).max() < 0.12
    assert points(motion, np.array([1.0, 11.0]), "pelvis")[:, 2].min() > 0.8  # walking before and after


def test_a_small_child_lets_the_feet_hang(child):
    motion = Motion(child.skeleton, sit_down(0.5), Style())
    assert (
        points(motion, np.array([6.0]), "foot_l")[0, 2]
        > 0.06 + points(motion, np.array([2.2]), "foot_l")[0, 2]
    )


def test_a_phone_is_held_up_by_who_stands(adult):
    motions = [
        Motion(adult.skeleton, SCENES["start and stop"], Style(right_arm=arm)) for arm in ("free", "phone")
    ]
    free, phone = (points(motion, np.array([0.5]), "hand_r")[0, 2] for motion in motions)
    assert phone > free + 0.2


# --- no jumps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
def test_accelerations_are_bounded(adult, name):
    motion = Motion(adult.skeleton, SCENES[name], Style())
    step = 0.01
    t = np.arange(0.1, SCENES[name].t_s[-1] - 0.1, step)
    # m/s^2; a place that jumps by 1 cm would show as 0.01 / 0.01^2 = 100, of a nearly straight knee twice that
    most = {"pelvis": 25, "head": 25, "hand_l": 40, "foot_l": 90, "foot_r": 90, "calf_l": 200}
    rows = [motion.bones.names.index(bone) for bone in most]
    matrices = motion.poses(t)[:, rows].astype(float)
    there = np.einsum("nbij,bj->nbi", matrices[..., :3], motion.bones.heads[rows]) + matrices[..., 3]
    largest = np.linalg.norm(np.diff(there, 2, axis=0), axis=2).max(0) / step**2
    assert (largest < list(most.values())).all(), dict(zip(most, largest))


def test_somebody_who_comes_back_is_there_from_the_first_moment(adult):
    # In the scene during 0-3 s and 6-9 s, at places far from each other.
    t = np.arange(0, 9, STEP_S)
    x = np.where(t < 4.5, t, 40 + t)
    activity = np.where((t < 3) | (t >= 6), WALKING, ABSENT)
    motion = Motion(adult.skeleton, going(np.stack([x, 0 * x], 1), 0 * x, activity), Style())
    for begin, end in ((0.0, 2.9), (6.0, 8.9)):
        now = np.arange(begin, end, 0.01)
        pelvis = points(motion, now, "pelvis")
        assert np.abs(pelvis[:, 0] - np.interp(now, t, x)).max() < 0.08
        speed = np.diff(pelvis[:, 0]) / 0.01
        assert speed.min() > 0.7 and speed.max() < 1.3  # walking at 1 m/s from the first moment to the last


# --- laws -------------------------------------------------------------------------------------------------------------


def test_matrices_are_rigid(adult):
    matrices = Motion(adult.skeleton, SCENES["walk"], Style()).matrices(2.0)
    assert matrices.shape == (len(adult.skeleton.names), 3, 4) and matrices.dtype == np.float32
    turns = matrices[..., :3]
    assert turns @ turns.transpose(0, 2, 1) == pytest.approx(np.tile(np.eye(3), (len(turns), 1, 1)), abs=1e-5)
    assert np.linalg.det(turns) == pytest.approx(1.0, abs=1e-5)


def test_many_times_at_once_are_the_times_one_by_one(adult):
    motion = Motion(adult.skeleton, SCENES["sit"], Style())
    t = np.linspace(-1, 13, 29)
    assert np.array_equal(motion.poses(t), np.stack([motion.matrices(now) for now in t]))


def test_moving_and_turning_the_trajectory_moves_and_turns_the_motion(adult):
    here = SCENES["circle"]
    turn, shift = 0.7, np.array([5.0, -3.0])
    c, s = np.cos(turn), np.sin(turn)
    spun = here.xy_m @ np.array([[c, s], [-s, c]]) + shift
    there = replace(here, xy_m=spun, heading_rad=here.heading_rad + turn)
    t = np.linspace(0.5, 5, 10)
    for bone in ("head", "foot_l", "hand_r"):
        a, b = (points(Motion(adult.skeleton, path, Style()), t, bone) for path in (here, there))
        assert b[:, :2] == pytest.approx(a[:, :2] @ np.array([[c, s], [-s, c]]) + shift, abs=1e-4)
        assert b[:, 2] == pytest.approx(a[:, 2], abs=1e-4)


def test_styles_come_from_the_seed_alone():
    assert gait.draw_style(np.random.default_rng(3)) == gait.draw_style(np.random.default_rng(3))
    assert gait.draw_style(np.random.default_rng(3)) != gait.draw_style(np.random.default_rng(4))
    assert gait.draw_style(np.random.default_rng(3), left_arm="load").left_arm == "load"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_trajectories_of_a_few_moments_are_fine(adult, count):
    trajectory = going(np.zeros((count, 2)), np.zeros(count), STANDING)
    assert np.isfinite(Motion(adult.skeleton, trajectory, Style()).matrices(0.0)).all()


def test_who_is_never_there_has_a_pose_nevertheless(adult):
    trajectory = going(np.zeros((20, 2)), np.zeros(20), ABSENT)
    assert np.isfinite(Motion(adult.skeleton, trajectory, Style()).matrices(0.3)).all()
