"""LiteRT and ONNX files agree with the flow, and refuse in words what they cannot hold."""

import ast
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks, serving
from snf_tf.serving import lite_format, onnx_format
from snf_tf.serving.portable import METHODS
from tests.flows import D, brute_force_log_prob, images, vector_flow

EXPORTS = {
    "litert": (serving.export_litert, serving.load_litert),
    "onnx": (serving.export_onnx, serving.load_onnx),
}
NEEDED = {"litert": ["ai_edge_litert"], "onnx": ["tf2onnx", "onnx", "onnxruntime"]}


@pytest.fixture(params=EXPORTS)
def form(request):
    for module in NEEDED[request.param]:
        pytest.importorskip(module)
    return request.param


def moved(flow):
    """Moves all weights, so that no layer is the identity."""
    for index, weight in enumerate(flow.trainable_weights):
        weight.assign_add(0.03 * tf.random.stateless_normal(weight.shape, (index, 0)))
    return flow


def noise(n, size):
    return np.random.RandomState(1).randn(n, size).astype("float32")


def conv_flow():
    bijections = [
        *(layers.Dequantize(), layers.Scale(), layers.Logit()),
        *(layers.SelfNormalizingConv2D(3), layers.SplineActivation()),
    ]
    return moved(snf_tf.Flow(bijections, event_shape=(4, 4, 1)))


def test_vectors(form, tmp_path):
    write, load = EXPORTS[form]
    flow = moved(vector_flow())
    methods = ["sample", "encode", "log_prob", "decode_approximate"]
    differences = write(flow, tmp_path / "new" / "flow", methods)
    assert sorted(differences) == sorted(methods)
    assert max(differences.values()) < 1e-5
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["flow"]
    model, x = load(tmp_path / "new" / "flow", threads=1), noise(7, D)
    for rows in (x, x[:1]):
        np.testing.assert_allclose(model["encode"](x=rows), flow.encode(rows), atol=1e-5)
        np.testing.assert_allclose(
            model["log_prob"](x=rows), brute_force_log_prob(flow, rows), atol=1e-4
        )
        kept = flow.decode(rows, exact=False)
        np.testing.assert_allclose(model["sample"](noise=rows), kept, atol=1e-5)
        np.testing.assert_allclose(model["decode_approximate"](z=rows), kept, atol=1e-5)


def test_images(form, tmp_path):
    write, load = EXPORTS[form]
    flow = conv_flow()
    write(flow, tmp_path / "flow")
    model, x = load(tmp_path / "flow"), images(5)
    # What the flow sees of integers: with its noise.
    dequantized = next(flow.steps(tf.constant(x), seed=3)).z.numpy()
    np.testing.assert_allclose(model["encode"](x=dequantized), flow.encode(x, seed=3), atol=1e-4)
    np.testing.assert_allclose(
        model["log_prob"](x=dequantized), brute_force_log_prob(flow, x, 3), rtol=1e-5
    )
    z = noise(5, 16)
    np.testing.assert_allclose(model["sample"](noise=z), flow.decode(z, exact=False), atol=1e-2)


def test_contexts(form, tmp_path):
    write, load = EXPORTS[form]
    coupling = layers.AffineCoupling(width=4, context_classes=3)
    flow = moved(snf_tf.Flow([coupling], event_shape=(4,)))
    write(flow, tmp_path / "flow")
    model, x, labels = load(tmp_path / "flow"), noise(3, 4), np.array([2, 0, 1], "int32")
    found = model["log_prob"](x=x, context=labels)
    np.testing.assert_allclose(found, flow.log_prob(x, context=labels), atol=1e-5)
    assert np.abs(found - model["log_prob"](x=x, context=labels[::-1].copy())).max() > 1e-3


