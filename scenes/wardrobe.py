"""Dressing people: a `Look` becomes a `Figure`, garment by garment. `dress` is a function of the look alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scenes import garments as cut
from scenes import patterns, props
from scenes.body import Floats
from scenes.garments import Cloth, Colour, Line, Paint, step
from scenes.looks import CHOICES as CHOICES
from scenes.looks import PATTERNS, Look, is_skirt, shape_of
from scenes.looks import UNIFORM as UNIFORM
from scenes.looks import draw_look as draw_look
from scenes.records import Figure
from scenes.tailor import Tailor


def dress(look: Look, *, detail: float = 1.0) -> Figure:
    """The dressed figure of a look, with about ``detail`` (0, 1] of the triangles."""
    tailor = Tailor(shape_of(look), detail)
    _wear_shoes(tailor, look)
    _wear_bottom(tailor, look)
    _wear_top(tailor, look)
    _wear_coat(tailor, look)
    _wear_scarf(tailor, look)
    _wear_hair(tailor, look)
    _carry(tailor, look)
    _show_skin(tailor, look)
    return tailor.figure()


def _paint(colour: Colour, colour2: Colour, pattern: str, scale: float) -> Paint:
    """A garment's paint, with the density that suits its pattern."""
    frequency = {
        "melange": 110.0,
        "pinstripes": 3.0 * scale,
        "block": 1 / (1.38 - 0.011 * scale),
        "print": 1 / (0.05 + 0.9 / (scale + 4)),
        "denim": 60.0,
        "dots": 1.6 * scale,
        "camouflage": 10.0,
    }.get(pattern, scale)
    soft: Colour = colour2
    if pattern == "melange":
        red, green, blue = (0.8 * part + 0.04 for part in colour)
        soft = (red, green, blue)
    return Paint(colour, soft, PATTERNS[pattern], frequency)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, part * factor) for part in colour)
    return red, green, blue


def _wear_shoes(tailor: Tailor, look: Look) -> None:
    c = tailor.cloth("tights")
    sole = step(c.y, 0.030, 0.0)
    move = np.zeros((len(c.y), 3), np.float32)
    move[:, 1] = -0.008 * sole
    move[:, 2] = 0.004 * step(c.z, 0.1, 0.2)
    at = c.paint + np.array([0, 0.020, 0], np.float32)
    paint = Paint(
        look.shoe_colour,
        look.sole_colour,
        patterns.BLOCK,
        1 / 0.024,
        0.15 if look.shoes == "sneakers" else 0.4,
    )
    push = 0.007 + 0.004 * sole
    if look.shoes == "flats":
        tailor.wear(cut.flats, push, paint, move=move, at=at, cover=True)
        return
    height = {"sneakers": 0.088, "shoes": 0.080, "boots": 0.20, "high boots": 0.40}[look.shoes]
    above_ankle = step(c.y, 0.08, 0.14)
    over_trousers = 0.010 if look.shoes == "high boots" else 0.004
    tailor.wear(cut.shoes(height), push + over_trousers * above_ankle, paint, move=move, at=at, cover=True)


def _wear_bottom(tailor: Tailor, look: Look) -> None:
    paint = _paint(look.bottom_colour, look.bottom_colour2, look.bottom_pattern, look.top_scale)
    if is_skirt(look):
        _wear_skirt(tailor, look, paint)
        return
    c = tailor.cloth("tights")
    length = 0.045 if look.bottom != "shorts" else 0.42 + 0.20 * (1 - look.bottom_length)
    line = cut.meet(cut.below(1.00), cut.legs(length))
    loose = {"jeans": 0.30, "trousers": 0.55, "wide trousers": 1.5, "leggings": 0.0, "shorts": 0.9}
    wide_by = loose[look.bottom]
    if look.bottom == "shorts" and look.legwear is not None:
        tailor.wear(cut.shoes(0.13 + 0.14 * look.fit), 0.002, Paint(look.legwear), cover=True)
    if look.shoes == "high boots" and look.bottom != "shorts":
        wide_by = 0.0  # the trousers are inside
    legs = step(c.y, 0.85, 0.62)
    narrow = 0.020 * step(c.y, 0.45, 0.20)  # the calf's taper, which straight legs do not follow
    wide = 0.003 + wide_by * legs * (0.012 + narrow * (0.8 + 0.6 * look.fit))
    wide = wide + 0.008 * wide_by * step(c.y, 0.10, 0.05)
    if look.tucked and paint.pattern == patterns.PLAIN:  # a belt
        paint = Paint(_shade(look.shoe_colour, 0.9), look.bottom_colour, patterns.BLOCK, 1 / 0.972)
    tailor.wear(line, wide, paint, cover=True)


