"""Who somebody is and what he or she wears: drawn by chance as a `Look`, made into a `Figure`.

A look is plain values, so that it can be written into a scene file; `dress` is a function of the look alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes import garments as cut
from scenes import patterns, props
from scenes.body import CANON_HEIGHT_M, Body, Floats, Shape, body, normals, template
from scenes.garments import Cloth, Colour, Line, Paint, cloth, step
from scenes.records import Figure, Surface

PATTERNS = {
    "plain": patterns.PLAIN,
    "melange": patterns.MELANGE,
    "stripes": patterns.STRIPES,
    "pinstripes": patterns.PINSTRIPES,
    "checks": patterns.CHECKS,
    "block": patterns.BLOCK,
    "print": patterns.PRINT,
    "dots": patterns.DOTS,
    "denim": patterns.DENIM,
    "camouflage": patterns.CAMOUFLAGE,
    "sleeves": patterns.PLAIN,  # which are of the second colour
    "fade": patterns.PLAIN,  # into the second colour, downwards
}
CHOICES: dict[str, tuple[str, ...]] = {
    "gender": ("female", "male"),
    "hair": ("bald", "ring", "buzz", "short", "quiff", "afro", "bob", "long", "ponytail", "bun"),
    "beard": ("none", "stubble", "moustache", "full"),
    "glasses": ("none", "clear", "dark"),
    "top": ("t-shirt", "tank top", "polo", "shirt", "blouse", "sweater", "turtleneck", "hoodie"),
    "top_pattern": tuple(PATTERNS),
    "bottom": ("jeans", "trousers", "wide trousers", "leggings", "shorts", "skirt", "dress"),
    "bottom_pattern": tuple(PATTERNS),
    "coat": ("none", "jacket", "blazer", "puffer", "vest", "coat"),
    "coat_pattern": tuple(PATTERNS),
    "shoes": ("sneakers", "shoes", "boots", "high boots", "flats"),
    "hat": ("none", "cap", "beanie", "hat", "headscarf"),
    "bag": ("none", "backpack", "messenger", "shoulder bag", "handbag", "carrier", "briefcase"),
}
_CLOTHES = {  # what the same clothes for everybody means, by garment
    "top": ("top", "top_colour", "top_colour2", "top_pattern", "top_scale", "sleeve", "tucked", "fit"),
    "bottom": ("bottom", "bottom_colour", "bottom_colour2", "bottom_pattern", "bottom_length", "legwear"),
    "coat": ("coat", "coat_colour", "coat_colour2", "coat_pattern", "coat_length", "coat_gap"),
    "shoes": ("shoes", "shoe_colour", "sole_colour"),
    "hat": ("hat", "hat_colour", "scarf"),
}


@dataclass(frozen=True)
class Look:
    """One person. Colours are red, green, blue in [0, 1] as a display shows them; shares in [0, 1]."""

    height_m: float = 1.72
    gender: str = "male"
    age_years: float = 35.0
    muscle: float = 0.5
    weight: float = 0.5
    ancestry: tuple[float, float, float] = (0.0, 0.0, 1.0)  # African, Asian, Caucasian
    shoulders: float = 0.0  # [-1, 1], narrow to broad
    hips: float = 0.0
    belly: float = 0.0
    bust: float = 0.0
    legs: float = 0.0
    skin: Colour = (0.85, 0.67, 0.56)
    hair: str = "short"
    hair_colour: Colour = (0.16, 0.11, 0.08)
    hair_length_m: float = 0.4  # of long hair and tails
    beard: str = "none"
    glasses: str = "none"
    top: str = "t-shirt"
    top_colour: Colour = (0.25, 0.30, 0.40)
    top_colour2: Colour = (0.85, 0.85, 0.83)
    top_pattern: str = "plain"
    top_scale: float = 14.0  # stripes and the like per metre
    sleeve: float = 0.7  # where sleeves end: 0 shoulder, 1 elbow, 2 wrist
    tucked: bool = False
    fit: float = 0.5  # tight to loose
    bottom: str = "jeans"
    bottom_colour: Colour = (0.16, 0.20, 0.31)
    bottom_colour2: Colour = (0.30, 0.36, 0.48)
    bottom_pattern: str = "denim"
    bottom_length: float = 0.5  # of shorts, skirts and dresses, within what is usual
    legwear: Colour | None = None  # tights below skirts, socks below shorts; None: bare legs
    coat: str = "none"
    coat_colour: Colour = (0.12, 0.13, 0.16)
    coat_colour2: Colour = (0.3, 0.3, 0.32)
    coat_pattern: str = "plain"
    coat_length: float = 0.3  # of coats: 0 hip, 1 calf
    coat_gap: float = 0.0  # 0 closed, else how wide open
    shoes: str = "sneakers"
    shoe_colour: Colour = (0.12, 0.12, 0.13)
    sole_colour: Colour = (0.80, 0.80, 0.78)
    hat: str = "none"
    hat_colour: Colour = (0.2, 0.2, 0.22)
    scarf: Colour | None = None
    bag: str = "none"
    bag_colour: Colour = (0.15, 0.15, 0.17)
    bag_size: float = 1.0
    bag_side: int = 1  # 1 left, -1 right

    def __post_init__(self) -> None:
        """Check what a scene file may have said.

        Raises:
            ValueError: A kind that does not exist, a colour that is none, a height that nobody has.
        """
        wrong = [
            f"{name} {getattr(self, name)!r}: one of {', '.join(allowed)}"
            for name, allowed in CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        for name in _COLOURS:
            value = getattr(self, name)
            if isinstance(value, list | tuple) and len(value) == 3 and all(0 <= part <= 1 for part in value):
                object.__setattr__(self, name, tuple(float(part) for part in value))
            elif value is not None or name not in ("legwear", "scarf"):
                wrong.append(f"{name} {value!r}: three numbers from 0 to 1")
        if not 0.9 <= self.height_m <= 2.3:
            wrong.append(f"height_m {self.height_m}: from 0.9 to 2.3")
        if wrong:
            raise ValueError("; ".join(wrong))


_COLOURS = (
    "skin",
    "legwear",
    "scarf",
    *(field.name for field in fields(Look) if field.name.endswith(("colour", "colour2"))),
)


def is_skirt(look: Look) -> bool:
    return look.bottom in ("skirt", "dress")


# ---- drawing ----

_NEUTRAL = (
    ((0.07, 0.07, 0.08), 5.0),
    ((0.13, 0.14, 0.17), 3.0),
    ((0.24, 0.25, 0.27), 2.5),
    ((0.42, 0.43, 0.45), 2.5),
    ((0.62, 0.62, 0.62), 1.5),
    ((0.12, 0.16, 0.28), 4.0),
)
_TOP_COLOURS = (
    *_NEUTRAL,
    ((0.88, 0.88, 0.86), 5.0),
    ((0.20, 0.30, 0.52), 2.0),
    ((0.45, 0.60, 0.78), 2.0),
    ((0.62, 0.12, 0.14), 1.6),
    ((0.36, 0.10, 0.14), 1.2),
    ((0.16, 0.32, 0.22), 1.2),
    ((0.36, 0.38, 0.24), 1.2),
    ((0.80, 0.74, 0.62), 1.6),
    ((0.84, 0.66, 0.20), 0.8),
    ((0.82, 0.42, 0.16), 0.6),
    ((0.82, 0.58, 0.60), 1.0),
    ((0.46, 0.30, 0.50), 0.8),
    ((0.20, 0.52, 0.52), 0.8),
    ((0.45, 0.32, 0.22), 1.0),
)
_JEANS = (
    ((0.13, 0.16, 0.25), 4.0),
    ((0.22, 0.29, 0.42), 3.0),
    ((0.42, 0.50, 0.62), 1.5),
    ((0.09, 0.09, 0.10), 3.0),
    ((0.40, 0.41, 0.43), 0.8),
)
_TROUSERS = (
    *_NEUTRAL,
    ((0.58, 0.50, 0.38), 2.5),
    ((0.30, 0.30, 0.22), 1.5),
    ((0.34, 0.24, 0.17), 1.0),
    ((0.82, 0.80, 0.75), 0.8),
    ((0.40, 0.12, 0.14), 0.3),
)
_COATS = (
    *_NEUTRAL,
    ((0.60, 0.48, 0.34), 2.0),
    ((0.28, 0.30, 0.20), 2.0),
    ((0.34, 0.22, 0.15), 1.2),
    ((0.55, 0.12, 0.13), 0.9),
    ((0.18, 0.34, 0.58), 0.9),
    ((0.80, 0.77, 0.70), 0.9),
    ((0.83, 0.62, 0.15), 0.5),
    ((0.76, 0.52, 0.55), 0.4),
    ((0.16, 0.36, 0.30), 0.6),
)
_SHOES = (
    ((0.07, 0.07, 0.08), 8.0),
    ((0.16, 0.16, 0.18), 3.0),
    ((0.28, 0.18, 0.11), 2.5),
    ((0.36, 0.24, 0.15), 1.5),
    ((0.40, 0.40, 0.42), 1.2),
    ((0.13, 0.17, 0.30), 1.2),
    ((0.86, 0.86, 0.84), 2.0),
    ((0.55, 0.14, 0.14), 0.4),
)
_HAIR = (
    ((0.05, 0.045, 0.045), 4.0),
    ((0.12, 0.085, 0.065), 4.0),
    ((0.22, 0.15, 0.10), 3.0),
    ((0.36, 0.25, 0.16), 1.8),
    ((0.58, 0.46, 0.29), 1.2),
    ((0.42, 0.20, 0.11), 0.6),
)
_GREY_HAIR = ((0.42, 0.42, 0.42), (0.62, 0.62, 0.61), (0.80, 0.80, 0.79))
_SKINS = np.array([[0.38, 0.26, 0.19], [0.82, 0.64, 0.50], [0.89, 0.70, 0.60]])  # at mean, by ancestry


class _Dice:
    """Draws in a fixed order; what is given beforehand stays, and shifts no later draw."""

    def __init__(self, rng: np.random.Generator, given: dict[str, Any]) -> None:
        self.rng = rng
        self.values = dict(given)
        self._given = frozenset(given)

    def set(self, name: str, value: Any) -> Any:
        if name not in self._given:
            self.values[name] = value
        return self.values[name]

    def one_of(self, name: str, shares: dict[str, float]) -> str:
        return str(self.set(name, self._pick(list(shares.items()))))

    def _pick(self, weighted: Sequence[tuple[Any, float]]) -> Any:
        left = self.rng.random() * sum(weight for _, weight in weighted)
        for value, weight in weighted:
            left -= weight
            if left < 0:
                return value
        return weighted[-1][0]

    def colour(self, palette: Sequence[tuple[Colour, float]], spread: float = 0.05) -> Colour:
        chosen = self._pick(palette)
        light, noise = self.rng.uniform(0.85, 1.15), (spread * self.rng.standard_normal(3)).tolist()
        red, green, blue = (
            min(max(part * light + shift * (0.3 + part), 0.03), 0.95)
            for part, shift in zip(chosen, noise, strict=True)
        )
        return red, green, blue

    def share(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(self.rng.uniform(low, high))

    def happens(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)


def draw_look(
    rng: np.random.Generator,
    *,
    likeness: float = 0.0,
    uniform: Look | None = None,
    carrying: float = 0.4,
    children: float = 0.0,
    **fixed: Any,
) -> Look:
    """Somebody by chance.

    Args:
        rng: The same state draws the same person.
        likeness: 0: clothes by chance; 1: all clothes as in ``uniform``; between: each garment with that chance.
        uniform: What everybody wears; None: dark trousers, light blue shirt, dark shoes.
        carrying: Share of people with a bag.
        children: Share of children, 6 to 13 years.
        fixed: Fields of the look that are given.

    Raises:
        TypeError: ``fixed`` names what is no field.
        ValueError: A field of ``fixed`` says something impossible.
    """
    unknown = sorted(set(fixed) - {field.name for field in fields(Look)})
    if unknown:
        raise TypeError(f"no such field of a look: {', '.join(unknown)}")
    dice = _Dice(rng, fixed)
    _draw_body(dice, children)
    _draw_head(dice)
    _draw_top(dice)
    _draw_bottom(dice)
    _draw_coat(dice)
    _draw_shoes(dice)
    _draw_hat(dice)
    _draw_bag(dice, carrying)
    alike = {garment: dice.happens(likeness) for garment in _CLOTHES}
    look = Look(**dice.values)
    wanted = uniform or UNIFORM
    same = {
        name: getattr(wanted, name) for garment, names in _CLOTHES.items() if alike[garment] for name in names
    }
    return replace(look, **{name: value for name, value in same.items() if name not in fixed})


UNIFORM = Look(
    top="shirt",
    top_colour=(0.55, 0.66, 0.80),
    sleeve=2.0,
    tucked=True,
    bottom="trousers",
    bottom_colour=(0.12, 0.13, 0.17),
    bottom_pattern="plain",
    shoes="shoes",
    sole_colour=(0.06, 0.06, 0.06),
    shoe_colour=(0.07, 0.07, 0.07),
)


def _draw_body(dice: _Dice, children: float) -> None:
    rng = dice.rng
    is_child = dice.happens(children)
    gender = dice.one_of("gender", {"female": 1, "male": 1})
    adult_age = float(np.clip(rng.gamma(4.0, 7.5) + 15, 16, 88))
    child_age = dice.share(6, 13)
    age = float(dice.set("age_years", child_age if is_child else adult_age))
    tall = float(rng.normal())
    dice.set("height_m", _height(gender, age, tall))
    dice.set("legs", float(np.clip(0.35 * tall + rng.normal(0, 0.35), -1, 1)))
    older = np.clip((age - 20) / 60, 0, 1)
    dice.set("weight", float(np.clip(rng.normal(0.47 + 0.14 * older, 0.17), 0.08, 1.0)))
    dice.set("muscle", float(np.clip(rng.normal(0.56 - 0.2 * older, 0.13), 0.1, 0.95)))
    dice.set("shoulders", float(np.clip(rng.normal(0, 0.4), -1, 1)))
    dice.set("hips", float(np.clip(rng.normal(0, 0.4), -1, 1)))
    dice.set("belly", float(np.clip(rng.normal(0.1 + 0.3 * older, 0.35), -0.6, 1)))
    dice.set("bust", float(np.clip(rng.normal(0, 0.4), -1, 1)))
    ancestry = rng.dirichlet([0.35, 0.4, 0.5])
    a, b, c = dice.set("ancestry", (float(ancestry[0]), float(ancestry[1]), float(ancestry[2])))
    tone = np.array([a, b, c]) @ _SKINS / max(a + b + c, 1e-9)
    tone = np.clip(tone * np.exp(rng.normal(0, 0.11)) + rng.normal(0, 0.012, 3), 0.12, 0.97)
    dice.set("skin", (float(tone[0]), float(tone[1]), float(tone[2])))


def _height(gender: str, age_years: float, tall: float) -> float:
    """Means and spreads of adults in many countries: 1.76 and 1.63 m, 7 cm; children by age (WHO growth reference)."""
    if age_years < 16:
        mean = float(np.interp(age_years, (5, 8, 11, 14, 16), (1.10, 1.28, 1.44, 1.62, 1.68)))
        return float(np.clip(mean + 0.06 * tall, 0.98, 1.85))
    mean = 1.76 if gender == "male" else 1.63
    return float(np.clip(mean + 0.068 * tall - 0.0006 * max(age_years - 45, 0), 1.44, 2.05))


def _draw_head(dice: _Dice) -> None:
    rng, value = dice.rng, dice.values
    man, age = value["gender"] == "male", value["age_years"]
    african, asian, _ = np.array(value["ancestry"]) / max(sum(value["ancestry"]), 1e-9)
    if man:
        old = float(np.clip((age - 30) / 40, 0, 1))
        dice.one_of(
            "hair",
            {
                "bald": 0.5 + 1.5 * old,
                "ring": 2.0 * old,
                "buzz": 2 + 3 * african,
                "short": 6,
                "quiff": 2.5 * (1 - old),
                "afro": 1.6 * african,
                "bob": 0.35,
                "long": 0.2,
                "ponytail": 0.25,
                "bun": 0.2,
            },
        )
        dice.one_of(
            "beard", {"none": 5, "stubble": 2.2, "moustache": 0.5, "full": 2.2} if age > 20 else {"none": 1}
        )
    else:
        dice.one_of(
            "hair",
            {
                "short": 1.0 + age / 60,
                "buzz": 0.2,
                "afro": 2.0 * african,
                "bob": 2.6,
                "long": 3.6,
                "ponytail": 2.2,
                "bun": 1.5,
            },
        )
        dice.one_of("beard", {"none": 1})
    dark = max(african, asian)
    palette = [
        (colour, weight if sum(colour) < 0.35 else weight * (1 - dark) ** 2) for colour, weight in _HAIR
    ]
    colour = np.array(dice.colour(palette, 0.02))
    grey = float(np.clip((age - 46 + rng.normal(0, 9)) / 26, 0, 1)) * (1.0 if man else 0.65)
    goal = np.array(_GREY_HAIR[int(rng.integers(3))])
    mixed = np.clip(colour * (1 - grey) + goal * grey, 0.03, 0.9)
    dice.set("hair_colour", tuple(float(part) for part in mixed))
    dice.set("hair_length_m", dice.share(0.30, 0.62))
    dice.one_of("glasses", {"none": 10, "clear": 2.2 + age / 40, "dark": 0.9})


def _draw_top(dice: _Dice) -> None:
    man = dice.values["gender"] == "male"
    kind = dice.one_of(
        "top",
        {
            "t-shirt": 5,
            "polo": 1.2,
            "shirt": 3,
            "sweater": 2.5,
            "turtleneck": 0.5,
            "hoodie": 2.5,
            "tank top": 0.3,
        }
        if man
        else {
            "t-shirt": 3.5,
            "tank top": 1.0,
            "blouse": 2.2,
            "shirt": 1.3,
            "sweater": 3,
            "turtleneck": 0.9,
            "hoodie": 1.4,
        },
    )
    dice.set("top_colour", dice.colour(_TOP_COLOURS))
    dice.set("top_colour2", dice.colour(_TOP_COLOURS))
    plain: dict[str, float] = {"plain": 6, "melange": 2}
    usual: dict[str, dict[str, float]] = {
        "t-shirt": plain
        | {"stripes": 1.3, "print": 3, "block": 0.5, "dots": 0.2, "sleeves": 0.7, "fade": 0.3},
        "tank top": plain | {"stripes": 1, "print": 0.5},
        "polo": plain | {"stripes": 1.2, "block": 0.8},
        "shirt": plain | {"checks": 3, "pinstripes": 1.5, "dots": 0.3},
        "blouse": plain | {"dots": 1.6, "stripes": 1, "pinstripes": 0.6},
        "sweater": {"plain": 4, "melange": 4, "stripes": 1.6, "block": 0.7, "fade": 0.4, "dots": 0.3},
        "turtleneck": {"plain": 4, "melange": 4},
        "hoodie": {"plain": 5, "melange": 3, "print": 2, "block": 0.6, "sleeves": 0.5, "camouflage": 0.15},
    }
    dice.one_of("top_pattern", usual[kind])
    dice.set("top_scale", float(np.exp(dice.share(np.log(5), np.log(30)))))
    short, long = dice.share(0.55, 0.85), 1.97
    sleeve = {"t-shirt": short, "polo": short, "tank top": 0.10}.get(kind, long)
    rolled = dice.share(1.0, 1.5) if dice.happens(0.2) else long
    dice.set("sleeve", rolled if kind in ("shirt", "blouse", "sweater") else sleeve)
    dice.set("tucked", dice.happens(0.45 if kind in ("shirt", "blouse") else 0.08))
    dice.set("fit", dice.share(0.2 if man else 0.05, 0.95))


def _draw_bottom(dice: _Dice) -> None:
    man, age = dice.values["gender"] == "male", dice.values["age_years"]
    kind = dice.one_of(
        "bottom",
        {"jeans": 5, "trousers": 4, "wide trousers": 0.6, "shorts": 1.1}
        if man
        else {
            "jeans": 4.2,
            "trousers": 2,
            "wide trousers": 1.0,
            "leggings": 1.6 if age < 60 else 0.4,
            "shorts": 0.6,
            "skirt": 1.3,
            "dress": 1.5,
        },
    )
    denim, cloth_colour, loud = (
        dice.colour(_JEANS, 0.02),
        dice.colour(_TROUSERS, 0.03),
        dice.colour(_TOP_COLOURS),
    )
    is_denim = kind == "jeans" or (kind == "shorts" and dice.happens(0.4))
    colour = denim if is_denim else loud if kind == "dress" else cloth_colour
    colour = dice.set("bottom_colour", colour)
    faded = tuple(float(min(0.95, part * 1.25 + 0.07)) for part in colour)
    dice.set("bottom_colour2", dice.colour(_TOP_COLOURS) if kind in ("dress", "skirt") else faded)
    dice.one_of(
        "bottom_pattern",
        {"plain": 5, "dots": 1.2, "stripes": 0.8, "checks": 0.8, "melange": 1.0}
        if kind in ("dress", "skirt")
        else {"plain": 6, "melange": 1.5, "pinstripes": 0.3, "checks": 0.2},
    )
    if is_denim:
        dice.set("bottom_pattern", "denim")
    dice.set("bottom_length", dice.share())
    stockings = dice.colour((((0.06, 0.06, 0.07), 4.0), ((0.30, 0.24, 0.22), 1.0)), 0.01)
    socks = dice.colour(
        (((0.06, 0.06, 0.07), 1.0), ((0.82, 0.82, 0.81), 1.5), ((0.40, 0.40, 0.42), 0.6)), 0.01
    )
    is_worn = dice.happens(0.7 if kind == "shorts" else 0.45)
    dice.set("legwear", None if not is_worn else socks if kind == "shorts" else stockings)


def _draw_coat(dice: _Dice) -> None:
    man = dice.values["gender"] == "male"
    kind = dice.one_of(
        "coat",
        {
            "none": 9,
            "jacket": 3,
            "blazer": 2 if man else 1.3,
            "puffer": 1.5,
            "vest": 0.5,
            "coat": 1.3 if man else 2.4,
        },
    )
    if dice.values["top"] == "hoodie" and kind == "blazer":
        kind = dice.set("coat", "jacket")
    dice.set("coat_colour", dice.colour(_COATS))
    dice.set("coat_colour2", dice.colour(_COATS))
    dice.one_of(
        "coat_pattern",
        {
            "plain": 7,
            "melange": 1.2,
            "checks": 0.5 if kind in ("coat", "blazer") else 0.1,
            "block": 0.6 if kind in ("jacket", "puffer") else 0.0,
            "sleeves": 0.5 if kind == "jacket" else 0.0,
        },
    )
    dice.set("coat_length", dice.share())
    open_by = dice.share(0.25, 1.0)
    dice.set("coat_gap", open_by if dice.happens({"blazer": 0.65, "vest": 0.5}.get(kind, 0.42)) else 0.0)


def _draw_shoes(dice: _Dice) -> None:
    man = dice.values["gender"] == "male"
    kind = dice.one_of(
        "shoes",
        {"sneakers": 5, "shoes": 4, "boots": 1.6}
        if man
        else {"sneakers": 4, "shoes": 1.6, "flats": 2.4, "boots": 1.6, "high boots": 0.8},
    )
    leather = [(colour, weight * (0.15 if sum(colour) > 1.8 else 1)) for colour, weight in _SHOES]
    colour = dice.set("shoe_colour", dice.colour(_SHOES if kind == "sneakers" else leather, 0.02))
    white = dice.colour((((0.82, 0.82, 0.80), 1.0),), 0.01)
    dark = tuple(float(part * 0.55) for part in colour)
    dice.set("sole_colour", white if dice.happens(0.55) and kind == "sneakers" else dark)


def _draw_hat(dice: _Dice) -> None:
    man = dice.values["gender"] == "male"
    warm = dice.values["coat"] in ("puffer", "coat", "jacket")
    dice.one_of(
        "hat",
        {"none": 16, "cap": 2.0, "beanie": 2.2 if warm else 0.4, "hat": 0.4}
        if man
        else {"none": 16, "cap": 0.7, "beanie": 2.0 if warm else 0.3, "hat": 0.5, "headscarf": 1.0},
    )
    dice.set("hat_colour", dice.colour(_TOP_COLOURS))
    colour = dice.colour(_TOP_COLOURS)
    dice.set("scarf", colour if dice.happens(0.22 if warm else 0.02) else None)


def _draw_bag(dice: _Dice, carrying: float) -> None:
    man = dice.values["gender"] == "male"
    kinds = (
        {"backpack": 5, "messenger": 1.8, "carrier": 1.2, "briefcase": 0.8}
        if man
        else {"backpack": 3, "messenger": 1.3, "shoulder bag": 2.6, "handbag": 1.6, "carrier": 1.2}
    )
    if not dice.happens(carrying):
        kinds = {"none": 1}
    kind = dice.one_of("bag", kinds)
    bright = dice.colour(_TOP_COLOURS)
    dull = dice.colour(_SHOES, 0.03)
    dice.set("bag_colour", bright if dice.happens(0.5) or kind == "carrier" else dull)
    dice.set("bag_size", dice.share(0.82, 1.18))
    dice.set("bag_side", 1 if dice.happens(0.5) else -1)


# ---- dressing ----


def shape_of(look: Look) -> Shape:
    return Shape(
        height_m=look.height_m,
        gender=1.0 if look.gender == "male" else 0.0,
        age_years=look.age_years,
        muscle=look.muscle,
        weight=look.weight,
        ancestry=look.ancestry,
        legs=look.legs,
        build={
            "torso/measure-shoulder-dist": 0.6 * look.shoulders,
            "torso/measure-hips-circ": 0.6 * look.hips,
            "stomach/stomach-tone": -0.7 * look.belly if look.belly > 0 else -0.3 * look.belly,
            "bust": look.bust,
        },
    )


def dress(look: Look, *, detail: float = 1.0) -> Figure:
    """The dressed figure of a look, with about ``detail`` (0, 1] of the triangles."""
    tailor = _Tailor(look, detail)
    _wear_shoes(tailor, look)
    _wear_bottom(tailor, look)
    _wear_top(tailor, look)
    _wear_coat(tailor, look)
    _wear_scarf(tailor, look)
    _wear_hair(tailor, look)
    _carry(tailor, look)
    _show_skin(tailor, look)
    return tailor.figure()


class _Tailor:
    """Collects the layers of one figure."""

    def __init__(self, look: Look, detail: float) -> None:
        self.look, self.detail = look, detail
        self.mesh = template(detail)
        self.body: Body = body(shape_of(look), detail=detail)
        self.scale = look.height_m / CANON_HEIGHT_M
        self.covers: list[Line] = []  # what hides the skin
        self.outer = np.zeros(
            self.mesh.parts["tights"].count, np.float32
        )  # m off each of its vertices, canonical
        self._normals: dict[str, Floats] = {}
        self._layers: list[dict[str, NDArray[Any]]] = []
        self._vertices = 0
        self._bags: list[tuple[int, Floats]] = []

    def cloth(self, part: str) -> Cloth:
        return cloth(part, self.detail)

    def rest(self, part: str) -> tuple[Floats, Floats]:
        """Vertices and normals of a part."""
        piece = self.mesh.parts[part]
        vertices = self.body.vertices[piece.rows]
        if part not in self._normals:
            self._normals[part] = normals(vertices, piece.triangles)
        return vertices, self._normals[part]

    def wear(
        self,
        line: Line | Floats | None,
        push: NDArray[np.floating] | float,
        paint: Paint,
        *,
        part: str = "tights",
        hidden: Sequence[Line] = (),
        move: Floats | None = None,
        at: Floats | None = None,
        tint: Floats | None = None,
        cover: bool = False,
    ) -> None:
        """Add a piece of a part of the mesh.

        Args:
            line: Signed distance (V,) m, positive where the piece is; None: everywhere.
            push: m along the normals, canonical.
            paint: Its look.
            part: The part of the mesh it is cut from.
            hidden: Lines well inside of which nothing of it is seen.
            move: (V, 3) m further, canonical.
            at: (V, 3) where patterns are painted; None: as the cloth lies with the arms hanging.
            tint: (V,) how much of the second colour is in the first.
            cover: Whether it hides the skin below.
        """
        c = self.cloth(part)
        inside = None if line is None else line(c) if callable(line) else line
        if cover and callable(line):
            self.covers.append(line)
        piece = self.mesh.parts[part]
        triangles = piece.triangles
        if inside is not None:
            triangles = triangles[(inside[triangles] > 0).any(1)]
        for other in hidden:
            triangles = triangles[(other(c)[triangles] < 0.05).any(1)]
        if not len(triangles):
            return
        if part == "tights":
            self.outer = np.maximum(self.outer, np.where(True if inside is None else inside > 0, push, 0))
        vertices, normal = self.rest(part)
        placed = vertices + normal * (np.asarray(push, np.float32).reshape(-1, 1) * np.float32(self.scale))
        if move is not None:
            placed = placed + move * np.float32(self.scale)
        bones, weights = self.mesh.bones[piece.rows], self.mesh.weights[piece.rows]
        if part == "skirt":
            bones, weights = cut.leg_of_skirt(self.mesh, self.detail)
        used, triangles = _compact(triangles, len(vertices))
        self._add(
            placed[used],
            _with_folds(normals(placed, piece.triangles), c, part)[used],
            triangles,
            bones[used],
            weights[used],
            paint,
            (c.paint if at is None else at)[used],
            np.ones(len(used), np.float32) if inside is None else inside[used],
            None if tint is None else tint[used],
        )

    def thickness(self, line: NDArray[np.bool_]) -> float:
        """How thick the clothes are there: m, canonical."""
        return float(self.outer[line].mean()) if line.any() else 0.0

    def add(self, thing: props.Fitted, paint: Paint, *, ball: bool = False) -> None:
        """Add something that is no piece of the body's mesh; ``ball``: it is a bag, filled by balls of its own."""
        placed = thing.place(self.body, self.outer, self.detail)
        if ball:
            self._bags.append((int(thing.bones[0, 0]), placed))
        triangles = thing.mesh.triangles
        self._add(
            placed,
            normals(placed, triangles),
            triangles,
            thing.bones,
            thing.weights,
            paint,
            thing.mesh.vertices,
            np.ones(len(placed), np.float32),
        )

    def _add(
        self,
        vertices: Floats,
        normal: Floats,
        triangles: NDArray[np.int32],
        bones: NDArray[np.int32],
        weights: Floats,
        paint: Paint,
        at: Floats,
        mask: Floats,
        tint: Floats | None = None,
    ) -> None:
        count = len(vertices)
        first = np.tile(np.array(paint.colour, np.float32), (count, 1))
        second = np.array(paint.colour if paint.colour2 is None else paint.colour2, np.float32)
        if tint is not None:
            first += tint[:, None] * (second - first)
        self._layers.append(
            {
                "vertices": vertices.astype(np.float32),
                "normals": normal,
                "triangles": (triangles + self._vertices).astype(np.int32),
                "bones": bones,
                "weights": weights,
                "colour": first,
                "colour2": np.tile(second, (count, 1)),
                "pattern": np.full(count, paint.pattern, np.int32),
                "frequency": np.full(count, paint.frequency, np.float32),
                "gloss": np.full(count, paint.gloss, np.float32),
                "paint": at.astype(np.float32),
                "mask": mask.astype(np.float32),
            }
        )
        self._vertices += count

    def figure(self) -> Figure:
        joined = {name: np.concatenate([layer[name] for layer in self._layers]) for name in self._layers[0]}
        bones, weights = joined.pop("bones"), joined.pop("weights")
        ball_bones, centres, radii = _balls(self.body, joined["vertices"][joined["mask"] > 0], self._bags)
        return Figure(
            surface=Surface(**joined),
            bones=bones,
            weights=weights,
            skeleton=self.body.skeleton,
            height_m=self.look.height_m,
            ball_bones=ball_bones,
            ball_centres=centres,
            ball_radii=radii,
        )


