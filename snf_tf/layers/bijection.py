"""The contract that every layer of a flow keeps."""

from collections.abc import Callable, Generator

import keras
import tensorflow as tf


class FlowLayer(keras.layers.Layer):
    """A bijection as a Keras layer.

    A call maps data to latents and returns the log-determinant beside them::

        z, log_det = layer(x)                    # exact log_det, exact gradients
        z, log_det = layer(x, training=True)     # may carry an estimator: the class's docstring
        says which x = layer.inverse(z)                     # exact, to float tolerance x =
        layer.inverse(z, exact=False)        # the learned inverse, where there is one

    x is `(batch,) + event_shape`, z is `(batch,) + latent_shape`, log_det = log|det dz/dx| is
    `(batch,)`, in nats, in float32 at least. A subclass defines `call` and `inverse`, calls
    `super().build(input_shape)` where it has a `build`, and overrides the rest where it differs.

    Attributes:
        event_shape: Shape of one x; set in build.
        latent_shape: Shape of one z; set in build.
        has_learned_inverse: Whether `inverse(z, exact=False)` differs from the exact inverse.
        stochastic: Whether `call` takes `seed=`, a row seed as of `snf_tf.ops.row_seed`.

    Example:
        >>> layer = snf_tf.layers.SmoothLeakyReLU()
        >>> z, log_det = layer(tf.zeros((2, 3)))
        >>> tuple(z.shape), tuple(log_det.shape), layer.event_shape
        ((2, 3), (2,), (3,))
    """

    has_learned_inverse = False
    stochastic = False

    def build(self, input_shape):
        """Sets `event_shape` and `latent_shape`.

        Raises:
            ValueError: If a dimension but the batch is unknown, or there is none.
        """
        shape = tuple(input_shape)
        if len(shape) < 2 or None in shape[1:]:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (batch,) + event_shape with every "
                f"dimension of the event known. "
                f"Received: input_shape={shape}"
            )
        self.event_shape = shape[1:]
        self.latent_shape = self.compute_latent_shape(self.event_shape)
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.event_shape))

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one z for the shape of one x; the same by default."""
        return event_shape

    def compute_output_shape(self, input_shape):
        """Shapes of `(z, log_det)`."""
        return (input_shape[0], *self.compute_latent_shape(tuple(input_shape[1:]))), (
            input_shape[0],
        )

    def call(self, x, context=None, training=False):
        """Returns `(z, log_det)`."""
        raise NotImplementedError

    def inverse(self, z, context=None, exact=True):
        """Returns x."""
        raise NotImplementedError

    def constant_log_det(self) -> tf.Tensor | None:
        """The exact log|det| as a scalar where it does not depend on x, else None. Costs what the
        log|det| costs.
        """
        return None

    def steps(self, x, context=None, training=False, seed=None) -> Generator:
        """Applies the `leaves` one by one, from data to latents; yields `(layer, x, z, log_det)`
        for each, and returns z.

        Arguments as in `call`; seed is a row seed, for a layer that is stochastic.
        """
        z, log_det = self(
            x, context=context, training=training, **({"seed": seed} if self.stochastic else {})
        )
        yield self, x, z, log_det
        return z

    def leaves(self) -> list["FlowLayer"]:
        """The layers that this one is made of, in the order of its steps; itself, if it is not made
        of others.
        """
        return [self]

    def check_data(self, x) -> tf.Tensor:
        """Returns x, if its values are such as this layer takes; see `snf_tf.ops.require`. Most
        layers take all.
        """
        return x

    def initialize(self, x, context=None) -> None:
        """Sets data-dependent weights from a batch of inputs; most layers have none."""

    @property
    def log_det_dtype(self) -> str:
        """The dtype of log-dets, penalties and exact inverses: the weights', float32 at least."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    def _require_images(self) -> None:
        """To be called in build: raises a ValueError unless events are images."""
        if len(self.event_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} takes images of shape (batch, height, width, channels). "
                f"Received: input_shape={(None, *self.event_shape)}"
            )

    def _widen(self, x) -> tf.Tensor:
        """x in `log_det_dtype`."""
        return tf.cast(x, self.log_det_dtype)

    def _latents(self, z) -> tf.Tensor:
        """Checks the argument of `inverse`, and casts it to `log_det_dtype`."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}.inverse needs a layer that has been called once, or built "
                f"by "
                f"layer.build((None,) + event_shape). Received: a layer that is not built"
            )
        z = self._widen(z)
        if z.shape.rank is not None and tuple(z.shape[1:]) != self.latent_shape:
            raise ValueError(
                f"{type(self).__name__}.inverse takes latents of shape (batch,) + "
                f"{self.latent_shape}. Received: z.shape={z.shape}"
            )
        return z

    def _repeat(self, log_det, x) -> tf.Tensor:
        """A log-det that is the same for every example of x, for each of them."""
        return tf.fill(tf.shape(x)[:1], self._widen(log_det))


def sum_event(values: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the batch: `(batch,) + event_shape` -> `(batch,)`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


def follow(steps: Generator, visit: Callable) -> tf.Tensor:
    """Runs the `steps` of a layer or a flow to their end, calls `visit(layer, x, z, log_det)` for
    each, and returns the last z.
    """
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        visit(*step)
