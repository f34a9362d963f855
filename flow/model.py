"""Networks that say how pixels moved between two pictures.

`LightFlow` is our own small one. On pictures of half the size it looks for each place of the first in all of the second
at an eighth (global matching: Xu et al., "GMFlow", CVPR 2022) and mends what it found by looking around there (warping
and a local cost volume: Sun et al., "PWC-Net", CVPR 2018). At a quarter it then holds that against what dense inverse
search says of the pictures themselves (Kroeger et al. 2016): the search is exact where things move little and are
textured, and lost where they jump or look alike. The network says what to add to it, and in the same breath how far it
trusts the sum.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.correlation import local_correlation, places, warp
from flow.reduced import grey_of
from flow.search import dense_search

HALF = 2  # pixels of the input to one that the network sees, each way
CELL = 8  # of these to a place where all is compared with all
MENDED_CELL = 8  # pixels of the input to a place where the searched flow is mended
CLEAR_ERROR_PX, CLEAR_ERROR_SHARE = (
    1.0,
    0.05,
)  # an estimate is right within 1 px of the input and 5 % of the way


@dataclass
class Predictions:
    """What a network says of a pair of pictures.

    Attributes:
        flows: Coarse to fine, each (N, 2, h, w), x and y in pixels of the input.
        trust: (N, 1, h, w) logits for cells of the finest flow: the chance that it is off by no more than
            `CLEAR_ERROR_PX` + `CLEAR_ERROR_SHARE` of its length; None where the network has no opinion.
        scores: (N, h w, h w) logits at the size of the first flow: where in the second picture each place of the first
            is; None where the network does not compare all with all.
    """

    flows: tuple[Tensor, ...]
    trust: Tensor | None = None
    scores: Tensor | None = None


class Separable(nn.Module):
    """x + what a depthwise and a pointwise convolution add (Howard et al., "MobileNets", 2017)."""

    def __init__(self, channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + F.relu(self.norm(self.mix(self.spread(x))))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Pyramid(nn.Module):
    """Features of one picture at a quarter and at an eighth of its size; the latter know what lies around.

    Args:
        channels: Colours of a picture.
        widths: Channels at 1/2, 1/4, 1/8 and 1/16.
        fine: Channels of the features at 1/4.
    """

    def __init__(self, *, channels: int, widths: tuple[int, int, int, int], fine: int) -> None:
        super().__init__()
        half, quarter, eighth, deep = widths
        self.stem = nn.Sequential(_down(channels, half), _down(half, quarter), Separable(quarter))
        self.fine = nn.Conv2d(quarter, fine, 1)
        self.eighth = nn.Sequential(_down(quarter, eighth), Separable(eighth), Separable(eighth))
        self.deep = nn.Sequential(_down(eighth, deep), *(Separable(deep, kernel=5) for _ in range(3)))
        self.lift = nn.Conv2d(deep, eighth, 1)
        self.join = nn.Sequential(Separable(eighth, kernel=5), nn.Conv2d(eighth, eighth, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> (N, fine, H/4, W/4), (N, eighth, H/8, W/8)."""
        stem = self.stem(pictures)
        eighth = self.eighth(stem)
        deep = F.interpolate(self.lift(self.deep(eighth)), scale_factor=2.0, mode="bilinear")
        return _compared(self.fine(stem)), _compared(self.join(eighth + deep))


def _compared(features: Tensor) -> Tensor:
    """Features (N, C, H, W) about the picture's mean, of length sqrt(C) each: their mean product is a cosine.

    Without it products of young features are too small to learn from, and matching never begins.
    """
    features = features.float()
    centred = features - features.mean(dim=(2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=1, keepdim=True) + 1e-6).rsqrt()


