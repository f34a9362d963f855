"""The embedding network, put together from parts: encoder, pooling, projection, neck.

An encoder turns pictures into feature maps and says how many channels they have (``width``); a pooling turns maps
into ``parts`` numbers a channel; the projection brings them to the embedding's size, and a batch-normalisation neck
(Luo et al., "Bag of tricks", CVPR Workshops 2019) takes away what all people have in common: the row after it is
what training pulls at and what is compared when running.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid.efficientnet import efficientnet_lite0
from reid.osnet import FamilyNorm, osnet


class AveragePooling(nn.Module):
    """The mean over place."""

    parts = 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.mean((2, 3))


class MaximumPooling(nn.Module):
    """The largest value of any place."""

    parts = 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.amax((2, 3))


class GeneralisedMean(nn.Module):
    """``(mean of x^p)^(1/p)`` over place: p = 1 is the mean, large p the maximum (Radenovic et al., TPAMI 2019, eq. 3).

    Values below 1e-6 count as 1e-6: a power has no slope at zero. In float32, since powers overflow in half precision.

    Args:
        p: Exponent, or where it starts; at least 1.
        learned: Whether training moves it. A learned power costs a tenth of a training step; a cube is two products.
    """

    parts = 1

    def __init__(self, *, p: float = 3.0, learned: bool = False) -> None:
        super().__init__()
        if p < 1.0:
            raise ValueError(f"a generalised mean has an exponent of at least 1, not {p}")
        self.p = nn.Parameter(torch.tensor(p), requires_grad=learned)
        self.is_cube = p == 3.0 and not learned

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) of values >= 0 -> (N, C)."""
        x = x.float().clamp(min=1e-6)
        if self.is_cube:
            return (x * x * x).mean((2, 3)).pow(1.0 / 3.0)
        return x.pow(self.p).mean((2, 3)).pow(1.0 / self.p)


class BodyPooling(nn.Module):
    """The whole crop, its upper and its lower half, each pooled and set side by side.

    Upper and lower clothes stay apart, as in part-based models (Sun et al., PCB, ECCV 2018), at hardly any cost.
    """

    parts = 3

    def __init__(self, *, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), H at least 2 -> (N, 3 C)."""
        middle = x.shape[2] // 2
        return torch.cat([self.pool(x), self.pool(x[:, :, :middle]), self.pool(x[:, :, middle:])], 1)


def pooling(name: str) -> nn.Module:
    """A pooling by name: ``average``, ``maximum``, ``gem`` (learned p), ``gem3`` (p stays 3) or ``body``.

    Raises:
        ValueError: There is no such pooling.
    """
    match name:
        case "average":
            return AveragePooling()
        case "maximum":
            return MaximumPooling()
        case "gem":
            return GeneralisedMean(learned=True)
        case "gem3":
            return GeneralisedMean()
        case "body":
            return BodyPooling(pool=GeneralisedMean())
        case _:
            raise ValueError(f"no pooling is called {name!r}: average, maximum, gem, gem3 or body")


class ReidNet(nn.Module):
    """Encoder, pooling, projection and neck, one after the other.

    Args:
        encoder: Pictures (N, 3, H, W) to maps (N, ``encoder.width``, h, w).
        pool: Maps to (N, ``pool.parts`` * width).
        dim: D, the length of an embedding.
    """

    def __init__(self, *, encoder: nn.Module, pool: nn.Module, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"an embedding has at least 1 number, not {dim}")
        self.encoder, self.pool, self.dim = encoder, pool, dim
        self.projection = nn.Linear(int(encoder.width) * int(pool.parts), dim)  # type: ignore[arg-type]
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)  # no shift, so that the classifier's directions start at zero

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float, normalised by `normalise` -> (N, D), not yet of unit length."""
        return self.neck(self.projection(self.pool(self.encoder(x))))


class Siamese(nn.Module):
    """Two pictures through one network: how far apart are they? (Bromley et al., NIPS 1993)"""

    def __init__(self, *, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two (N, 3, H, W), normalised -> (N,) cosine distance of each pair, in [0, 2]."""
        rows = F.normalize(self.embedder(torch.cat([first, second])), dim=1)
        a, b = rows.chunk(2)
        return 1.0 - (a * b).sum(1)


# Of 8-bit pictures; rounded from ImageNet's.
MEAN_BGR = (103.5, 116.3, 123.7)
SCALE = 58.0


def normalise(crops: Tensor) -> Tensor:
    """(N, 3, H, W) BGR, 0..255 as float -> about zero mean and unit spread."""
    return (crops - crops.new_tensor(MEAN_BGR).view(1, 3, 1, 1)) / SCALE


VARIANTS = (
    *("lite_small", "lite_small_fine", "lite", "lite_large"),
    *(f"osnet_{width}{norm}" for width in ("x0_25", "x0_5", "x1_0") for norm in ("", "_ibn", "_ain")),
)


def build(network: str, *, dim: int = 256, pool: str = "body") -> ReidNet:
    """A network by the name of its variant, with chance from torch's global generator.

    ``lite_small``, ``lite`` and ``lite_large`` are 4, 5 and 6 stages of EfficientNet-Lite0 (0.58, 1.04 and 2.72 M
    parameters with the default head), ``lite_small_fine`` looks at a map twice as fine;
    ``osnet_x0_25``, ``osnet_x0_5_ibn``, ``osnet_x1_0_ain`` and so on are OSNet.

    Raises:
        ValueError: There is no such variant or pooling.
    """
    match network.split("_"):
        case ["lite", *size] if network in VARIANTS:
            stages = {"small": 4, "": 5, "large": 6}["".join(size[:1])]
            encoder: nn.Module = efficientnet_lite0(stages=stages, is_fine="fine" in size)
        case ["osnet", whole, part, *norm] if network in VARIANTS:
            norms: dict[str, FamilyNorm] = {"": "batch", "ibn": "instance-after", "ain": "adaptive"}
            encoder = osnet(width=float(f"{whole[1:]}.{part}"), norm=norms["".join(norm)])
        case _:
            raise ValueError(f"no network is called {network!r}: one of {', '.join(VARIANTS)}")
    return ReidNet(encoder=encoder, pool=pooling(pool), dim=dim)
