"""A user's own module: a model for vectors, and a function that returns data."""

import gin
import keras
import numpy as np

import snf_tf


@gin.configurable(module="own_data")
def standardized(event_shape, seed):
    bijections = [
        snf_tf.layers.Standardize(),
        snf_tf.layers.ExactDense(),
        snf_tf.layers.SplineActivation(),
    ]
    return snf_tf.Flow(bijections, event_shape, seed=seed)


@gin.configurable(module="own_data")
def conditional(event_shape, seed, classes=2):
    if classes:
        base = snf_tf.bases.ClassConditionalNormal(classes)
    else:
        # Built by the flow: the shape of contexts is known.
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2 * event_shape[0])])
        base = snf_tf.bases.ConditionalNormal(network)
    bijections = [snf_tf.layers.Standardize(), snf_tf.layers.ExactDense()]
    return snf_tf.Flow(bijections, event_shape, base=base, seed=seed)


@gin.configurable(module="own_data")
def ring(radius=1.0):
    """A noisy circle with an offset."""
    random = np.random.RandomState(0)
    angle = random.uniform(0, 2 * np.pi, 120)
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * random.randn(120, 2)
    x = (radius * x + 7.0).astype("float32")
    return snf_tf.data.Dataset("ring", "drawn", x[:80], x[80:100], x[100:])


@gin.configurable(module="own_data")
def class_means(event_shape, seed, classes=10):
    bijections = [snf_tf.layers.Dequantize(), snf_tf.layers.Flatten(), snf_tf.layers.ActNorm()]
    base = snf_tf.bases.ClassConditionalNormal(classes, spread=0.1)
    return snf_tf.Flow(bijections, event_shape, base=base, seed=seed)
