"""SavedModels: they agree with the flow, are loaded by TensorFlow alone, and refuse bad input in
words.
"""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import snf_tf
from snf_tf import layers, serving
from snf_tf.flow import likelihood
from snf_tf.flow.diagnostics import layer_statistics
from snf_tf.serving.exporting import appearing
from tests.flows import D, image_flow, images, vector_flow

# In a process of its own, in which nothing but TensorFlow may be imported.
ALONE = """
import sys
import numpy as np, tensorflow as tf
directory, inputs, outputs = sys.argv[1:]
before = set(sys.modules)
model = tf.saved_model.load(directory)
x = np.load(inputs)
results = {
    "sample": model.sample(n=5, seed=3),
    "tensors": model.sample(tf.constant(5, tf.int64), tf.constant(3, tf.int64)),
    "cold": model.sample(5, 3, 0.5), "sample_exact": model.sample_exact(5, seed=3),
    "log_prob": model.log_prob(x, seed=2), "one": model.log_prob(x[:1], 2),
    "later": model.log_prob(x[4:], 2, 4),
    "floats": model.log_prob(x.astype("float64"), tf.constant(2)),
    "encode": model.encode(x, 2), "decode": model.decode(model.encode(x, 2)),
}
served = model.signatures["sample"](
    n=tf.constant(5, tf.int64), seed=tf.constant(3, tf.int64), temperature=tf.constant(1.0)
)
results["served"] = served["output_0"]
np.savez(outputs, **{name: value.numpy() for name, value in results.items()})
imported = {name.split(".")[0] for name in set(sys.modules) - before}
assert not {"keras", "snf_tf", "tensorflow_probability"} & imported
"""