def _wear_skirt(tailor: Tailor, look: Look, paint: Paint) -> None:
    c = tailor.cloth("skirt")
    length = 0.62 - 0.38 * look.bottom_length
    flare = (0.002 + 0.05 * look.fit) * step(c.y, 0.98, length)
    line = cut.meet(cut.below(1.03), cut.above(length))
    tailor.wear(line, 0.008 + flare, paint, part="skirt")
    tailor.covers.append(_well_above(length))  # a leg swings within the skirt: none of it may show through
    if look.legwear is not None:
        tailor.wear(
            cut.meet(cut.below(0.9), cut.legs(0.03)),
            0.001,
            Paint(look.legwear),
            hidden=[line],
            cover=True,
        )


def _well_above(hem: float) -> Line:
    return cut.meet(cut.below(1.0), cut.above(hem - 0.045))


def _top_line(look: Look) -> tuple[Line, float]:
    """The cut of a top, and how far its neck reaches above the usual."""
    depth, vee, high = {
        "t-shirt": (0.050, 0.0, 0.0),
        "tank top": (0.115, 0.0, -0.012),
        "polo": (0.040, 0.06, 0.0),
        "shirt": (0.035, 0.05, 0.0),
        "blouse": (0.045, 0.09, 0.0),
        "sweater": (0.045, 0.08 if look.fit > 0.75 else 0.0, 0.0),
        "turtleneck": (0.02, 0.0, 0.045),
        "hoodie": (0.035, 0.0, 0.005),
    }[look.top]
    hem = (
        1.0
        if look.tucked or look.bottom == "dress"
        else {"hoodie": 0.90, "sweater": 0.91}.get(look.top, 0.93 - 0.06 * look.fit)
    )
    if look.bottom == "dress":
        hem = 0.96
    ends = _straps_only if look.top == "tank top" else cut.sleeves(look.sleeve)
    width = 0.07 if look.top == "tank top" else 1.0
    return cut.meet(cut.above(hem), ends, cut.neckline(depth, vee, high, width)), hem


def _straps_only(c: Cloth) -> Floats:
    """Not beyond the straps of a tank top."""
    return np.asarray(0.120 + 0.6 * np.maximum(0, 1.33 - c.y) - np.abs(c.x), np.float32)


def _wear_top(tailor: Tailor, look: Look) -> None:
    line, hem = _top_line(look)
    c = tailor.cloth("tights")
    colours = (look.top_colour, look.top_colour2, look.top_pattern)
    if look.bottom == "dress":
        colours = (look.bottom_colour, look.bottom_colour2, look.bottom_pattern)
    paint = _paint(*colours, look.top_scale)
    thick = {"sweater": 0.005, "hoodie": 0.007, "turtleneck": 0.002}.get(look.top, 0.0)
    drape = 0.15 + 0.8 * look.fit if look.top in ("hoodie", "sweater") else 0.75 * look.fit
    if look.bottom == "dress" or look.coat != "none":
        drape *= 0.3
    free = np.where(c.arm > 0.4, 0, drape * c.hang * (step(c.y, 0.99, 1.06) if look.tucked else 1.0))
    sleeve = (0.003 + 0.014 * look.fit * (look.coat == "none")) * step(c.along_arm, 0.0, 0.5) * (c.arm > 0.3)
    if look.sleeve > 1.5:
        sleeve = sleeve * step(c.along_arm, 2.0, 1.75)
    over = 0.005 * (not look.tucked) * step(c.y, 1.06, 0.98)
    push = 0.006 + thick + free + sleeve + over
    if look.top in ("sweater", "hoodie") and colours[2] == "plain" and look.bottom != "dress":
        paint = replace(
            paint, colour2=_shade(look.top_colour, 0.82), pattern=patterns.BLOCK, frequency=1 / (hem + 0.04)
        )
    hidden = [_coat_line(look)] if look.coat != "none" and look.coat_gap == 0 else []
    tint = _tint(c, colours[2])
    tailor.wear(line, push, paint, at=_print_at(c, look), hidden=hidden, tint=tint, cover=True)
    trim = Paint(_shade(look.top_colour, 0.85), gloss=0.05)
    if look.coat == "none" and look.top in ("shirt", "blouse", "polo") and look.bottom != "dress":
        low = hem + 0.01 if look.top != "polo" else 1.30
        tailor.add(props.front_strip(tailor.detail, 0.028, round(low, 2), 1.38), trim)
    if look.top in ("shirt", "polo") and look.bottom != "dress":
        tailor.wear(
            cut.collar(1.435, 1.492, 0.022),
            0.012 + 0.004 * step(c.y, 1.48, 1.44),
            Paint(_shade(look.top_colour, 0.93)),
        )
    if look.top == "hoodie" and look.coat == "none":
        tailor.add(props.hood(tailor.detail), replace(paint, pattern=patterns.PLAIN))


