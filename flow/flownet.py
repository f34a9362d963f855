"""FlowNetS and FlowNetC (Fischer, Dosovitskiy et al., *FlowNet: Learning Optical Flow with Convolutional Networks*,
ICCV 2015), put together from parts: stem, trunk, refinement.

A stem turns two pictures into a skip at 1/4 of their size and features at 1/8; the trunk goes on to 1/64; the
refinement comes back to 1/4 and gives the flow at each of its five sizes. Two things are as in the networks that the
authors published, not as in the text: the units leak, and a tenth convolution (6.1) follows the ninth. With them the
counts are those later papers state: 39 million parameters each.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.correlation import strided_correlation
from flow.model import Predictions

MULTIPLE = 64  # six convolutions halve the picture
LEAK = 0.1  # slope of the units below zero
CONTRAST = 4.0  # brings pictures in [0, 1] to a spread of about 1, which first weights are drawn for
FLOW_SCALE = 20.0  # pixels to one unit of what the last convolutions give: they work with numbers around 1
FIRST_FLOWS = 0.01  # share of the usual first weights where flow is said
# Sec. 3: displacements up to 20 cells of 1/8, every second one: 21 x 21 = 441 channels.
RADIUS, STRIDE = 20, 2


def flownets(*, width: float = 1.0, channels: int = 3, generator: torch.Generator | None = None) -> "FlowNet":
    """The simple network: both pictures stacked, and the layers find out by themselves what to compare.

    Args:
        width: Share of the paper's channels in every layer.
        channels: Of a picture.
        generator: Draws the first weights; None: the global one.
    """
    c = _channels(width)
    stem = StackedStem(channels=channels, widths=(c(64), c(128), c(256)))
    return _flownet(stem, c, channels, generator)


def flownetc(
    *,
    width: float = 1.0,
    channels: int = 3,
    is_cosine: bool = False,
    generator: torch.Generator | None = None,
) -> "FlowNet":
    """The network with a correlation layer: a tower for each picture, with one set of weights, then compared.

    Args:
        width: Share of the paper's channels in every layer but the correlation's own 441.
        channels: Of a picture.
        is_cosine: Compare directions of features only. The paper's products fade in a short training: with the
            learning rate of the simple network the towers' features shrank fifty times in 2500 steps, and nothing was
            compared any more. The authors raised the rate from 1e-6 over 10,000 steps instead (sec. 5.2).
        generator: Draws the first weights; None: the global one.
    """
    c = _channels(width)
    stem = SiameseStem(
        channels=channels, widths=(c(64), c(128), c(256)), redirected=c(32), is_cosine=is_cosine
    )
    return _flownet(stem, c, channels, generator)


class FlowNet(nn.Module):
    """Stem, trunk and refinement, one after the other.

    Args:
        stem: Two pictures (N, C, H, W) to a skip (N, ``skip``, H/4, W/4) and features (N, ``width``, H/8, W/8).
        trunk: Features to maps at 1/8, 1/16, 1/32 and 1/64, of ``widths`` channels.
        refinement: Skips, fine to coarse, to flows, coarse to fine.
        channels: C.
    """

    multiple = MULTIPLE

    def __init__(self, *, stem: nn.Module, trunk: nn.Module, refinement: nn.Module, channels: int) -> None:
        super().__init__()
        self.stem, self.trunk, self.refinement, self.channels = stem, trunk, refinement, channels

    def forward(self, before: Tensor, after: Tensor) -> Predictions:
        """Flows at 1/64, 1/32, 1/16, 1/8 and 1/4, in pixels of the input; no trust.

        Args:
            before: (N, C, H, W) in [0, 1], H and W multiples of 64.
            after: The same shape.

        Raises:
            ValueError: The shapes differ, or do not fit the network.
        """
        if not torch.jit.is_tracing():
            self._check(before, after)
        # The pair's own mean, so that the light of the scene matters little.
        mean = 0.5 * (before.mean((2, 3), keepdim=True) + after.mean((2, 3), keepdim=True))
        skip, features = self.stem(CONTRAST * (before - mean), CONTRAST * (after - mean))
        flows = self.refinement([skip, *self.trunk(features)])
        return Predictions(tuple(flow * FLOW_SCALE for flow in flows), None)

    def _check(self, before: Tensor, after: Tensor) -> None:
        if before.shape != after.shape:
            raise ValueError(f"two pictures of one size, not {tuple(before.shape)} and {tuple(after.shape)}")
        if before.dim() != 4 or before.shape[1] != self.channels:
            raise ValueError(f"pictures are (N, {self.channels}, H, W), not {tuple(before.shape)}")
        if before.shape[2] % MULTIPLE or before.shape[3] % MULTIPLE:
            raise ValueError(f"height and width are multiples of {MULTIPLE}, not {tuple(before.shape[2:])}")


class StackedStem(nn.Module):
    """Convolutions 1 to 3 over both pictures at once (fig. 2, top)."""

    def __init__(self, *, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.tower = Tower(channels=2 * channels, widths=widths)
        self.skip, self.width = widths[1], widths[2]

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) twice -> (N, skip, H/4, W/4), (N, width, H/8, W/8)."""
        return self.tower(torch.cat([before, after], 1))