@pytest.mark.parametrize("make", [vector_flow, pytest.param(image_flow, marks=pytest.mark.slow)])
def test_a_saved_model_agrees_with_the_flow(make, tmp_path):
    flow = make()
    for weight in flow.trainable_weights:
        weight.assign_add(0.05 * tf.random.normal(weight.shape))
    x = images(257) if make is image_flow else np.random.randn(257, D).astype("float32")
    serving.export(flow, tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    command = [
        sys.executable,
        "-c",
        ALONE,
        tmp_path / "model",
        tmp_path / "x.npy",
        tmp_path / "results.npz",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = np.load(tmp_path / "results.npz")
    np.testing.assert_array_equal(results["sample"], flow.sample(5, seed=3))
    np.testing.assert_array_equal(results["tensors"], flow.sample(5, seed=3))
    np.testing.assert_array_equal(results["served"], flow.sample(5, seed=3))
    np.testing.assert_array_equal(results["cold"], flow.sample(5, seed=3, temperature=0.5))
    np.testing.assert_array_equal(results["sample_exact"], flow.sample(5, seed=3, exact=True))
    log_prob, latents = flow.log_prob(x, seed=2), flow.encode(x, seed=2)
    np.testing.assert_allclose(results["log_prob"], log_prob, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(results["one"], log_prob[:1], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(results["later"], log_prob[4:], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(results["floats"], log_prob, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(results["encode"], latents, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(results["decode"], flow.decode(latents), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.sample(0, 1), "n must be at least 1"),
        (lambda model: model.sample_exact(-3, 1), "n must be at least 1"),
        (lambda model: model.sample(1, 1, -1.0), "temperature must be a finite number"),
        (lambda model: model.sample(1, 1, float("nan")), "temperature must be a finite number"),
        (lambda model: model.sample(1, 1, float("inf")), "temperature must be a finite number"),
        (lambda model: model.decode(np.full((1, 16), np.nan, "float32")), "z must be finite"),
        (
            lambda model: model.log_prob(np.zeros((2, 4, 4), "uint8")),
            r"x must be of shape \(batch, 4, 4, 1\)",
        ),
        (
            lambda model: model.encode(np.zeros((2, 4, 5, 1), "uint8")),
            r"x must be of shape \(batch, 4, 4, 1\)",
        ),
        (lambda model: model.log_prob(np.uint8(3)), r"x must be of shape \(batch, 4, 4, 1\)"),
        (lambda model: model.log_prob(images() / 255.0), r"integer values in 0\.\.255"),
        (lambda model: model.log_prob(images().astype(int) + 9), r"integer values in 0\.\.255"),
        (lambda model: model.log_prob(np.full((1, 4, 4, 1), np.nan, "float32")), "must be finite"),
        (
            lambda model: model.decode(np.zeros((2, 5), "float32")),
            r"z must be of shape \(batch, 16\)",
        ),
    ],
)
@pytest.mark.parametrize("loaded", [True, False])
def test_bad_input_is_refused(call, message, loaded, model):
    with pytest.raises(ERRORS, match=message):
        call(model[loaded])


X = images()
ERRORS = (tf.errors.InvalidArgumentError, ValueError)
STRINGS = np.full((2, 4, 4, 1), "a")
NO_INTEGERS = (1.5, "3", None, np.float64(1.5), tf.constant(1.5), tf.constant([1, 2], tf.int64))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8", "uint16", "uint64", "bool"])
def test_other_dtypes_of_data(kind, model):
    """In process every dtype is taken; a SavedModel holds a copy of its methods for each."""
    x = tf.cast(X > 100, kind)
    expected = model[False].log_prob(tf.cast(x, tf.uint8))
    np.testing.assert_array_equal(model[False].log_prob(x), expected)
    message = f"x must be numbers, of dtype uint8.* Received: x=.* of dtype {kind} and shape"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model[True].log_prob(x)


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize(
    "x", [STRINGS, STRINGS.tolist(), "a", None, X + 1j, X.astype("complex64")], ids=str
)
def test_what_is_no_number_is_refused(x, loaded, model):
    for method in (model[loaded].log_prob, model[loaded].encode):
        with pytest.raises(ERRORS, match="x must be") as error:
            method(x)
        assert "Received: x" in str(error.value)


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("name", ["seed", "first_row"])
@pytest.mark.parametrize("value", NO_INTEGERS, ids=str)
def test_what_is_no_seed_is_refused(name, value, loaded, model):
    message = f"{name} must be an integer.* Received: {name}="
    with pytest.raises(ERRORS, match=message):
        model[loaded].log_prob(X, **{name: value})


@pytest.mark.parametrize("value", NO_INTEGERS[:3], ids=str)
def test_what_is_no_number_of_samples_is_refused(value, model):
    """By TensorFlow where the SavedModel is loaded: it names the signature."""
    for given in ({"n": value, "seed": 0}, {"n": 2, "seed": value}):
        with pytest.raises(TypeError, match=r"Received args.*n: TensorSpec\(shape=\(\), dtype"):
            model[True].sample(**given)
        with pytest.raises(ValueError, match=r"must be an integer.* Received"):
            model[False].sample(**given)


@pytest.mark.parametrize("value", ["hot", None, [1.0], 1j])
def test_what_is_no_temperature_is_refused(value, model):
    with pytest.raises(TypeError, match=r"Received args.*temperature: TensorSpec"):
        model[True].sample(2, 0, value)
    with pytest.raises(ValueError, match=r"temperature must be a finite number. Received"):
        model[False].sample(2, 0, value)


@pytest.mark.parametrize(
    "value", ["a", None, [["a"]], object()], ids=["a", "None", "list", "object"]
)
def test_what_is_no_latent_is_refused(value, model):
    with pytest.raises(TypeError, match=r"Received args.*z: TensorSpec"):
        model[True].decode(value)
    with pytest.raises(ValueError, match=r"z must be real numbers.* Received: z"):
        model[False].decode(value)


def test_a_context_too_much_is_refused(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="context must be left out"):
        model[True].log_prob(X, context=X.astype("float32"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Endpoints, in this process and loaded."""
    flow = image_flow()
    directory = tmp_path_factory.mktemp("serving") / "model"
    serving.export(flow, directory)
    return {True: tf.saved_model.load(str(directory)), False: serving.Endpoints(flow)}


def test_export_replaces_nothing(tmp_path):
    serving.export(vector_flow(), tmp_path / "model")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        serving.export(vector_flow(), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.usefixtures("float64")
def test_log_dets_are_computed_once():
    """No LU is left in the graph that answers log_prob."""
    flow = snf_tf.Flow([layers.ExactDense(), layers.SmoothTanh()], event_shape=(D,))
    endpoints = serving.Endpoints(flow)
    x = np.random.randn(3, D)
    np.testing.assert_allclose(endpoints.log_prob(x), flow.log_prob(x), rtol=1e-12)
    flow.bijections[0].kernel.assign(2 * flow.bijections[0].kernel)
    # The weights are shared, but the log-determinants are those of the time of making.
    assert np.all(np.abs(endpoints.log_prob(x) - flow.log_prob(x)) > 1)


def test_exports_at_a_time_do_not_meet(tmp_path):
    with (
        appearing("path", tmp_path / "a/1", "A file") as first,
        appearing("path", tmp_path / "b/1", "A file") as second,
    ):
        first.write_text("a")
        second.write_text("b")
    assert (tmp_path / "a/1").read_text() == "a"
    assert (tmp_path / "b/1").read_text() == "b"


def test_half_precision_and_a_base_with_variables(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        flow = image_flow()
    finally:
        keras.config.set_dtype_policy("float32")
    endpoints = serving.Endpoints(flow)
    assert endpoints.decode(endpoints.encode(images())).shape == (12, 4, 4, 1)
    base = tfp.distributions.MultivariateNormalDiag(tf.Variable([1.0, 2.0]), tf.ones(2))
    flow = snf_tf.Flow([layers.ExactDense()], event_shape=(2,), base=base)
    serving.export(flow, tmp_path / "model")
    x = np.ones((3, 2), "float32")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), rtol=1e-5)


def test_images_of_a_nested_flow():
    flow = snf_tf.Flow([image_flow(), layers.SmoothTanh()], event_shape=(4, 4, 1))
    endpoints = serving.Endpoints(flow)
    np.testing.assert_allclose(
        endpoints.log_prob(images(), 3), flow.log_prob(images(), seed=3), rtol=1e-5
    )
    assert (
        endpoints._functions.signatures()["log_prob"].structured_input_signature[0][0].dtype
        == tf.uint8
    )
    assert likelihood.round_trip_error(flow, images()) < 0.1
    assert len(layer_statistics(flow, tf.constant(images()))) == 16


@pytest.mark.parametrize("loaded", [True, False])
def test_python_numbers_trace_nothing(loaded, model):
    """1,000 requests of 1,000 seeds, temperatures and sizes."""
    endpoints = model[loaded]
    functions = endpoints if loaded else endpoints._functions
    endpoints.sample(1, 0, 1.0)
    before = functions.sample.experimental_get_tracing_count()
    for index in range(1000):
        endpoints.sample(1 + index % 3, index, temperature=0.5 + index / 1000)
    assert functions.sample.experimental_get_tracing_count() == before
    flow = vector_flow()
    flow.sample(1, seed=0)
    before = [f.experimental_get_tracing_count() for f in (flow._latents, flow._decode)]
    for index in range(1000):
        flow.sample(1 + index % 3, seed=index, temperature=0.5 + index / 1000)
    after = [f.experimental_get_tracing_count() for f in (flow._latents, flow._decode)]
    # A second size makes the batch axis unknown.
    assert all(b - a <= 1 for a, b in zip(before, after, strict=True))


def test_seeds_of_log_prob_in_process_trace_nothing(model):
    endpoints, x = model[False], images()
    endpoints.log_prob(x)
    before = endpoints._functions.log_prob.experimental_get_tracing_count()
    values = [endpoints.log_prob(x, seed=seed, first_row=seed)[0] for seed in range(100)]
    assert endpoints._functions.log_prob.experimental_get_tracing_count() == before
    assert len({float(value) for value in values}) > 90


@pytest.mark.parametrize("loaded", [True, False])
def test_decoding_by_the_kept_inverse(loaded, model):
    z = tf.random.stateless_normal((3, 16), (0, 0))
    exact, approximate = model[loaded].decode(z), model[loaded].decode_approximate(z)
    assert np.abs(exact - approximate).max() > 1e-3
    np.testing.assert_allclose(approximate, exact, atol=20)


def test_an_uninitialized_flow_is_not_exported(tmp_path):
    flow = snf_tf.Flow([layers.ActNorm()], event_shape=(3,))
    with pytest.raises(ValueError, match=r"act_norm.* wait for data"):
        serving.export(flow, tmp_path / "model")