def _print_at(c: Cloth, look: Look) -> Floats | None:
    """Where a print is painted: on the chest, some on the back as well."""
    if look.top_pattern != "print" or look.bottom == "dress":
        return None
    at = c.paint - np.array([0, 1.24, 0], np.float32)
    if look.top_scale > 17:
        at[:, 2] = np.abs(at[:, 2])
    return at


def _tint(c: Cloth, pattern: str) -> Floats | None:
    if pattern == "sleeves":
        return np.asarray(step(c.along_arm, -0.04, 0.06) * (c.arm > 0.3), np.float32)
    if pattern == "fade":
        return step(c.paint[:, 1], 1.38, 0.95)
    return None


def _coat_line(look: Look) -> Line:
    """Where a closed coat is above the hips."""
    lines = [cut.above(_coat_hem(look)), cut.neckline(0.04, 0.16 if look.coat == "blazer" else 0.03, 0.012)]
    lines.append(cut.sleeves(0.12 if look.coat == "vest" else 2.0))
    if look.coat_gap:
        lines.append(cut.open_front(0.012 + 0.05 * look.coat_gap, 0.09 * look.coat_gap))
    return cut.meet(*lines)


def _coat_hem(look: Look) -> float:
    return {"coat": 0.93, "blazer": 0.83, "puffer": 0.88}.get(look.coat, 0.885)


def _wear_coat(tailor: Tailor, look: Look) -> None:
    if look.coat == "none":
        return
    c = tailor.cloth("tights")
    thick = {"puffer": 0.030, "vest": 0.020, "coat": 0.020, "jacket": 0.017, "blazer": 0.015}[look.coat]
    paint = _paint(look.coat_colour, look.coat_colour2, look.coat_pattern, 12.0)
    if look.coat in ("puffer", "vest") and paint.pattern == patterns.PLAIN:  # quilted
        paint = replace(
            paint, colour2=_shade(look.coat_colour, 0.88), pattern=patterns.STRIPES, frequency=13.0
        )
    arms = (c.arm > 0.3) * (0.004 + 0.4 * (thick - 0.012)) * step(c.along_arm, -0.2, 0.3)
    drape = {"blazer": 0.45, "vest": 0.6}.get(look.coat, 0.85)
    push = np.where(c.arm > 0.4, 0.6, 1.0) * thick + 0.004 + arms + np.where(c.arm > 0.4, 0, drape * c.hang)
    line = _coat_line(look)
    tailor.wear(line, push, paint, tint=_tint(c, look.coat_pattern), cover=look.coat_gap == 0)
    if look.coat == "coat":
        _wear_coat_skirt(tailor, look, paint, thick)
    trim = Paint(_shade(look.coat_colour, 0.72), gloss=0.1)
    if look.coat_gap == 0 and look.coat != "blazer":
        tailor.add(props.front_strip(tailor.detail, 0.014, round(_coat_hem(look), 2), 1.40), trim)
    if look.coat in ("coat", "jacket", "puffer"):
        tailor.wear(
            cut.collar(1.415, 1.495, 0.03 + 0.03 * look.coat_gap),
            thick + 0.010 * step(c.y, 1.49, 1.44),
            Paint(_shade(look.coat_colour, 0.88)),
        )


