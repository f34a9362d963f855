"""Cards, opening, fetching, and the rewriting of input sizes."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import models
from models import catalogue
from models import session as session_module
from models.graph import with_input_shapes


def pooling_model(height: int | str = 8, width: int | str = 8) -> onnx.ModelProto:
    """images (1, 3, H, W) -> means (1, 3, H/4, W/4), with an inner shape written down as exporters do."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Neg", ["pooled"], ["means"]),
    ]
    half = [size // 4 if isinstance(size, int) else None for size in (height, width)]
    graph = helper.make_graph(
        nodes,
        "pooling",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3, *half])],
        value_info=[helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, 3, *half])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "own" / "pool.onnx"
    path.parent.mkdir()
    onnx.save(pooling_model(), path)
    return path


def write_card(folder: Path, stem: str, /, **values: str | int) -> None:
    rows = [f"{key} = {value!r}".replace("'", '"') for key, value in {"kind": "detector", **values}.items()]
    (folder / f"{stem}.toml").write_text("\n".join(rows))


# Cards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", models.cards(), ids=lambda card: card.name)
def test_every_card_says_what_a_user_must_know(card: models.ModelCard) -> None:
    for text in ("origin", "licence", "data", "data_terms", "recipe", "input", "output", "score"):
        assert getattr(card, text), f"{card.name} says nothing of its {text}"
    assert card.is_shipped or card.url.startswith("https://")


@pytest.mark.parametrize("card", [c for c in models.cards() if c.is_shipped], ids=lambda card: card.name)
def test_every_shipped_file_has_the_bytes_of_its_card(card: models.ModelCard) -> None:
    assert card.sha256 and card.bytes
    assert models.verify(card.name) == "ok"


def test_the_default_detector_is_shipped() -> None:
    assert models.card(models.DEFAULT_DETECTOR).kind == "detector"
    assert models.card(models.DEFAULT_DETECTOR).is_shipped


def test_a_misspelt_name_is_answered_with_the_near_one() -> None:
    with pytest.raises(models.ModelError, match="did you mean nanodet_g_person"):
        models.card("nanodet_g_persons")
    with pytest.raises(models.ModelError, match=r"no model file at nowhere/x\.onnx"):
        models.open_model("nowhere/x.onnx")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind = 'detector'\nurll = 'x'", "unknown name 'urll'; did you mean url"),
        ("kind = 'detector'\nstride = 8", r"goes under \[details\]"),
        ("kind = 'detector'\nbytes = 'many'", "needs bytes as int"),
        ("kind = 'cat'", "needs kind as one of"),
        ("name = 'x'", "needs kind as one of"),
        ("kind = 'flow'\nfile = '../x.onnx'", "bare file name"),
        ("kind = ", "cannot be read"),
    ],
)
def test_a_wrong_card_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(models.ModelError, match=says) as caught:
        models.read_card(path)
    assert str(path) in str(caught.value)


# Opening ----------------------------------------------------------------------------------------------------------


def test_a_bare_file_opens_without_a_card(model_file: Path) -> None:
    opened = models.open_model(str(model_file), device="cpu")
    assert (opened.name, opened.card, opened.providers) == ("pool", None, ["CPUExecutionProvider"])
    assert opened.sha256 == hashlib.sha256(model_file.read_bytes()).hexdigest()


def test_the_card_beside_a_file_is_honoured(model_file: Path) -> None:
    write_card(model_file.parent, "pool", name="my_pool", sha256=models.sha256_of(model_file).upper())
    opened = models.open_model(str(model_file), device="cpu")
    assert opened.card is not None
    assert opened.name == opened.card.name == "my_pool"


