"""What a flow refuses, and in what words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training import make_strategy
from tests.flows import D, image_flow, images, vector_flow


def test_bad_input_is_refused():
    flow, x = image_flow(), images()
    for bad, message in (
        (x[:, :3], r"This Flow takes x of shape \(batch,\) \+ \(4, 4, 1\)"),
        (x / 255.0, r"integer values in 0\.\.255"),
        (x + 10.0, r"integer values in 0\.\.255"),
        (np.where(x > 9, np.nan, x), "must be finite"),
    ):
        for method in (flow.log_prob, flow.encode, flow.evaluate, flow.initialize):
            with pytest.raises(ValueError, match=message):
                method(bad)
        flow.compile(optimizer="sgd")
        with pytest.raises(ValueError, match=message):
            flow.fit(bad, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"integer values in 0\.\.255"):
        flow.fit(tf.data.Dataset.from_tensors(x + 10.0), verbose=0)
    vector = vector_flow()
    vector.compile(optimizer="sgd")
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        vector.fit(tf.data.Dataset.from_tensors(np.full((3, D), np.nan, "float32")), verbose=0)
    with pytest.raises(ValueError, match="decode takes latents"):
        flow.decode(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        flow.sample(0)
    with pytest.raises(ValueError, match="temperature"):
        flow.sample(1, temperature=-1.0)
    with pytest.raises(ValueError, match="without a batch"):
        flow.evaluate(tf.data.Dataset.from_tensor_slices(x[:0]).batch(3))


def test_bad_flows_are_refused():
    with pytest.raises(ValueError, match="at least one bijection"):
        snf_tf.Flow([], event_shape=(2,))
    with pytest.raises(ValueError, match=r"list of snf_tf\.layers\.FlowLayer"):
        snf_tf.Flow([keras.layers.Dense(2)], event_shape=(2,))
    used = layers.ExactDense()
    used.build((None, 5))
    with pytest.raises(ValueError, match="was built for events of shape"):
        snf_tf.Flow([used], event_shape=(4,))
    with pytest.raises(ValueError, match="event_shape must be a tuple"):
        snf_tf.Flow([layers.ExactDense()], event_shape=4)


def test_what_a_flow_brings_itself_is_refused():
    flow, x = vector_flow(), np.zeros((4, D), "float32")
    for options in ({"loss": "mse"}, {"metrics": ["mse"]}):
        with pytest.raises(ValueError, match="brings its own loss"):
            flow.compile(optimizer="sgd", **options)
    flow.compile(optimizer="sgd")
    for options in ({"y": x}, {"class_weight": {0: 1.0}}):
        with pytest.raises(ValueError, match="fitted to x alone"):
            flow.fit(x, verbose=0, **options)
    with pytest.raises(ValueError, match="evaluated on x alone"):
        flow.evaluate(x, y=x)
    with pytest.raises(ValueError, match="No layer of this Flow takes a context"):
        flow.fit(x, validation_data=(x, x), verbose=0)
    triples = tf.data.Dataset.from_tensor_slices((x, x, x)).batch(2)
    for method in (flow.fit, flow.evaluate):
        with pytest.raises(ValueError, match=r"must be x, \(x, context\)"):
            method(triples)
        with pytest.raises(ValueError, match="must be an array of numbers"):
            method(object())


def test_data_without_a_batch_are_refused():
    flow, x = vector_flow(), np.zeros((4, D), "float32")
    flow.compile(optimizer="sgd")
    rows = tf.data.Dataset.from_tensor_slices(x)
    for empty in (
        iter(()),
        rows.take(0).batch(2),
        rows.filter(lambda row: tf.reduce_all(row > 1)).batch(2),
    ):
        with pytest.raises(ValueError, match=r"x must be data of one batch at least\. Received"):
            flow.fit(empty, verbose=0)
    assert flow.fit(x, epochs=1, initial_epoch=5, verbose=0).history == {}


def test_parts_of_streams_are_refused():
    flow = vector_flow()
    flow.compile(optimizer="sgd")
    stream = tf.data.Dataset.from_tensors(np.zeros((4, D), "float32"))
    with pytest.raises(ValueError, match="validation_split must be left out"):
        flow.fit(stream, validation_split=0.5)


def test_weights_that_are_no_file_are_refused_by_name(tmp_path):
    for path, error in ((tmp_path, ValueError), (tmp_path / "no.weights.h5", FileNotFoundError)):
        with pytest.raises(error, match=str(path)):
            vector_flow().load_weights(path)


def test_xla_does_not_hide_bad_data():
    flow = vector_flow()
    flow.compile(optimizer="sgd", jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        flow.fit(tf.data.Dataset.from_tensors(np.full((3, D), np.nan, "float32")), verbose=0)


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True},
        {"steps_per_execution": 2},
        {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
    ],
)
def test_what_keras_cannot_do_on_several_devices_is_refused(options):
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        flow = vector_flow()
    with pytest.raises(ValueError, match="cannot do this on several devices"):
        flow.compile(**options)
    vector_flow().compile(**options)