class SiameseStem(nn.Module):
    """One tower for both pictures, their correlation, and a narrow way round it for the first (fig. 2, bottom)."""

    def __init__(
        self, *, channels: int, widths: tuple[int, int, int], redirected: int, is_cosine: bool = False
    ) -> None:
        super().__init__()
        self.is_cosine = is_cosine
        self.tower = Tower(channels=channels, widths=widths)
        self.redirect = _convolution(widths[2], redirected, size=1)
        self.leak = nn.LeakyReLU(LEAK)
        self.skip, self.width = widths[1], (2 * (RADIUS // STRIDE) + 1) ** 2 + redirected

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) twice -> (N, skip, H/4, W/4) of the first, (N, width, H/8, W/8)."""
        skip, first = self.tower(before)
        _, second = self.tower(after)
        sides = (_directions(first), _directions(second)) if self.is_cosine else (first, second)
        compared = self.leak(strided_correlation(*sides, RADIUS, STRIDE))
        return skip, torch.cat([self.redirect(first), compared], 1)


class Tower(nn.Module):
    """Convolutions 1 to 3: 7x7, 5x5, 5x5, each halving the size."""

    def __init__(self, *, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, widths[0], size=7, stride=2)
        self.conv2 = _convolution(widths[0], widths[1], size=5, stride=2)
        self.conv3 = _convolution(widths[1], widths[2], size=5, stride=2)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> what convolution 2 and convolution 3 give, at 1/4 and 1/8."""
        quarter = self.conv2(self.conv1(pictures))
        return quarter, self.conv3(quarter)


class Trunk(nn.Module):
    """Convolutions 3.1 to 6.1, all 3x3: one that keeps the size after each that halves it."""

    def __init__(self, *, channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        stages: list[nn.Module] = [_convolution(channels, widths[0])]
        for before, after in zip(widths[:-1], widths[1:]):
            stages.append(nn.Sequential(_convolution(before, after, stride=2), _convolution(after, after)))
        self.stages = nn.ModuleList(stages)
        self.widths = widths

    def forward(self, features: Tensor) -> list[Tensor]:
        """(N, C, H/8, W/8) -> maps at 1/8, 1/16, 1/32, 1/64."""
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


class Refinement(nn.Module):
    """Upconvolutions back to 1/4, each joined with the skip of its size and the coarser flow, enlarged (fig. 3).

    Args:
        skips: Channels of the skips, fine to coarse.
        widths: Channels of the upconvolutions, coarse to fine: one fewer.
    """

    def __init__(self, *, skips: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        inputs = [skips[-1]]
        inputs += [skip + width + 2 for skip, width in zip(skips[-2::-1], widths)]
        self.flows = nn.ModuleList(nn.Conv2d(n, 2, 3, padding=1) for n in inputs)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2, 2, 4, 2, 1) for _ in widths)
        self.upconvolutions = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(n, width, 4, 2, 1), nn.LeakyReLU(LEAK))
            for n, width in zip(inputs, widths)
        )

    def forward(self, skips: list[Tensor]) -> list[Tensor]:
        """Maps, fine to coarse, each half the size of the one before -> flows (N, 2, h, w), coarse to fine."""
        x = skips[-1]
        flows = [self.flows[0](x)]
        stages = zip(skips[-2::-1], self.upconvolutions, self.enlarge, self.flows[1:])
        for skip, upconvolution, enlarge, predict in stages:
            x = torch.cat([skip, upconvolution(x), enlarge(flows[-1])], 1)
            flows.append(predict(x))
        return flows


def _directions(features: Tensor) -> Tensor:
    """(N, C, H, W) about their mean over the picture, and of length sqrt(C): mean products are cosines."""
    features = features.float()
    centred = features - features.mean((2, 3), keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def at_full_size(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow in pixels of the input, enlarged to the input's size: bilinear, as good as more layers (sec. 3).

    Args:
        flow: (N, 2, h, w).
        height: Of the input.
        width: Of the input.
    """
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)


def _flownet(
    stem: "StackedStem | SiameseStem",
    c: Callable[[int], int],
    channels: int,
    generator: torch.Generator | None,
) -> FlowNet:
    trunk = Trunk(channels=stem.width, widths=(c(256), c(512), c(512), c(1024)))
    refinement = Refinement(skips=(stem.skip, *trunk.widths), widths=(c(512), c(256), c(128), c(64)))
    network = FlowNet(stem=stem, trunk=trunk, refinement=refinement, channels=channels)
    _draw_weights(network, generator)
    return network


def _channels(width: float) -> Callable[[int], int]:
    """From a layer's channels in the paper to those at a share of them."""
    if not width > 0.0:
        raise ValueError(f"a network's width is above 0, not {width}")
    return lambda full: max(1, round(full * width))


def _convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2), nn.LeakyReLU(LEAK))


def _draw_weights(network: nn.Module, generator: torch.Generator | None) -> None:
    """He et al. 2015, for leaking units; the first flows are nearly 0, and their enlargement is bilinear.

    Were the first flows of the size of what they are made from, 20 px and more, learning would begin with making
    everything small, the features that are compared as well.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, a=LEAK, generator=generator)
            nn.init.zeros_(module.bias)
    for module in network.refinement.flows:
        with torch.no_grad():
            module.weight *= FIRST_FLOWS
    for module in network.refinement.enlarge:
        side = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            module.weight.zero_()
            module.weight[0, 0] = module.weight[1, 1] = side[:, None] * side
