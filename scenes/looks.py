"""Who somebody is and what he or she wears, drawn by chance: plain values that a scene file can say as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from scenes import patterns
from scenes.body import Shape
from scenes.garments import Colour

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
RANGES: dict[str, tuple[float, float]] = {
    "height_m": (0.9, 2.3),
    "age_years": (1, 110),
    **dict.fromkeys(("muscle", "weight", "fit", "bottom_length", "coat_length", "coat_gap"), (0, 1)),
    **dict.fromkeys(("shoulders", "hips", "belly", "bust", "legs"), (-1, 1)),
    "hair_length_m": (0.1, 0.8),
    "top_scale": (2, 60),
    "sleeve": (0, 2),
    "bag_size": (0.5, 1.5),
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
            ValueError: Kinds that do not exist, colours that are none, numbers out of range: all of them at once.
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
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                wrong.append(f"{name} {value!r}: from {least} to {most}")
        if self.bag_side not in (1, -1):
            wrong.append(f"bag_side {self.bag_side!r}: 1 or -1")
        shares = self.ancestry
        if len(shares) != 3 or min(shares) < 0 or sum(shares) <= 0:
            wrong.append(f"ancestry {shares!r}: three shares, not all of them 0")
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
