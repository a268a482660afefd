"""What a flow asks of the distribution of its latents."""

from typing import Any

import keras
import tensorflow as tf


class Base(keras.layers.Layer):
    """A distribution of latents `(batch, D)` as a Keras layer, which a flow trains and saves.

    A class of your own defines `log_prob` and `sample`. Where weights are needed it defines
    `build(input_shape)`, calls `super().build(input_shape)` first, and adds them by `add_weight`.

    Attributes:
        dims: D; set in build, which the flow calls.
        takes_context: Whether `log_prob` and `sample` take the context of the flow.
        context_shape: As in `snf_tf.layers.Bijection`.
        context_classes: As there.

    Example:
        >>> @keras.saving.register_keras_serializable("example")
        ... class Laplace(snf_tf.bases.Base):
        ...     def log_prob(self, z, context=None):
        ...         return -tf.reduce_sum(tf.abs(z) + tf.math.log(2.0), axis=1)
        ...
        ...     def sample(self, n, seed, context=None):
        ...         u = tf.random.stateless_uniform((n, self.dims), seed, -1.0, 1.0)
        ...         return -tf.sign(u) * tf.math.log1p(-tf.abs(u))
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,), base=Laplace())
        >>> flow.log_prob(flow.sample(3, seed=0)).shape
        TensorShape([3])
    """

    takes_context = False
    context_shape: tuple[int, ...] | None = None
    context_classes: int | None = None
    dims: int

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Sets `dims` from the shape of latents, `(None, D)`."""
        (self.dims,) = (size for size in input_shape[1:] if size is not None)

    def build_for(self, latent_shape: tuple[int, ...]) -> None:
        """Builds the base for latents `(D,)`, unless it is built.

        Raises:
            ValueError: If it was built for another D.
        """
        if not self.built:
            self.build((None, *latent_shape))
        if (self.dims,) != latent_shape:
            raise ValueError(
                f"The base of this Flow is for latents of shape {latent_shape}. "
                f"Received: a base that was built for D={self.dims}"
            )

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Computes log-densities in nats: `(batch, D)` -> `(batch,)`."""
        raise NotImplementedError

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Draws `(n, D)`, a function of the seed, an integer tensor of shape (2,)."""
        raise NotImplementedError

    def check_context(self, context: tf.Tensor) -> tf.Tensor:
        """Returns a context after checking its values; see `snf_tf.ops.require`."""
        return context

    def unbuilt_parts(self) -> list[str]:
        """Returns the names of networks that wait for a first context to be built."""
        return []

    @property
    def sample_dtype(self) -> str:
        """Returns the dtype of samples: that of weights, float32 at least."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    def add_weight(self, *args: Any, autocast: bool = False, **kwargs: Any) -> keras.Variable:
        """Adds a weight, as in Keras, and never casts the weight to half precision."""
        return super().add_weight(*args, autocast=autocast, **kwargs)
