"""How the linear layers of a flow fare: sizes, log-determinants, and the quality of the inverses
that they keep.
"""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.bijection import follow


def layer_statistics(flow, x) -> dict[str, tf.Tensor]:
    """Computes what tells how every linear layer of a flow fares. No weight changes.

    Args:
        flow: A Flow.
        x: A batch of data.

    Returns:
        For every layer whose kernel is a weight, under `INDEX.CLASS/NAME`: `kernel_norm`;
        `gradient_norm`, of the kernel's gradient of the training loss; `log_det`, exact, a mean
        over the batch. Where the layer keeps an inverse, also `reconstruction_error`; in degrees
        `gradient_angle`, between the kernel's gradient in training and that of the exact nll, and
        `log_det_gradient_angle`, the same for log|det| alone; `refinement_steps` of the exact
        inverse; and the `inverse_state` of its method.
    """
    leaves = flow.leaves()
    linear = {
        index: leaf
        for index, leaf in enumerate(leaves)
        if isinstance(getattr(leaf, "kernel", None), keras.Variable)
    }
    statistics: dict[str, tf.Tensor] = {}
    for (index, layer), found in zip(
        linear.items(), _linear_layers(flow, x, tuple(linear)), strict=True
    ):
        values = {
            "kernel_norm": tf.norm(layer.kernel.value),
            "gradient_norm": tf.norm(found["gradient"]),
            "log_det": found["log_det"],
        }
        if layer.has_learned_inverse:
            # In eager code, which has nothing to compile, as a graph of exact gradients has.
            with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
                exact = layer.constant_log_det()
                used = ops.batch_mean(layer(found["input"], training=True)[1])
            exact, used = (tape.gradient(log_det, layer.kernel.value) for log_det in (exact, used))
            values |= {
                "reconstruction_error": found["reconstruction_error"],
                "gradient_angle": ops.angle(
                    found["gradient"], found["gradient_without_log_det"] - exact
                ),
                "log_det_gradient_angle": ops.angle(used, exact),
                "refinement_steps": layer.refined_inverse(found["output"])[1],
            }
            values |= {
                name: tf.convert_to_tensor(value)
                for name, value in getattr(layer, "inverse_state", {}).items()
            }
        statistics |= {
            f"{index}.{type(layer).__name__}/{name}": value for name, value in values.items()
        }
    return statistics


@tf.function
def _linear_layers(flow, x, indices):
    """For every linear layer its input, output, log-det and reconstruction error, and the gradients
    of its kernel.

    Of the loss of training, and of the exact nll but for log-dets that do not depend on the data.
    """
    leaves = flow.leaves()
    kernels = [leaves[index].kernel.value for index in indices]
    # A layer that keeps its inverse in the training call must not do so here.
    with tf.GradientTape() as tape, keras.StatelessScope(collect_losses=True) as scope:
        z, log_det = flow(x, training=True, seed=0)
        loss = tf.add_n([-ops.batch_mean(flow.base_log_prob(z) + log_det), *scope.losses])
    gradients = tape.gradient(loss, kernels)
    found = []
    with tf.GradientTape() as tape:
        steps = flow.steps(x, seed=0)
        log_prob = tf.zeros((), flow.log_det_dtype)

        def visit(layer, h, z, log_det):
            nonlocal log_prob
            if layer.constant_log_det() is None:
                log_prob += tf.cast(log_det, flow.log_det_dtype)
            if len(found) < len(indices) and layer is leaves[indices[len(found)]]:
                found.append({"input": h, "output": z, "log_det": tf.reduce_mean(log_det)})
                if layer.has_learned_inverse:
                    error = layer.inverse(z, exact=False) - tf.cast(h, layer.log_det_dtype)
                    found[-1]["reconstruction_error"] = tf.reduce_sum(tf.square(error)) / tf.cast(
                        tf.shape(x)[0], error.dtype
                    )

        latents = follow(steps, visit)
        loss = -ops.batch_mean(flow.base_log_prob(latents) + log_prob)
    without_log_dets = tape.gradient(loss, kernels)
    for values, gradient, without in zip(found, gradients, without_log_dets, strict=True):
        values |= {"gradient": gradient, "gradient_without_log_det": without}
    return found


def inverse_angles(flow, x) -> dict[str, tf.Tensor]:
    """Compares ways to an inverse: the angle between the gradient of log|det| by each and the exact
    one, in degrees.

    Args:
        flow: A Flow.
        x: A batch of data.

    Returns:
        For every layer that keeps an inverse, under `INDEX.CLASS/NAME`: `kept`, the inverse as it
        is; `transpose`, that of the kernel, with which training starts; of a dense layer
        `projected`, the kept one after a projection on x, and `newton_schulz`, after a sweep; of a
        convolution `least_squares_3`, `_5` and `_7`, for inverse kernels of 3 x 3, 5 x 5 and 7 x 7,
        at least of the kernel's size.
    """
    angles: dict[str, tf.Tensor] = {}
    for index, (layer, h, z, _) in enumerate(flow.steps(x)):
        if not (
            layer.has_learned_inverse and isinstance(getattr(layer, "kernel", None), keras.Variable)
        ):
            continue
        kernel, kept = (
            tf.convert_to_tensor(layer.kernel),
            tf.convert_to_tensor(layer.inverse_kernel),
        )
        with tf.GradientTape() as tape:
            exact = layer.constant_log_det()
        exact = tape.gradient(exact, layer.kernel.value)
        if kernel.shape.rank == 2:
            images = tf.cast(z, kernel.dtype) - layer.bias
            inverses = {
                "kept": kept,
                "transpose": tf.transpose(kernel),
                "projected": ops.project_inverse(
                    kept, tf.cast(h, kernel.dtype), images, damping=1e-3
                ),
                "newton_schulz": ops.newton_schulz_inverse(kernel, kept),
            }
            gradients = {name: tf.transpose(inverse) for name, inverse in inverses.items()}
        else:
            inverses = {"kept": kept, "transpose": ops.flip(kernel)}
            for n in (3, 5, 7):
                size = max(n, layer.kernel_size[0]), max(n, layer.kernel_size[1])
                inverses[f"least_squares_{n}"] = ops.least_squares_inverse_kernel(kernel, size)
            gradients = {
                name: ops.conv2d_log_det_gradient(inverse, layer.kernel_size, layer.event_shape[:2])
                for name, inverse in inverses.items()
            }
        angles |= {
            f"{index}.{type(layer).__name__}/{name}": ops.angle(g, exact)
            for name, g in gradients.items()
        }
    return angles