def _wear_coat_skirt(tailor: Tailor, look: Look, paint: Paint, thick: float) -> None:
    """The part of a coat below the hip."""
    c = tailor.cloth("skirt")
    length = 0.74 - 0.44 * look.coat_length
    lines = [cut.below(0.97), cut.above(length)]
    if look.coat_gap:
        gap = 0.012 + 0.05 * look.coat_gap + 0.09 * look.coat_gap * (1.44 - 0.95)
        lines.append(cut.open_front(gap, 0.10, 0.95))
    tailor.wear(
        cut.meet(*lines), thick + 0.012 + 0.03 * step(c.y, 0.95, length), paint, part="skirt", cover=False
    )


def _on_shoulders(tailor: Tailor) -> float:
    c = tailor.cloth("tights")
    return tailor.thickness((c.y > 1.36) & (c.y < 1.44) & (c.arm < 0.4))


def _wear_scarf(tailor: Tailor, look: Look) -> None:
    if look.scarf is None:
        return
    c = tailor.cloth("tights")
    paint = Paint(look.scarf, _shade(look.scarf, 0.75), patterns.MELANGE, 60.0)
    around = 0.020 + 0.016 * step(c.y, 1.50, 1.45)
    tailor.wear(cut.collar(1.43, 1.515, -1.0), around + 0.5 * _on_shoulders(tailor), paint)


def _wear_hair(tailor: Tailor, look: Look) -> None:
    c = tailor.cloth("body")
    paint = Paint(look.hair_colour, _shade(look.hair_colour, 0.72), patterns.MELANGE, 140.0, 0.2)
    covered = look.hat in ("beanie", "cap", "hat", "headscarf")
    if look.hat == "headscarf":
        _wear_headscarf(tailor, look)
    else:
        _wear_own_hair(tailor, look, c, paint, covered)
        _wear_hat(tailor, look, c)
    _wear_beard(tailor, look, c)
    if look.glasses != "none":
        dark = look.glasses == "dark"
        tailor.add(
            props.glasses(tailor.detail),
            Paint((0.05, 0.05, 0.06) if dark else (0.22, 0.20, 0.20), gloss=0.6 if dark else 0.4),
        )


def _wear_own_hair(tailor: Tailor, look: Look, c: Cloth, paint: Paint, covered: bool) -> None:
    if look.hair == "bald":
        return
    inside = cut.skull(c, 1.668 if look.hair in ("buzz",) else 1.655)
    if look.hair == "ring":
        inside = np.minimum(inside, 1.648 - c.y - 0.12 * np.maximum(0, c.z - 0.06)).astype(np.float32)
    volume = {"buzz": 0.003, "ring": 0.006, "short": 0.013, "quiff": 0.015, "afro": 0.055}.get(
        look.hair, 0.010
    )
    if covered:
        volume = min(volume, 0.006)
    grown = volume * step(inside, 0.0, 0.035 + 0.5 * volume) + 0.002
    if look.hair == "quiff" and not covered:
        grown = grown + 0.022 * step(c.z, 0.02, 0.11) * step(c.y, 1.63, 1.68)
    tailor.wear(inside, grown, paint, part="body")
    if look.hair == "long":
        tailor.add(props.long_hair(tailor.detail, round(look.hair_length_m, 2), 0.95), paint)
    elif look.hair == "bob":
        tailor.add(
            props.bob(
                tailor.detail, round(0.17 + 0.25 * (look.hair_length_m - 0.3), 2), 1.04 + 0.12 * look.fit
            ),
            paint,
        )
    elif look.hair == "ponytail":
        tailor.add(props.pony_tail(tailor.detail, round(0.16 + 0.4 * (look.hair_length_m - 0.3), 2)), paint)
    elif look.hair == "bun":
        tailor.add(props.bun(tailor.detail, high=look.hair_length_m > 0.5 and not covered), paint)


def _wear_headscarf(tailor: Tailor, look: Look) -> None:
    paint = Paint(look.hat_colour, _shade(look.hat_colour, 0.85), patterns.MELANGE, 25.0)
    c = tailor.cloth("body")
    face = 1 - np.hypot(c.x / 0.062, (c.y - 1.575) / 0.092)
    around = np.where((c.z > 0.05) & (c.y > 1.46), -0.08 * face, cut.INSIDE)
    inside = np.minimum(around, c.y - 1.400 - 0.35 * np.maximum(0, np.abs(c.x) - 0.06)).astype(np.float32)
    push = 0.014 + 0.018 * step(c.y, 1.56, 1.47) + _on_shoulders(tailor) * step(c.y, 1.47, 1.42)
    tailor.wear(inside, push, paint, part="body")


