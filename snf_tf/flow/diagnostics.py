"""Diagnostics of the layers of a flow: sizes, log-determinants, and the quality of inverses."""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.flow.flow import Flow
from snf_tf.flow.graph_function import graph_function
from snf_tf.layers.bijection import Bijection, Step, follow


def layer_statistics(
    flow: Flow, x: tf.Tensor, context: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Computes diagnostics of every layer of a flow that brings some. No weight changes.

    Args:
        flow: A Flow.
        x: A batch of data, `(batch,) + event_shape`.
        context: As in `flow.log_prob`.

    Returns:
        Scalars under `INDEX.CLASS/NAME`. They are what `layer.diagnostics` returns, and
        `gradient_norm`, of the training loss with respect to all weights of the layer. Some weights
        have an estimated gradient in training. Their `gradient_angle`, in degrees, is the angle
        between the gradients of the training loss and of the exact nll.
    """
    steps: list[Step] = []
    follow(flow.steps(x, context, seed=0), steps.append)
    values = [dict(step.layer.diagnostics(step.x, step.z)) for step in steps]
    watched = {index: step.layer for index, step in enumerate(steps) if values[index]}
    used, without_constants = _gradients(flow, x, context, tuple(watched))
    for (index, layer), own, exact in zip(watched.items(), used, without_constants, strict=True):
        values[index]["gradient_norm"] = tf.linalg.global_norm(list(own.values()))
        # Learned orders of norms have no gradient of the nll.
        if names := [w.path for w in layer.estimated_weights if w.path in exact]:
            exact = _add_constant(layer, exact)
            pair = (tf.concat([tf.reshape(g[n], [-1]) for n in names], 0) for g in (own, exact))
            values[index]["gradient_angle"] = ops.angle(*pair)
    return {
        f"{index}.{type(layer).__name__}/{name}": tf.convert_to_tensor(value)
        for index, layer in watched.items()
        for name, value in values[index].items()
    }


def inverse_angles(
    flow: Flow, x: tf.Tensor, context: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Compares inverses by the angle between their gradient of log|det| and the exact one.

    Args:
        flow: A Flow.
        x: A batch of data, `(batch,) + event_shape`.
        context: As in `flow.log_prob`.

    Returns:
        Angles in degrees, under `INDEX.CLASS/NAME`, for every layer that keeps an inverse. NAME is
        `kept`, the inverse as it is, or `transpose`, that of the kernel, where training starts. Of
        a dense layer also `projected`, the kept inverse after a projection on x, and
        `newton_schulz`, after a sweep. Of a convolution also `least_squares_3`, `_5` and `_7`: the
        number is the size of the inverse kernel, which is at least that of the kernel.
    """
    return {
        f"{index}.{type(layer).__name__}/{name}": angle
        for index, (layer, h, z, _) in enumerate(flow.steps(x, context))
        for name, angle in layer.inverse_angles(h, z).items()
    }


@graph_function
def _gradients(flow, x, context, indices):
    """Computes two gradients of the weights of some leaves, `{path: gradient}` for each leaf.

    The first is of the training loss, the second of the exact nll. The second leaves out log-dets
    that do not depend on the data: their gradients take long to compile.
    """
    leaves = flow.leaves()
    weights = [leaves[index].trainable_weights for index in indices]
    values = [[weight.value for weight in own] for own in weights]
    # A layer that keeps its inverse in the training call must not do so here.
    with tf.GradientTape() as tape, keras.StatelessScope(collect_losses=True) as scope:
        z, log_det = flow(x, context=context, training=True, seed=0)
        log_prob = flow.base_log_prob(z, context) + log_det
        loss = tf.add_n([-ops.batch_mean(log_prob), *scope.losses])
    used = tape.gradient(loss, values)
    with tf.GradientTape() as tape:
        log_dets = [tf.zeros((), flow.log_det_dtype)]

        def visit(step):
            if not step.layer.log_det_is_constant:
                log_dets.append(tf.cast(step.log_det, flow.log_det_dtype))

        latents = follow(flow.steps(x, context, seed=0), visit)
        loss = -ops.batch_mean(flow.base_log_prob(latents, context) + sum(log_dets))
    exact = tape.gradient(loss, values)
    return tuple(
        [
            {w.path: g for w, g in zip(own, found, strict=True) if g is not None}
            for own, found in zip(weights, gradients, strict=True)
        ]
        for gradients in (used, exact)
    )


def _add_constant(layer: Bijection, gradients):
    """Subtracts the gradients of log|det| where it does not depend on the data."""
    if not layer.log_det_is_constant:
        return gradients
    weights = list(layer.estimated_weights)
    with tf.GradientTape() as tape:
        log_det = layer.constant_log_det()
    found = tape.gradient(log_det, [weight.value for weight in weights])
    return {w.path: gradients[w.path] - g for w, g in zip(weights, found, strict=True)}