_FOLDS = (  # waves of a cloth's normals: 1/m along x, y, z, phase, height; made up to look right
    (14.0, 46.0, 9.0, 0.3, 0.13),
    (-23.0, 38.0, 15.0, 1.9, 0.11),
    (31.0, 71.0, -24.0, 4.1, 0.09),
    (9.0, -105.0, 38.0, 2.6, 0.07),
)


def _with_folds(normal: Floats, c: Cloth, part: str) -> Floats:
    """Normals (V, 3) of a cloth with folds, which are too fine for its triangles; skin and hair have none."""
    if part not in ("tights", "skirt"):
        return normal
    bent = normal.copy()
    for x, y, z, phase, height in _FOLDS:
        wave = np.array([x, y, z], np.float32)
        bent += (height * np.cos(c.paint @ wave + np.float32(phase)))[:, None] * (wave / np.linalg.norm(wave))
    return np.asarray(bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-6), np.float32)


def _compact(triangles: NDArray[np.int32], count: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The vertices that triangles use, and the triangles among them."""
    is_used = np.zeros(count, np.bool_)
    is_used[triangles] = True
    number = np.cumsum(is_used, dtype=np.int32) - 1
    return np.flatnonzero(is_used), number[triangles]


_BALLS = (  # bone, share of the way from its head to its tail; more than one column across where given
    *(("head", at, 0.0) for at in (0.15, 0.60)),
    ("neck_01", 0.3, 0.0),
    *(("spine_03", at, side) for at in (0.15, 0.75) for side in (-0.09, 0.09)),
    *(("spine_01", 0.5, side) for side in (-0.08, 0.08)),
    *(("pelvis", 0.1, side) for side in (-0.09, 0.09)),
    *((f"upperarm_{side}", at, 0.0) for side in "lr" for at in (0.1, 0.5, 0.9)),
    *((f"lowerarm_{side}", at, 0.0) for side in "lr" for at in (0.3, 0.8)),
    *((f"hand_{side}", 3.0, 0.0) for side in "lr"),
    *((f"thigh_{side}", at, 0.0) for side in "lr" for at in (0.25, 0.55, 0.85)),
    *((f"calf_{side}", at, 0.0) for side in "lr" for at in (0.15, 0.5, 0.85)),
    *((f"foot_{side}", at, 0.0) for side in "lr" for at in (0.1, 0.9)),
    *((f"ball_{side}", 0.6, 0.0) for side in "lr"),
)


def _balls(
    figure: Body, vertices: Floats, bags: Sequence[tuple[int, Floats]]
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Balls that fill the clothed figure: each as wide as the vertices around it are away; two for each bag."""
    skeleton = figure.skeleton
    number = np.array([skeleton.names.index(bone) for bone, _, _ in _BALLS], np.int32)
    share = np.array([[at] for _, at, _ in _BALLS], np.float32)
    seeds = skeleton.heads[number] * (1 - share) + skeleton.tails[number] * share
    seeds[:, 0] += np.array([side for _, _, side in _BALLS], np.float32) * figure.height_m / CANON_HEIGHT_M
    for bone, bag in bags:
        quarter = (bag.max(0) - bag.min(0)) / 4
        shift = np.where(quarter == quarter.max(), quarter, 0)
        seeds = np.concatenate([seeds, [bag.mean(0) - shift, bag.mean(0) + shift]]).astype(np.float32)
        number = np.append(number, [bone, bone]).astype(np.int32)
    nearest = ((seeds**2).sum(1)[None] - 2 * vertices @ seeds.T).argmin(1)
    counts = np.bincount(nearest, minlength=len(seeds))
    sums = np.stack([np.bincount(nearest, vertices[:, axis], len(seeds)) for axis in range(3)], 1)
    middles = np.where(counts[:, None] > 3, sums / np.maximum(counts, 1)[:, None], seeds)
    away = np.linalg.norm(vertices - middles[nearest], axis=1)
    radii = np.bincount(nearest, away, len(seeds)) / np.maximum(counts, 1)
    return number, middles.astype(np.float32), np.maximum(radii, 0.02).astype(np.float32)


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


def _wear_shoes(tailor: _Tailor, look: Look) -> None:
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


def _wear_bottom(tailor: _Tailor, look: Look) -> None:
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


def _wear_skirt(tailor: _Tailor, look: Look, paint: Paint) -> None:
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


def _wear_top(tailor: _Tailor, look: Look) -> None:
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


def _wear_coat(tailor: _Tailor, look: Look) -> None:
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


def _wear_coat_skirt(tailor: _Tailor, look: Look, paint: Paint, thick: float) -> None:
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


def _on_shoulders(tailor: _Tailor) -> float:
    c = tailor.cloth("tights")
    return tailor.thickness((c.y > 1.36) & (c.y < 1.44) & (c.arm < 0.4))


def _wear_scarf(tailor: _Tailor, look: Look) -> None:
    if look.scarf is None:
        return
    c = tailor.cloth("tights")
    paint = Paint(look.scarf, _shade(look.scarf, 0.75), patterns.MELANGE, 60.0)
    around = 0.020 + 0.016 * step(c.y, 1.50, 1.45)
    tailor.wear(cut.collar(1.43, 1.515, -1.0), around + 0.5 * _on_shoulders(tailor), paint)


def _wear_hair(tailor: _Tailor, look: Look) -> None:
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


def _wear_own_hair(tailor: _Tailor, look: Look, c: Cloth, paint: Paint, covered: bool) -> None:
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


def _wear_headscarf(tailor: _Tailor, look: Look) -> None:
    paint = Paint(look.hat_colour, _shade(look.hat_colour, 0.85), patterns.MELANGE, 25.0)
    c = tailor.cloth("body")
    face = 1 - np.hypot(c.x / 0.062, (c.y - 1.575) / 0.092)
    around = np.where((c.z > 0.05) & (c.y > 1.46), -0.08 * face, cut.INSIDE)
    inside = np.minimum(around, c.y - 1.400 - 0.35 * np.maximum(0, np.abs(c.x) - 0.06)).astype(np.float32)
    push = 0.014 + 0.018 * step(c.y, 1.56, 1.47) + _on_shoulders(tailor) * step(c.y, 1.47, 1.42)
    tailor.wear(inside, push, paint, part="body")


def _wear_hat(tailor: _Tailor, look: Look, c: Cloth) -> None:
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


def _wear_beard(tailor: _Tailor, look: Look, c: Cloth) -> None:
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


def _carry(tailor: _Tailor, look: Look) -> None:
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


def _show_skin(tailor: _Tailor, look: Look) -> None:
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