class GlobalMatching(nn.Module):
    """Each place of the first map sought in all of the second.

    The expected place under a softmax of the products (GMFlow, eq. 1-4). A learned Gaussian prior around not moving
    enters as two more features of each place, since -|q - p|^2 = 2 q.p - |p|^2 - (what is the same for all p).
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(
            torch.tensor(math.log(12.0))
        )  # log of what the cosine is multiplied with
        self.stillness = nn.Parameter(torch.tensor(math.log(0.02)))  # log of 1 / (2 sigma^2), in 1 / places^2

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) twice -> flow (N, 2, H, W) in places, and how alone the best match is (N, 1, H, W) in [0, 1]."""
        return self.expected(self.scores(first, second), first)

    def scores(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, C, H, W) twice -> (N, H W, H W): logits of where in the second each place of the first is."""
        batch, channels = first.shape[:2]
        grid = _grid(first)
        prior = self.stillness.exp()
        queries = first.flatten(2).transpose(1, 2) * (self.sharpness.exp() / channels)
        queries = torch.cat(
            (queries, (2.0 * prior * grid).expand(batch, -1, -1), torch.ones_like(queries[..., :1])), dim=2
        )
        far = -prior * (grid * grid).sum(dim=1)
        keys = torch.cat(
            (
                second.flatten(2),
                grid.T.expand(batch, -1, -1),
                far.expand(batch, 1, -1),
            ),
            dim=1,
        )
        return queries @ keys

    def expected(self, scores: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, of `scores` between maps of the shape of ``like`` (N, C, H, W)."""
        batch, _, height, width = like.shape
        grid = _grid(like)
        chance = scores.softmax(dim=2)  # N, HW, HW
        flow = (chance @ grid - grid).transpose(1, 2).reshape(batch, 2, height, width)
        alone = chance.detach().amax(dim=2).reshape(batch, 1, height, width)
        return flow, alone


def _grid(like: Tensor) -> Tensor:
    """(H W, 2): x and y of the places of a map (N, C, H, W)."""
    height, width = like.shape[2:]
    x = places(width, like)[None, :].expand(height, width).reshape(-1)
    y = places(height, like)[:, None].expand(height, width).reshape(-1)
    return torch.stack((x, y), dim=1)