def test_other_bytes_than_the_cards_are_refused(tmp_path: Path) -> None:
    source = catalogue.SHIPPED
    for suffix in (".onnx", ".toml"):
        shutil.copy(source / f"{models.DEFAULT_DETECTOR}{suffix}", tmp_path)
    path = tmp_path / f"{models.DEFAULT_DETECTOR}.onnx"
    assert models.verify(str(path)) == "ok"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(models.ModelError, match="has SHA-256") as caught:
        models.open_model(str(path))
    assert str(path) in str(caught.value)
    assert models.verify(str(path)) == str(caught.value)


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is no model")
    with pytest.raises(models.ModelError, match=r"text\.onnx cannot be opened on cpu"):
        models.open_model(str(path), device="cpu")


def test_cuda_by_name_without_a_device_fails(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "cuda_device_count", lambda: 0)
    with pytest.raises(models.ModelError, match="device cuda was asked for, but"):
        models.open_model(str(model_file), device="cuda")
    assert models.open_model(str(model_file), device="auto").providers == ["CPUExecutionProvider"]


def test_a_silent_fall_back_to_the_cpu_is_noticed(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime answers a CUDA session whose libraries do not load with a CPU session and a line on stderr."""
    import onnxruntime

    asked: list[object] = []

    def open_on_cpu(model: object, options: object, providers: list[object]) -> SimpleNamespace:
        asked.extend(providers)
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    monkeypatch.setattr(session_module, "cuda_device_count", lambda: 2)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)
    with pytest.raises(models.ModelError, match="was to run on cuda:1, but ONNX Runtime fell back"):
        models.open_model(str(model_file), device="cuda:1")
    assert asked[0] == ("CUDAExecutionProvider", {"device_id": 1})
    assert models.open_model(str(model_file), device="auto").providers == ["CPUExecutionProvider"]
    assert "runs on the CPU although a CUDA device is present" in caplog.text
    with pytest.raises(models.ModelError, match="shows 2 CUDA devices"):
        models.open_model(str(model_file), device="cuda:2")


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "gpu"])
def test_an_unknown_device_is_refused(model_file: Path, device: str) -> None:
    with pytest.raises(models.ModelError, match="is unknown: use auto, cpu"):
        models.open_model(str(model_file), device=device)


# Other input sizes ------------------------------------------------------------------------------------------------


def test_a_fixed_input_takes_another_size(model_file: Path) -> None:
    opened = models.open_model(str(model_file), device="cpu", shapes={"images": (1, 3, 4, 12)})
    image = np.arange(3 * 4 * 12, dtype=np.float32).reshape(1, 3, 4, 12)
    (means,) = opened.session.run(None, {"images": image})
    np.testing.assert_allclose(means, -image.reshape(1, 3, 1, 4, 3, 4).mean((3, 5)))


def test_a_fixed_input_becomes_free(model_file: Path) -> None:
    opened = models.open_model(str(model_file), device="cpu", shapes={"images": (1, 3, "h", "w")})
    assert opened.session.get_inputs()[0].shape == [1, 3, "h", "w"]
    for H, W in ((4, 4), (8, 300)):
        (means,) = opened.session.run(None, {"images": np.ones((1, 3, H, W), np.float32)})
        assert means.shape == (1, 3, H // 4, W // 4)


def test_only_shapes_are_rewritten() -> None:
    """Against the slow twin: the same edit with the onnx package, over a file with all that is left alone."""
    model = pooling_model("rows", 8)
    model.doc_string = "x" * 300  # longer than a one-byte length
    model.metadata_props.add(key="who", value="me")
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    dims = expected.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims, (1, 3, 300, 20_000), strict=True):
        dim.dim_value = value
    expected.graph.output[0].type.tensor_type.ClearField("shape")
    del expected.graph.value_info[:]
    found = onnx.load_from_string(
        with_input_shapes(model.SerializeToString(), {"images": (1, 3, 300, 20_000)})
    )
    assert found == expected


def test_a_wrong_input_name_or_no_model_is_a_value_error() -> None:
    model = pooling_model().SerializeToString()
    with pytest.raises(ValueError, match="no input named pictures"):
        with_input_shapes(model, {"pictures": (1, 3, 8, 8)})
    with pytest.raises(ValueError, match="not a whole ONNX model"):
        with_input_shapes(model[:-7], {"images": (1, 3, 8, 8)})


# Fetching ---------------------------------------------------------------------------------------------------------


class Shelf:
    """A package folder with one card to fetch, an empty cache, and a server on the loopback that has the file."""

    def __init__(self, folder: Path, content: bytes, url: str) -> None:
        self.package, self.cache, self.content, self.url = folder / "package", folder / "cache", content, url
        self.requests = 0
        self.package.mkdir()

    def card(self, **values: str | int) -> None:
        write_card(self.package, "far", url=self.url, **values)

    def cached(self) -> list[str]:
        folder = self.cache / "models"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    content = pooling_model().SerializeToString()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.requests += 1
            is_there = self.path == "/far.onnx"
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(shelf.content) if is_there else 0))
            self.end_headers()
            if is_there:
                self.wfile.write(shelf.content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf = Shelf(tmp_path, content, f"http://127.0.0.1:{server.server_port}/far.onnx")
        monkeypatch.setattr(catalogue, "SHIPPED", shelf.package)
        monkeypatch.setenv("THROUGHLINE_CACHE", str(shelf.cache))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield shelf
        server.shutdown()
        thread.join()


def test_a_model_is_fetched_once_and_then_opens_by_name(shelf: Shelf) -> None:
    shelf.card(sha256=hashlib.sha256(shelf.content).hexdigest(), bytes=len(shelf.content))
    assert "get it with `models fetch far`" in models.verify("far")
    path = models.fetch("far")
    assert path.read_bytes() == shelf.content
    assert models.verify("far") == "ok"
    assert models.open_model("far", device="cpu").path == path
    assert models.fetch("far") == path
    assert shelf.requests == 1


def test_wrong_bytes_are_not_kept(shelf: Shelf) -> None:
    shelf.card(sha256="0" * 64)
    with pytest.raises(models.ModelError, match="far was not kept"):
        models.fetch("far")
    assert shelf.cached() == []


def test_a_damaged_copy_is_fetched_again(shelf: Shelf) -> None:
    shelf.card(sha256=hashlib.sha256(shelf.content).hexdigest())
    path = models.fetch("far")
    path.write_bytes(b"damaged")
    assert "fetch it again with `models fetch far`" in models.verify("far")
    assert models.fetch("far").read_bytes() == shelf.content


def test_without_a_known_hash_somebody_must_say_so(shelf: Shelf) -> None:
    shelf.card(sha256="")
    with pytest.raises(models.ModelError, match="--sha256"):
        models.fetch("far")
    with pytest.raises(models.ModelError, match="was not kept"):
        models.fetch("far", sha256="1" * 64)
    assert shelf.cached() == []
    assert models.fetch("far", sha256=hashlib.sha256(shelf.content).hexdigest()).is_file()


def test_the_first_copy_once_trusted_is_held_to(shelf: Shelf) -> None:
    shelf.card(sha256="")
    path = models.fetch("far", trust_first=True)
    assert shelf.cached() == ["far.onnx", "far.onnx.sha256"]
    assert models.verify("far") == "ok"
    path.write_bytes(shelf.content + b"\0")
    assert "it had when it was fetched" in models.verify("far")


def test_a_missing_page_and_a_closed_port_are_one_sentence(shelf: Shelf) -> None:
    write_card(shelf.package, "gone", url=shelf.url.replace("far", "gone"), sha256="0" * 64)
    with pytest.raises(models.ModelError, match="gone could not be fetched from .*Not Found"):
        models.fetch("gone")
    write_card(shelf.package, "odd", url="nonsense", sha256="0" * 64)
    with pytest.raises(models.ModelError, match="odd could not be fetched from nonsense"):
        models.fetch("odd")
    write_card(shelf.package, "lost", sha256="0" * 64)
    with pytest.raises(models.ModelError, match="names no address"):
        models.fetch("lost")
