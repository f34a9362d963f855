"""The exported graph against the network it was made from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402  # after the checks

from reid.export import load_checkpoint, to_onnx  # noqa: E402
from reid.model import (  # noqa: E402
    BodyPooling,
    Encoder,
    GeneralisedMean,
    ReidNet,
    Stage,
    normalise,
    reid_small,
)


def tiny() -> ReidNet:
    """Every kind of part, in small, with statistics of its own in each normalisation."""
    torch.manual_seed(3)
    encoder = Encoder(stem=8, stages=[Stage(16, 1, 2, half_instance=True), Stage(24, 2, 2), Stage(24, 1, 1)])
    network = ReidNet(
        encoder=encoder, pool=BodyPooling(pool=GeneralisedMean()), projection=nn.Linear(3 * encoder.width, 12)
    )
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network.eval()


def embeddings_of(network, crops):
    with torch.inference_mode():
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        return nn.functional.normalize(network(normalise(pictures)), dim=1).numpy()


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("make", [tiny, lambda: reid_small().eval()], ids=["tiny", "reid_small"])
def test_parity_with_the_network(make):
    network = make()
    session = session_of(to_onnx(network))
    crops = np.random.default_rng(0).integers(0, 256, (5, 128, 64, 3), dtype=np.uint8)
    rows = session.run(None, {"crops": crops})[0]
    assert rows.shape == (5, network.dim) and rows.dtype == np.float32
    assert np.abs(rows - embeddings_of(network, crops)).max() < 2e-5
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_any_batch_size_gives_the_same_rows():
    session = session_of(to_onnx(tiny()))
    crops = np.random.default_rng(1).integers(0, 256, (4, 128, 64, 3), dtype=np.uint8)
    together = session.run(None, {"crops": crops})[0]
    alone = np.concatenate([session.run(None, {"crops": crops[i : i + 1]})[0] for i in range(4)])
    assert np.abs(together - alone).max() < 1e-5


def test_a_black_and_a_plain_crop_have_unit_rows():
    """A picture without any contrast has no spread to divide by."""
    crops = np.stack([np.full((128, 64, 3), value, np.uint8) for value in (0, 127, 255)])
    rows = session_of(to_onnx(tiny())).run(None, {"crops": crops})[0]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_the_same_network_gives_the_same_bytes():
    assert to_onnx(tiny()).SerializeToString(deterministic=True) == to_onnx(tiny()).SerializeToString(
        deterministic=True
    )


def test_batch_normalisation_is_folded_away():
    assert "BatchNormalization" not in {node.op_type for node in to_onnx(tiny()).graph.node}


def test_an_encoder_of_other_parts_is_refused():
    network = ReidNet(
        encoder=nn.Sequential(nn.Conv2d(3, 8, 3)),
        pool=BodyPooling(pool=GeneralisedMean()),
        projection=nn.Linear(24, 4),
    )
    with pytest.raises(TypeError, match=r"only reid\.model\.Encoder"):
        to_onnx(network)


def test_a_checkpoint_gives_its_averaged_network(tmp_path):
    network = reid_small()
    nn.init.constant_(network.projection.bias, 0.25)
    torch.save({"recipe": {"network": "reid_small"}, "average": network.state_dict()}, tmp_path / "c.pt")
    loaded = load_checkpoint(tmp_path / "c.pt")
    assert loaded.projection.bias.eq(0.25).all()
    assert not loaded.training
