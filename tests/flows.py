"""Small flows, data for them, and their likelihood by brute force."""

import numpy as np
import tensorflow as tf

import snf_tf
from snf_tf import layers

D = 6


def vector_flow(**kwargs):
    bijections = [
        layers.SelfNormalizingDense(),
        layers.SmoothLeakyReLU(),
        layers.SelfNormalizingDense(),
    ]
    return snf_tf.Flow(bijections, event_shape=(D,), **kwargs)


def image_flow():
    return snf_tf.models.convolutional(event_shape=(4, 4, 1), blocks=2, depth=1)


# Flows of images by how their layers keep their inverse, where it is not learned.
KEPT = {
    "projected": snf_tf.models.fully_connected,
    "newton_schulz": snf_tf.models.fully_connected,
    "least_squares": lambda **kwargs: snf_tf.models.convolutional(blocks=2, depth=1, **kwargs),
}


def kept_flow(method):
    """`projected` on fewer rows than the whole batch has."""
    return KEPT[method](
        event_shape=(4, 4, 1),
        inverse_method=layers.Projected(rows=3) if method == "projected" else method,
    )


def images(count=12, shape=(4, 4, 1)):
    return np.random.RandomState(0).randint(0, 256, (count, *shape)).astype("uint8")


def brute_force_log_prob(flow, x, seed=0):
    """log N(z) + log|det dz/dy| by the whole autodiff Jacobian, y the dequantized x where the first
    layer dequantizes.
    """
    first = flow.bijections[0]
    y = tf.constant(x) if first.is_bijection else next(flow.steps(tf.constant(x), seed=seed)).z
    with tf.GradientTape() as tape:
        tape.watch(y)
        h = y
        for bijection in flow.bijections[1 if not first.is_bijection else 0 :]:
            h, _ = bijection(h)
        z = tf.reshape(h, (len(x), -1))
    jacobian = tf.reshape(tape.batch_jacobian(z, y), (len(x), z.shape[1], z.shape[1]))
    return -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1) + np.linalg.slogdet(jacobian)[1]