def _wear_hat(tailor: Tailor, look: Look, c: Cloth) -> None:
    if look.hat == "none":
        return
    paint = Paint(look.hat_colour, _shade(look.hat_colour, 0.8), patterns.MELANGE, 120.0)
    low = {"cap": 1.645, "beanie": 1.628, "hat": 1.650}[look.hat]
    inside = np.where(c.head > 0.35, c.y - low - 0.25 * np.maximum(0, c.z - 0.06), -cut.INSIDE).astype(
        np.float32
    )
    push = 0.014 + (0.012 * step(c.y, 1.66, 1.70) if look.hat == "beanie" else 0.006)
    move = None
    if look.hat == "hat":
        move = np.zeros((len(c.y), 3), np.float32)
        move[:, 1] = 0.045 * step(c.y, 1.65, 1.69)
    tailor.wear(inside, push, paint, part="body", move=move)
    if look.hat == "cap":
        tailor.add(props.visor(tailor.detail), replace(paint, pattern=patterns.PLAIN))
    elif look.hat == "hat":
        tailor.add(props.brim(tailor.detail, 0.06), replace(paint, pattern=patterns.PLAIN))
    else:
        rim = np.minimum(inside, low + 0.035 + 0.25 * np.maximum(0, c.z - 0.06) - c.y).astype(np.float32)
        tailor.wear(rim, push + 0.006, Paint(_shade(look.hat_colour, 0.85)), part="body")


def _wear_beard(tailor: Tailor, look: Look, c: Cloth) -> None:
    if look.beard == "none":
        return
    dark = np.array(_shade(look.hair_colour, 0.85))
    if look.beard == "stubble":
        dark = 0.35 * dark + 0.65 * np.array(look.skin) * 0.9
    colour: Colour = (float(dark[0]), float(dark[1]), float(dark[2]))
    paint = Paint(colour, _shade(colour, 0.8), patterns.MELANGE, 160.0)
    if look.beard in ("full", "stubble"):
        inside = cut.jaw(c)
        tailor.wear(
            inside,
            0.001 + (0.011 if look.beard == "full" else 0.0) * step(inside, 0.0, 0.025),
            paint,
            part="body",
        )
    if look.beard in ("full", "moustache"):
        tailor.wear(cut.moustache(c), 0.005, paint, part="body")


def _carry(tailor: Tailor, look: Look) -> None:
    if look.bag == "none":
        return
    paint = Paint(look.bag_colour, _shade(look.bag_colour, 0.8), gloss=0.15)
    dark = Paint(_shade(look.bag_colour, 0.6), gloss=0.1)
    detail, size, side = tailor.detail, round(look.bag_size, 1), look.bag_side
    if look.bag == "backpack":
        tailor.add(props.backpack(detail, size), paint, ball=True)
        tailor.add(props.backpack_straps(detail), dark)
        return
    if look.bag == "messenger":
        bag, rest = props.messenger(detail, size, side)
    elif look.bag == "shoulder bag":
        bag, rest = props.shoulder_bag(detail, size, side)
    else:
        bag, rest = props.hand_bag(detail, look.bag, size, side)
    tailor.add(bag, paint, ball=True)
    tailor.add(rest, dark)


def _show_skin(tailor: Tailor, look: Look) -> None:
    """The skin where no garment hides it, and the eyes."""
    c = tailor.cloth("body")
    at = c.paint.copy()
    head = c.head > 0.5
    at[head] -= np.array([0, cut.EYES_Y, 0.12], np.float32)
    at[~head] = (0, -1, -1)  # away from what is painted on a face
    tailor.wear(
        None,
        0.0,
        Paint(look.skin, _shade(look.hair_colour, 0.8), patterns.FACE, 1.0, 0.1),
        part="body",
        hidden=tailor.covers,
        at=at,
    )
    tailor.wear(None, 0.0, Paint((0.16, 0.12, 0.10), gloss=0.5), part="eyes")
