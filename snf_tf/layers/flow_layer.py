"""The base class of every layer of a flow, and the recipe for a new one."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from snf_tf._array_checks import refuse_array
from snf_tf._checks import refuse
from snf_tf.layers.bijection import Bijection


class FlowLayer(Bijection):
    """A bijection as a Keras layer.

    A call maps data to latents and returns the log-determinant beside them::

        z, log_det = layer(x)                    # exact log_det, exact gradients
        z, log_det = layer(x, training=True)     # may carry an estimator: see the class's docstring
        x = layer.inverse(z)                     # exact, to float tolerance
        x = layer.inverse(z, exact=False)        # the approximate inverse, if there is one

    x is `(batch,) + event_shape`, z is `(batch,) + latent_shape`, log_det = log|det dz/dx| is
    `(batch,)`, in nats, in float32 at least.

    A new layer takes four steps:

    1. Define `call(x, context=None, training=False)`, which returns `(z, log_det)`. x arrives in
       `log_det_dtype`, and weights of `add_weight` have this dtype, in every precision.
    2. Define `call_inverse(z, context=None, exact=True)`, which returns x. `inverse` has checked z.
    3. Where weights are needed, define `build(input_shape)`, and call `super().build(input_shape)`
       first. Where the constructor takes arguments, define `get_config`.
    4. Say what differs from `Bijection`: set `log_det_is_constant = True` and define
       `constant_log_det()`. Set `takes_context = False`, or `context_shape` where every call needs
       a context. Set `takes_seed = True` and let `call` take `seed=None`. Override
       `compute_latent_shape`, or `initialize` for weights that depend on data.

    `snf_tf.testing.check_bijection(layer, x)` says whether the layer keeps the contract.

    Example:
        >>> @keras.saving.register_keras_serializable("example")
        ... class Sinh(snf_tf.layers.FlowLayer):
        ...     def call(self, x, context=None, training=False):
        ...         return tf.sinh(x), tf.reduce_sum(tf.math.log(tf.cosh(x)), axis=1)
        ...
        ...     def call_inverse(self, z, context=None, exact=True):
        ...         return tf.asinh(z)
        >>> layer = Sinh()
        >>> z, log_det = layer(tf.ones((2, 3)))
        >>> tuple(z.shape), tuple(log_det.shape), layer.event_shape
        ((2, 3), (2,), (3,))
        >>> snf_tf.testing.check_bijection(layer, tf.ones((2, 3)))
    """

    _initializes_from_data: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Marks a layer that overrides `initialize`: its weights wait for data."""
        super().__init_subclass__(**kwargs)
        if "initialize" in cls.__dict__ and "needs_initialization" not in cls.__dict__:
            cls._initializes_from_data = True
            cls.initialize = _noting(cls.initialize)  # type: ignore[method-assign]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not all(tf.as_dtype(d).is_floating for d in (self.compute_dtype, self.variable_dtype)):
            allowed = 'a dtype of floats, such as "float32", or a policy of them'
            refuse("dtype", kwargs.get("dtype", self.dtype_policy), allowed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Sets `event_shape` and `latent_shape`.

        Raises:
            ValueError: If a dimension other than the batch is unknown, or the event has no
                dimension.
        """
        shape = tuple(input_shape)
        event_shape = tuple(size for size in shape[1:] if size is not None)
        if not event_shape or len(event_shape) < len(shape) - 1:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (batch,) + event_shape with every "
                f"dimension of the event known. Received: input_shape={shape}"
            )
        self.event_shape = event_shape
        self.latent_shape = self.compute_latent_shape(self.event_shape)
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.event_shape))
        if self._initializes_from_data:
            self.initialized = self.add_weight(
                name="initialized", shape=(), initializer="zeros", trainable=False
            )

    def check_input(self, x: Any) -> Any:
        x = super().check_input(x)
        if self.built and not tf.TensorShape(x.shape).is_compatible_with((None, *self.event_shape)):
            allowed = f"of shape (batch,) + {self.event_shape}, events of {self.name}"
            refuse_array("x", x, allowed)
        return x

    @property
    def needs_initialization(self) -> bool:
        return self._initializes_from_data and not (self.built and self.initialized > 0)

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of one z for the shape of one x; the same by default."""
        return event_shape

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...], **_: Any
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """Returns the shapes of `(z, log_det)`."""
        latent_shape = self.compute_latent_shape(tuple(size or 0 for size in input_shape[1:]))
        return (input_shape[0], *latent_shape), (input_shape[0],)

    def compute_output_spec(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False, **_: Any
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Returns the shapes and dtypes of `(z, log_det)`, for functional models."""
        z, log_det = self.compute_output_shape(x.shape)
        z_dtype = self.call_dtype(training)
        return keras.KerasTensor(z, z_dtype), keras.KerasTensor(log_det, self.log_det_dtype)

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `(z, log_det)`."""
        raise NotImplementedError

    def require_images(self) -> None:
        """Raises a ValueError in build, unless events are images."""
        if len(self.event_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} takes images of shape (batch, height, width, channels). "
                f"Received: input_shape={(None, *self.event_shape)}"
            )


def _noting(initialize: Callable[..., None]) -> Callable[..., None]:
    """Wraps `initialize`: builds the layer before, and sets `initialized` after."""

    @functools.wraps(initialize)
    def wrapped(self: FlowLayer, x: tf.Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.built:
            self.build((None, *x.shape[1:]))
        initialize(self, x, *args, **kwargs)
        self.initialized.assign(1.0)

    return wrapped


def sum_event(values: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the batch: `(batch,) + event_shape` -> `(batch,)`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))
