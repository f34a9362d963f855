"""The OSNet family: encoders that see a person at four scales in every block.

Written from the papers: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019 (the
block, the gate, the widths), and Zhou et al., "Learning Generalisable Omni-Scale Representations for Person
Re-Identification", TPAMI 2021 (where instance normalisation stands, OSNet-IBN and OSNet-AIN). Instance
normalisation takes away a picture's own contrast, and with it much of what tells one site from another.

    encoder = osnet(width=0.25, norm="adaptive")    # (N, 3, H, W) -> (N, encoder.width, H / 16, W / 16)

An encoder ends with its map: pooling, projection and neck are for the network that it is handed to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (0.25, 0.5, 0.75, 1.0)
STEM = 64  # channels at width 1, before the first stage
STAGES = (256, 384, 512)  # channels at width 1
STREAMS = 4  # scales of a block
BOTTLENECK = 4  # a stream is that much narrower than its block's result
SQUEEZE = 16  # a gate's hidden layer is that much narrower than a stream

FamilyNorm = Literal["batch", "instance-after", "adaptive"]
Instance = Literal["none", "branch", "sum"]
"""Where a block has instance normalisation: nowhere, last on its residual branch, or after the residual sum."""


class Convolution(nn.Sequential):
    """A convolution without bias, then a norm (batch normalisation by default)."""

    def __init__(
        self, *, inside: int, outside: int, size: int = 1, stride: int = 1, norm: nn.Module | None = None
    ) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outside) if norm is None else norm,
        )


class ConvolutionRelu(Convolution):
    """The same, and what is negative becomes zero."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H / stride, W / stride), >= 0."""
        return F.relu(super().forward(x), inplace=True)


class LightConvolution(nn.Sequential):
    """Lite 3x3 convolution: 1x1 without activation, then 3x3 on each channel alone (ICCV 2019, sec. 3.1).

    Costs ``C (C + 9)`` weights where a dense 3x3 convolution costs ``9 C^2``.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class Stream(nn.Sequential):
    """One scale: ``depth`` light convolutions, which together see ``2 depth + 1`` pixels each way."""

    def __init__(self, *, channels: int, depth: int) -> None:
        super().__init__(*(LightConvolution(channels=channels) for _ in range(depth)))


class AggregationGate(nn.Module):
    """How much of each channel to let through, from what is in the whole map (ICCV 2019, eq. 3).

    One gate serves all streams of a block, so that the scales are weighed by one measure.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        hidden = max(channels // SQUEEZE, 1)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def weights(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1), each in (0, 1)."""
        mean = F.adaptive_avg_pool2d(x, 1)
        return self.excite(F.relu(self.squeeze(mean), inplace=True)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape, each channel times its weight."""
        return x * self.weights(x)


class OmniScaleBlock(nn.Module):
    """Streams of 1, 2, ... light convolutions, gated and summed, in a residual bottleneck (ICCV 2019, eq. 2, fig. 4).

    ``y = relu(shortcut(x) + expand(sum over t of G(x_t) * x_t))`` with ``x_t`` the t-th stream on ``reduce(x)``.
    """

    def __init__(
        self, *, inside: int, outside: int, streams: int = STREAMS, instance: Instance = "none"
    ) -> None:
        super().__init__()
        middle = outside // BOTTLENECK
        self.reduce = ConvolutionRelu(inside=inside, outside=middle)
        self.streams = nn.ModuleList(Stream(channels=middle, depth=t) for t in range(1, streams + 1))
        self.gate = AggregationGate(channels=middle)
        branch_norm = nn.InstanceNorm2d(outside, affine=True) if instance == "branch" else None
        self.expand = Convolution(inside=middle, outside=outside, norm=branch_norm)
        self.shortcut = nn.Identity() if inside == outside else Convolution(inside=inside, outside=outside)
        self.after = nn.InstanceNorm2d(outside, affine=True) if instance == "sum" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W), >= 0."""
        narrow = self.reduce(x)
        scales = [self.gate(stream(narrow)) for stream in self.streams]
        omni = sum(scales[1:], start=scales[0])
        return F.relu(self.after(self.expand(omni) + self.shortcut(x)), inplace=True)


@dataclass(frozen=True)
class Stage:
    """Blocks of equal width, one for each entry of ``instance``."""

    width: int
    instance: tuple[Instance, ...]


class OmniScaleEncoder(nn.Sequential):
    """Pictures to maps of a sixteenth of their size: stem, stages with a halving between them, a last 1x1 (table 1).

    ``width`` is the number of channels of the map.
    """

    def __init__(self, *, stem: int, stages: Sequence[Stage], stem_instance: bool = False) -> None:
        stem_norm = nn.InstanceNorm2d(stem, affine=True) if stem_instance else None
        parts: list[nn.Module] = [
            ConvolutionRelu(inside=3, outside=stem, size=7, stride=2, norm=stem_norm),
            nn.MaxPool2d(3, 2, 1),
        ]
        inside = stem
        for number, stage in enumerate(stages):
            if number > 0:  # the transition of the stage before
                parts += [ConvolutionRelu(inside=inside, outside=inside), nn.AvgPool2d(2)]
            for instance in stage.instance:
                parts.append(OmniScaleBlock(inside=inside, outside=stage.width, instance=instance))
                inside = stage.width
        super().__init__(*parts, ConvolutionRelu(inside=inside, outside=inside))
        self.width = inside
        _initialise(self)


def _initialise(network: nn.Module) -> None:
    """Normal weights by the fan-out (He et al., ICCV 2015), as published; norms start as they are made.

    A gate's squeeze starts positive: what it sees is never negative, so that no hidden unit starts dead. By chance
    alone every second one would, and at width 0.25 most gates have only one.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in network.modules():
        if isinstance(part, AggregationGate):
            part.squeeze.weight.data.abs_()


# By stage and block (TPAMI 2021): OSNet-IBN normalises the early sums, OSNet-AIN where the search put it.
_INSTANCES: dict[FamilyNorm, tuple[tuple[Instance, ...], ...]] = {
    "batch": (("none", "none"), ("none", "none"), ("none", "none")),
    "instance-after": (("sum", "sum"), ("none", "none"), ("none", "none")),
    "adaptive": (("branch", "branch"), ("none", "branch"), ("branch", "none")),
}


def osnet(*, width: float = 1.0, norm: FamilyNorm = "batch") -> OmniScaleEncoder:
    """A published encoder, with new weights drawn from torch's generator.

    Takes pictures of at least 13 pixels each way; a side of ``n`` pixels leaves ``ceil(n / 4) // 2 // 2``, and
    instance normalisation in the last stage needs more than one place.

    Args:
        width: Channels of all layers against the full network: 0.25, 0.5, 0.75 or 1.
        norm: ``batch`` (OSNet); ``instance-after`` (OSNet-IBN: instance normalisation in the stem and after the
            residual sums of the first stage); ``adaptive`` (OSNet-AIN: in the stem and, before the sum, on the
            residual branches that the search chose).

    Raises:
        ValueError: There is no such width or norm.
    """
    if width not in WIDTHS:
        raise ValueError(f"no OSNet has width {width}: choose one of {', '.join(map(str, WIDTHS))}")
    if norm not in _INSTANCES:
        raise ValueError(f"no OSNet has norm {norm!r}: choose one of {', '.join(_INSTANCES)}")
    stages = [
        Stage(width=int(channels * width), instance=instance)
        for channels, instance in zip(STAGES, _INSTANCES[norm], strict=True)
    ]
    return OmniScaleEncoder(stem=int(STEM * width), stages=stages, stem_instance=norm != "batch")