class Refinement(nn.Module):
    """Looks around where the flow points to and says what to add to it.

    Args:
        features: Channels of the feature maps.
        carried: Channels that the stage before hands on.
        hidden: Channels inside.
        radius: How far it looks around, in places.
        dense: Full convolutions inside, at least 1.
        depth: Separable blocks after them.
    """

    def __init__(
        self, *, features: int, carried: int, hidden: int, radius: int, dense: int, depth: int
    ) -> None:
        super().__init__()
        self.radius = radius
        inputs = [(2 * radius + 1) ** 2 + features + carried + 2] + [hidden] * (dense - 1)
        self.take = nn.Sequential()
        for channels in inputs:
            self.take.append(nn.Conv2d(channels, hidden, 3, padding=1))
            self.take.append(nn.LeakyReLU(0.1, inplace=True))
        self.think = nn.Sequential(*(Separable(hidden, kernel=5) for _ in range(depth)))
        self.say = nn.Conv2d(hidden, 3, 3, padding=1)  # x, y, trust
        nn.init.normal_(self.say.weight, std=1e-2)
        assert self.say.bias is not None
        nn.init.zeros_(self.say.bias)

    def forward(
        self, first: Tensor, second: Tensor, flow: Tensor, carried: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flow (N, 2, h, w) in places -> flow, trust (N, 1, h, w), and what is handed on (N, hidden + 1, h, w)."""
        flow = flow.detach()
        around = local_correlation(first, warp(second, flow), self.radius)
        # 0.1: a flow of ten places weighs as much as the features do.
        known = torch.cat((around, first, carried, 0.1 * flow), dim=1)
        hidden = self.think(self.take(known))
        said = self.say(hidden)
        trust = said[:, 2:]
        return flow + said[:, :2], trust, torch.cat((hidden, trust), dim=1)


class Mending(nn.Module):
    """Holds two flows against the pictures and says what to add to the first.

    Args:
        features: Channels of the feature maps.
        carried: Channels that the stage before hands on.
        hidden: Channels inside.
        depth: Separable blocks.
    """

    radius = 1  # how far it looks around both

    def __init__(self, *, features: int, carried: int, hidden: int, depth: int) -> None:
        super().__init__()
        inputs = 2 * (2 * self.radius + 1) ** 2 + features + carried + 4
        self.take = nn.Sequential(nn.Conv2d(inputs, hidden, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))
        self.think = nn.Sequential(*(Separable(hidden, kernel=5) for _ in range(depth)))
        self.say = nn.Conv2d(hidden, 4, 3, padding=1)  # x, y, trust, how much of the other flow
        nn.init.normal_(self.say.weight, std=1e-2)
        assert self.say.bias is not None
        with torch.no_grad():
            self.say.bias.copy_(
                torch.tensor([0.0, 0.0, 0.0, -2.0])
            )  # the first flow is right until shown otherwise

    def forward(
        self, first: Tensor, second: Tensor, flow: Tensor, other: Tensor, carried: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Flows (N, 2, h, w) in places -> what to add to the first (N, 2, h, w), trust (N, 1, h, w)."""
        apart = other - flow
        around = [local_correlation(first, warp(second, one), self.radius) for one in (flow, other)]
        said = self.say(
            self.think(self.take(torch.cat((*around, first, carried, 0.1 * flow, 0.1 * apart), dim=1)))
        )
        return said[:, :2] + said[:, 3:].sigmoid() * apart, said[:, 2:3]


class LightFlow(nn.Module):
    """Global matching at 1/16 of the size, mended there; then a searched flow mended by it at 1/8.

    Args:
        pyramid: Features of one picture.
        matching: The first guess.
        coarse: Refinements at 1/16, one after the other.
        fine: What mends the searched flow.
        squeeze: What of the coarse refinement's channels goes to the fine stage.
        channels: 1 (grey) or 3 (BGR).
        search: The preset of `flow.search.dense_search` whose flow is mended.
    """

    multiple = 32

    def __init__(
        self,
        *,
        pyramid: Pyramid,
        matching: GlobalMatching,
        coarse: nn.ModuleList,
        squeeze: nn.Conv2d,
        fine: Mending,
        channels: int,
        search: str,
    ) -> None:
        super().__init__()
        self.pyramid, self.matching, self.coarse = pyramid, matching, coarse
        self.squeeze, self.fine, self.channels, self.search = squeeze, fine, channels, search

    def forward(self, before: Tensor, after: Tensor, searched: Tensor | None = None) -> Predictions:
        """Pictures (N, C, H, W) in [0, 1], H and W multiples of 32.

        Args:
            before: The first pictures.
            after: The second ones.
            searched: (N, 2, H, W) px, the flow to mend; None: it is searched here.
        """
        searched = search_flow(before, after, self.search) if searched is None else searched
        flows, added, trust, scores = self.mend(before, after, F.avg_pool2d(searched, MENDED_CELL))
        finest = searched + F.interpolate(added, scale_factor=float(MENDED_CELL), mode="bilinear")
        return Predictions((*flows, finest), trust, scores if self.training else None)

    def mend(
        self, before: Tensor, after: Tensor, searched: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """What is to be added to a searched flow.

        Args:
            before: (N, C, H, W) in [0, 1].
            after: Of the same shape.
            searched: (N, 2, H/8, W/8), means of cells, px.

        Returns:
            The coarse flows (N, 2, H/16, W/16), what is to be added (N, 2, H/8, W/8), the trust's logits of the sum
            (N, 1, H/8, W/8), and the matching's scores; all flows in px of the input.
        """
        count = before.shape[0]
        fine, coarse = self.pyramid(_centred(F.avg_pool2d(torch.cat((before, after)), HALF)))
        first, second = coarse[:count], coarse[count:]
        with torch.autocast(before.device.type, enabled=False):  # places need all digits
            scores = self.matching.scores(first.float(), second.float())
            flow, carried = self.matching.expected(scores, first)
        flows = [flow * (CELL * HALF)]
        for refinement in self.coarse:
            flow, _, carried = refinement(first, second, flow, carried)
            flows.append(flow * (CELL * HALF))
        flow = F.interpolate(flow, scale_factor=2.0, mode="bilinear") * 2.0
        carried = F.interpolate(self.squeeze(carried), scale_factor=2.0, mode="bilinear")
        searched = searched / MENDED_CELL
        added, trust = self.fine(fine[:count], fine[count:], searched, flow.detach(), carried)
        return flows, added * MENDED_CELL, trust, scores


@torch.no_grad()
def search_flow(before: Tensor, after: Tensor, preset: str) -> Tensor:
    """Dense inverse search of pictures (N, C, H, W) in [0, 1], C 1 or 3 (BGR) -> (N, 2, H, W) px."""
    search = dense_search(preset)
    sides = [
        (one.detach().clamp(0.0, 1.0) * 255.0).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        for one in (before, after)
    ]
    found = [search(grey_of(one), grey_of(other)) for one, other in zip(*sides, strict=True)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(before.device)


def _centred(pictures: Tensor) -> Tensor:
    """About zero mean and a spread of one, for pictures in [0, 1]."""
    return (pictures - 0.45) * 4.0


def light_flow(
    *,
    channels: int,
    search: str,
    widths: tuple[int, int, int, int],
    fine: int,
    hidden: tuple[int, int],
    dense: int,
    depth: tuple[int, int],
    rounds: int,
    handed: int,
) -> LightFlow:
    """A `LightFlow` of a size.

    ONNX Runtime is fast where a convolution takes a multiple of four channels; the sizes below are chosen for that.

    Args:
        channels: 1 or 3.
        search: The preset of the search that is mended.
        widths: Of the pyramid at 1/2, 1/4, 1/8, 1/16 of what it sees.
        fine: Channels of its features at 1/4.
        hidden: Channels of the refinements, and of the mending; so is ``depth``.
        dense: Full convolutions in each refinement.
        depth: Separable blocks in each.
        rounds: Refinements.
        handed: Channels from them to the mending.
    """
    coarse = [
        Refinement(
            features=widths[2],
            carried=hidden[0] + 1 if n else 1,
            hidden=hidden[0],
            radius=3,
            dense=dense,
            depth=depth[0],
        )
        for n in range(rounds)
    ]
    return LightFlow(
        pyramid=Pyramid(channels=channels, widths=widths, fine=fine),
        matching=GlobalMatching(),
        coarse=nn.ModuleList(coarse),
        squeeze=nn.Conv2d(hidden[0] + 1, handed, 1),
        fine=Mending(features=fine, carried=handed, hidden=hidden[1], depth=depth[1]),
        channels=channels,
        search=search,
    )


def tiny() -> LightFlow:
    """For a processor: grey, at most 5 ms for 320x192 on one core, the search included."""
    return light_flow(
        channels=1,
        search="quick",
        widths=(16, 32, 48, 64),
        fine=16,
        hidden=(64, 32),
        dense=2,
        depth=(2, 2),
        rounds=1,
        handed=21,
    )


def base() -> LightFlow:
    """For quality: colour, wider, two rounds, a finer search; at most 25 ms for 320x192 on one core."""
    return light_flow(
        channels=3,
        search="fine",
        widths=(16, 32, 64, 96),
        fine=32,
        hidden=(64, 48),
        dense=2,
        depth=(2, 2),
        rounds=2,
        handed=33,
    )


NETWORKS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType({"tiny": tiny, "base": base})


def build(name: str, *, width: float = 1.0) -> nn.Module:
    """A network by name, with weights of chance.

    Args:
        name: ``tiny``, ``base``, ``flownets`` or ``flownetc``.
        width: Share of the published channels, for the last two.

    Raises:
        ValueError: There is no such network.
    """
    from flow.flownet import flownetc, flownets  # they need `Predictions` of this module

    if name == "flownets":
        return flownets(width=width)
    if name == "flownetc":
        return flownetc(width=width, is_cosine=True)
    if name in NETWORKS:
        return NETWORKS[name]()
    names = ", ".join((*NETWORKS, "flownets", "flownetc"))
    raise ValueError(f"there is no flow network named {name!r}; choose {names}")