def test_no_rows_give_no_rows(form, tmp_path):
    """Some of LiteRT's operations refuse arrays without rows, as those of this coupling."""
    write, load = EXPORTS[form]
    coupling = layers.Coupling("logistic_mixture", "alternate", width=4)
    write(moved(snf_tf.Flow([coupling], event_shape=(4,))), tmp_path / "flow", ["encode"])
    assert load(tmp_path / "flow")["encode"](x=noise(0, 4)).shape == (0, 4)


def test_the_script_knows_the_methods():
    """It tells a wrong one before the library is imported."""
    script = (Path(__file__).parents[2] / "scripts/export.py").read_text()
    (known,) = re.findall(r"^_ALL_METHODS = (.*)$", script, re.MULTILINE)
    assert ast.literal_eval(known) == METHODS


def test_files_that_are_not_there(form, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        EXPORTS[form][1](tmp_path / "nowhere")


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_weights_that_float16_cannot_hold_are_refused(tmp_path, scale):
    pytest.importorskip("ai_edge_litert")
    flow = snf_tf.Flow([layers.Standardize()], event_shape=(2,))
    flow.initialize(scale * noise(500, 2))
    with pytest.raises(RuntimeError, match=r'float16, of .* take weights="float32"'):
        serving.export_litert(flow, tmp_path / "flow", weights="float16")
    assert not list(tmp_path.iterdir())
    serving.export_litert(flow, tmp_path / "flow")


def test_weights_of_half_the_size(tmp_path):
    pytest.importorskip("ai_edge_litert")
    bijections = [layers.SelfNormalizingDense() for _ in range(2)]
    flow = moved(snf_tf.Flow(bijections, event_shape=(100,)))
    sizes = {}
    for weights in ("float32", "float16"):
        path = tmp_path / weights
        (difference,) = serving.export_litert(flow, path, ["encode"], weights).values()
        sizes[weights] = path.stat().st_size
        assert difference < {"float32": 1e-5, "float16": 0.1}[weights]
    assert sizes["float32"] - sizes["float16"] > 0.45 * 4 * 2 * 100 * 100


def test_the_lacking_operation_is_named(form, tmp_path):
    write, load = EXPORTS[form]
    flow = moved(snf_tf.Flow([layers.ExactDense()], event_shape=(3,)))
    with pytest.raises(ValueError, match=r"has no operation MatrixSolve.*, which sample of this"):
        write(flow, tmp_path / "new/deep/flow")
    assert not list(tmp_path.iterdir())
    write(flow, tmp_path / "flow", ["encode", "log_prob"])
    assert sorted(load(tmp_path / "flow")) == ["encode", "log_prob"]


def test_an_error_without_names_is_explained(tmp_path):
    """Of two solves, each in a branch, tf2onnx only says that it finds no node."""
    pytest.importorskip("tf2onnx")
    flow = moved(snf_tf.Flow([layers.EmergingConv2D(3)], event_shape=(4, 4, 2)))
    with pytest.raises(ValueError, match=r"no operation [\w, ]*\bMatrixSolve, which sample of"):
        serving.export_onnx(flow, tmp_path / "flow", ["encode", "sample"])
    assert not list(tmp_path.iterdir())

    def solve(x):
        return tf.cond(tf.reduce_sum(x) > 0.0, lambda: tf.linalg.solve(x, x), lambda: x)

    function = tf.function(solve, input_signature=[tf.TensorSpec((2, 2))])
    assert onnx_format._unconvertible(function) == {"MatrixSolve"}


def test_residual_flows(form, tmp_path):
    """Their loops are converted; their log-determinants are not."""
    write, load = EXPORTS[form]
    parts = [networks.SpectralDense(8), networks.CLipSwish(), networks.SpectralDense(2)]
    network = keras.Sequential(parts)
    flow = moved(snf_tf.Flow([layers.ResidualBlock(network)], event_shape=(2,)))
    with pytest.raises(ValueError, match=r"has no operation \w+.*, which log_prob of this flow"):
        write(flow, tmp_path / "flow", ["log_prob"])
    write(flow, tmp_path / "flow", ["sample", "encode"])
    model, x = load(tmp_path / "flow"), noise(5, 2)
    z = x + network(x).numpy()
    np.testing.assert_allclose(model["encode"](x=x), z, atol=1e-5)
    np.testing.assert_allclose(model["sample"](noise=z), x, atol=1e-4)


def test_refusals(form, tmp_path, monkeypatch):
    write, _ = EXPORTS[form]
    flow = vector_flow()
    with pytest.raises(ValueError, match=r"methods must be some of sample, .* Received: methods="):
        write(flow, tmp_path / "flow", ["classify"])
    for methods in (5, [["sample"]], [], "sample"):
        with pytest.raises(ValueError, match="methods must be some of sample"):
            write(flow, tmp_path / "flow", methods)
    with pytest.raises(ValueError, match="In LiteRT and ONNX, sample maps standard normal noise"):
        write(vector_flow(base=snf_tf.bases.StudentT()), tmp_path / "flow")
    double = snf_tf.Flow([layers.ExactDense(dtype="float64")], event_shape=(2,))
    with pytest.raises(ValueError, match="take flows in float32"):
        write(double, tmp_path / "flow")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write(flow, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write(flow, tmp_path / "link")
    with pytest.raises(OSError, match=r"cannot be written. Received: .*/file/flow"):
        write(flow, tmp_path / "file/flow")
    (tmp_path / "link").unlink()
    (tmp_path / "file").unlink()

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install '\.\[export\]'"):
        write(flow, tmp_path / "flow")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_converter_is_told(form, tmp_path, monkeypatch):
    write, _ = EXPORTS[form]
    flow = vector_flow()
    module = {"litert": lite_format, "onnx": onnx_format}[form]
    wrong = {"encode": lambda x: flow.encode(x).numpy() + 1.0}
    monkeypatch.setattr(module, "load", lambda *_: wrong)
    with pytest.raises(RuntimeError, match="encode differs from the flow by 1"):
        write(flow, tmp_path / "flow", ["encode"])
    assert not list(tmp_path.iterdir())


def test_the_page():
    for module in (*NEEDED["litert"], "tensorflow_serving.apis.predict_pb2"):
        pytest.importorskip(module)
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["z"].shape == (5, 2)
    assert set(names["request"].inputs) == {"n", "seed", "temperature"}
    assert names["likelihoods"].model_spec.signature_name == "log_prob"


def test_numbers_that_cannot_be_compared_are_refused(form, tmp_path):
    flow = snf_tf.Flow([layers.SelfNormalizingDense()], event_shape=(2,))
    flow.bijections[0].bias.assign([float("nan")] * 2)
    with pytest.raises(RuntimeError, match="encode of the flow must be finite"):
        EXPORTS[form][0](flow, tmp_path / "file", ["encode"])
    assert not list(tmp_path.iterdir())


def test_another_error_is_no_lacking_operation(form, tmp_path, monkeypatch):
    def convert(*_, **__):
        raise MemoryError("full")

    converter = {
        "litert": "snf_tf.serving.lite_format._convert",
        "onnx": "tf2onnx.convert.from_function",
    }
    monkeypatch.setattr(converter[form], convert)
    flow = snf_tf.Flow([layers.SelfNormalizingDense()], event_shape=(2,))
    with pytest.raises(MemoryError, match="full"):
        EXPORTS[form][0](flow, tmp_path / "file", ["encode"])
    assert not list(tmp_path.iterdir())


def test_litert_names_only_what_an_error_says_it_lacks():
    """Its converter also tells which operation it was at."""

    def found(name, message):
        return SimpleNamespace(
            operator=SimpleNamespace(name=name), error_message=message, error_code=0
        )

    error = RuntimeError("no conversion")
    error.errors = [found("tf.Const", "Lowering failed"), found("", "no legal graph")]
    assert lite_format._lacking(error) == []
    error.errors += [found("tf.TensorListReserve", "'tf.TensorListReserve' op is illegal")]
    assert lite_format._lacking(error) == ["TensorListReserve"]
