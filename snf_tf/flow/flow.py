"""A normalizing flow as a Keras model."""

import math

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.flow.fitting import FlowFitting
from snf_tf.layers.bijection import Bijection, follow


@keras.saving.register_keras_serializable("snf_tf")
class Flow(Bijection, FlowFitting):
    """A sequence of bijections from data to latents, and a base distribution of the latents.

    A flow keeps the contract of its layers (`snf_tf.layers.FlowLayer`): `z, log_det = flow(x)`, `x
    = flow.inverse(z)`. It trains by `flow.compile(optimizer=...)` and `flow.fit(dataset)`, where an
    element of the dataset is a batch x, or `(x, context)`.

    Training minimises, as a mean over the batch, -log p(x) plus what the layers add. With layers
    that estimate the gradient of their log-determinant the value of this sum is no likelihood; it
    is called `surrogate` in logs. `evaluate`, `log_prob` and, with validation data, the `val_nll`
    of `fit` are exact.

    Args:
        bijections: Layers from data to latents.
        event_shape: Shape of one x.
        base: Distribution of the latents, flat vectors `(batch, D)`: an object with `log_prob(z) ->
            (batch,)` and `sample(shape, seed)`, such as a TFP distribution. None is the standard
            normal. To `save` a flow with another base, that has to be one that Keras can serialize;
            `save_weights` works with any.
        seed: Seed of the noise in training: a step's noise is a function of (seed, step, row of the
            global batch).
        **kwargs: As in `keras.Model`.

    Attributes:
        bijections: The list of layers.
        event_shape: Shape of one x.
        latent_shape: `(D,)`.

    Raises:
        ValueError: If the bijections do not fit the shapes that they get.

    Example:
        >>> flow = snf_tf.Flow(
        ...     [
        ...         snf_tf.layers.SelfNormalizingDense(),
        ...         snf_tf.layers.SmoothLeakyReLU(),
        ...         snf_tf.layers.SelfNormalizingDense(),
        ...     ],
        ...     event_shape=(2,),
        ... )
        >>> flow.compile(optimizer="adam")
        >>> history = flow.fit(tf.random.normal((100, 2)), batch_size=10, verbose=0)
        >>> flow.sample(5).shape
        TensorShape([5, 2])
        >>> flow.log_prob(tf.zeros((3, 2))).shape
        TensorShape([3])
    """

    takes_seed = True

    def __init__(self, bijections, event_shape, base=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        # Raw data must not be cast to a half precision compute dtype; every layer casts for itself.
        self.autocast = False
        self.bijections = list(bijections)
        if not isinstance(event_shape, tuple | list | tf.TensorShape):
            raise ValueError(
                f"event_shape must be a tuple, the shape of one example. Received: "
                f"event_shape={event_shape!r}"
            )
        self.event_shape = tuple(event_shape)
        self.base = base
        self.seed = seed
        self.build((None, *self.event_shape))

    def build(self, input_shape):
        """Builds all bijections for data of shape `(batch,) + event_shape`."""
        if self.built:
            return
        if not self.bijections:
            raise ValueError("A Flow needs at least one bijection. Received: bijections=[]")
        shape = self.event_shape
        for bijection in self.bijections:
            if not isinstance(bijection, Bijection):
                raise ValueError(
                    f"The bijections of a Flow must be snf_tf.layers.FlowLayer objects. Received: "
                    f"{bijection!r}"
                )
            if not bijection.built:
                bijection.build((None, *shape))
            if bijection.event_shape != shape:
                raise ValueError(
                    f"{bijection.name} was built for events of shape {bijection.event_shape}, but "
                    f"gets events of shape {shape} in "
                    f"this Flow. Received: event_shape={self.event_shape}"
                )
            shape = bijection.latent_shape
        self.latent_shape = (math.prod(shape),)
        self.initialized = self.add_weight(
            name="initialized", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )
        self.built = True

    # The contract of a layer.

    def call(self, x, context=None, training=False, seed=None):
        """Maps data to latents: `(z, log_det)`, `(batch, D)` and `(batch,)`, as the layers do.

        Args:
            x: `(batch,) + event_shape`.
            context: Handed to every layer.
            training: Whether layers may use their estimators.
            seed: Seed of the noise: an integer, or a row seed of `snf_tf.ops.row_seed`. None: in a
                compiled flow's training the step, otherwise 0.
        """
        if isinstance(x, tuple | list):
            x, context = x
        if training and seed is None:
            seed = self.training_seed(x)
        return self._forward(self.check_data(x), context, training, seed)

    def call_inverse(self, z, context=None, exact=True):
        x = tf.reshape(z, (-1, *self.bijections[-1].latent_shape))
        for bijection in reversed(self.bijections):
            x = bijection.inverse(x, context=context, exact=exact)
        return x

    def steps(self, x, context=None, training=False, seed=None):
        seed = ops.row_seed(seed)
        for index, bijection in enumerate(self.bijections):
            noise = ops.fold_in(seed, index) if bijection.takes_seed else None
            x = yield from bijection.steps(x, context, training, noise)
        return tf.reshape(x, (-1, *self.latent_shape))

    def leaves(self):
        return [leaf for bijection in self.bijections for leaf in bijection.leaves()]

    def bijections_after_noise(self):
        first, *rest = self.bijections
        if late := [leaf.name for b in rest for leaf in b.leaves() if not leaf.is_bijection]:
            raise ValueError(f"What is random is no bijection. Received: {', '.join(late)}")
        return [*first.bijections_after_noise(), *rest]

    @property
    def is_bijection(self):
        return all(bijection.is_bijection for bijection in self.bijections)

    @property
    def log_det_kind(self):
        kinds = {bijection.log_det_kind for bijection in self.bijections}
        return "estimate" if "estimate" in kinds else "exact"

    @property
    def log_det_is_constant(self):
        return all(bijection.log_det_is_constant for bijection in self.bijections)

    @property
    def has_approximate_inverse(self):
        return any(bijection.has_approximate_inverse for bijection in self.bijections)

    @property
    def needs_initialization(self):
        return any(bijection.needs_initialization for bijection in self.bijections)

    @property
    def log_det_dtype(self):
        dtypes = (bijection.log_det_dtype for bijection in self.bijections)
        return max(dtypes, key=lambda dtype: tf.as_dtype(dtype).size)

    def constant_log_det(self):
        if not self.log_det_is_constant:
            return None
        return self._sum([bijection.constant_log_det() for bijection in self.bijections])

    def initialize(self, x, context=None, seed=None):
        """Sets the data-dependent weights of all layers from a batch x, once: a flow that was
        initialized is left as it is.

        Raises:
            ValueError: If x is no batch such as the flow takes, or a layer cannot be initialized by
                it.
        """
        if self.initialized > 0:
            return
        if isinstance(x, tf.data.Dataset):
            raise ValueError(
                "initialize takes one batch, such as next(iter(dataset)). Received: a "
                "tf.data.Dataset"
            )
        x, seed = self.check_data(x), ops.row_seed(seed)
        for index, bijection in enumerate(self.bijections):
            # A layer sees what the layers before it give once they are initialized.
            noise = {"seed": ops.fold_in(seed, index)} if bijection.takes_seed else {}
            bijection.initialize(x, context, **noise)
            if index < len(self.bijections) - 1:
                z, _ = bijection(x, context=context, **noise)
                x = tf.reshape(z, (-1, *bijection.latent_shape))
        self.initialized.assign(1.0)

    # Likelihood, latents, samples.

    def log_prob(self, x, context=None, seed=None):
        """Computes the exact log-density of data.

        Args:
            x: `(batch,) + event_shape`.
            context: Handed to every layer.
            seed: Seed of the dequantization noise, an integer; None is 0, so that two calls agree.
                Row i gets the noise of (seed, i).

        Returns:
            `(batch,)`, in nats. For images log p(x + u) on the scale of 0..255, whose mean over u
            bounds log P(x) from below.

        Raises:
            ValueError: If x has the wrong shape, holds NaN, or does not fit the first layer.
        """
        return self._log_prob(self.check_data(x), context, ops.row_seed(seed))

    def encode(self, x, context=None, seed=None):
        """Maps data `(batch,) + event_shape` to latents `(batch, D)`, float32 at least; arguments
        and errors as in `log_prob`.
        """
        return self._encode(self.check_data(x), context, ops.row_seed(seed))

    def decode(self, z, context=None, exact=True):
        """Maps latents `(batch, D)` to data; images are floats in [0, 256).

        Args:
            z: `(batch, D)`.
            context: Handed to every layer.
            exact: Whether to use the exact inverses, or the learned ones where there are any.
        """
        z = tf.convert_to_tensor(z)
        if z.shape.rank is not None and tuple(z.shape[1:]) != self.latent_shape:
            raise ValueError(
                f"decode takes latents of shape (batch,) + {self.latent_shape}. Received: "
                f"z.shape={z.shape}"
            )
        return self._decode(z, context, exact)

    def sample(self, n, context=None, exact=False, temperature=1.0, seed=None):
        """Draws samples.

        Args:
            n: How many, an integer of at least 1.
            context: Handed to every layer.
            exact: Whether to use the exact inverses, or the learned ones where there are any.
            temperature: Factor on the latents.
            seed: An integer; None draws one from TensorFlow's global generator.

        Returns:
            `(n,) + event_shape`; images are floats in [0, 256).

        Raises:
            ValueError: If n is not an integer of at least 1, or temperature is negative.
        """
        if not tf.is_tensor(n) and not (isinstance(n, int | np.integer) and n >= 1):
            raise ValueError(f"n must be an integer of at least 1. Received: n={n}")
        if not tf.is_tensor(temperature):
            if not temperature >= 0:
                raise ValueError(
                    f"temperature must not be negative. Received: temperature={temperature}"
                )
            temperature = tf.constant(temperature, tf.float64)
        if seed is None:
            seed = tf.random.uniform((), maxval=tf.int64.max, dtype=tf.int64)
        return self._sample(
            tf.convert_to_tensor(n), context, exact, temperature, tf.cast(seed, tf.int64)
        )

    # TensorFlow Probability takes seconds to import, and only these two need it.

    @property
    def bijector(self):
        """The flow as a TFP bijector, from latents to data, or to dequantized data; see
        `snf_tf.bijectors.as_bijector`.
        """
        from snf_tf.bijectors import as_bijector

        return as_bijector(self)

    @property
    def distribution(self):
        """The flow as a TFP distribution of data, or of dequantized data; see
        `snf_tf.bijectors.as_distribution`.
        """
        from snf_tf.bijectors import as_distribution

        return as_distribution(self)

    def check_data(self, x):
        """Converts data to a tensor, if they are such as this flow takes: of its shape, finite, and
        right for its first layer.

        Raises:
            ValueError: If they are not. In a graph values are checked when it runs; see
                `snf_tf.ops.require`.
        """
        x = tf.convert_to_tensor(x)
        if not x.shape.is_compatible_with((None, *self.event_shape)):
            raise ValueError(
                f"This Flow takes x of shape (batch,) + {self.event_shape}. Received: "
                f"x.shape={x.shape}"
            )
        x = tf.ensure_shape(x, (None, *self.event_shape))
        if x.dtype.is_floating:
            x = ops.require(
                tf.reduce_all(tf.math.is_finite(x)), x, "The data given to a Flow must be finite."
            )
        return self.bijections[0].check_data(x)

    # Serialization.

    def get_config(self):
        return super().get_config() | {
            "bijections": [
                keras.saving.serialize_keras_object(bijection) for bijection in self.bijections
            ],
            "event_shape": self.event_shape,
            "base": None if self.base is None else keras.saving.serialize_keras_object(self.base),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("bijections", "base"):
            config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)

    # The computations.

    @tf.function(reduce_retracing=True)
    def _log_prob(self, x, context, seed):
        z, log_det = self._forward(x, context, False, seed)
        return self.base_log_prob(z) + log_det

    @tf.function(reduce_retracing=True)
    def _encode(self, x, context, seed):
        return tf.cast(self._forward(x, context, False, seed)[0], self.log_det_dtype)

    @tf.function(reduce_retracing=True)
    def _decode(self, z, context, exact):
        return self.inverse(z, context, exact)

    @tf.function(reduce_retracing=True)
    def _sample(self, n, context, exact, temperature, seed):
        dtype = self.log_det_dtype
        seed = tf.bitcast(seed, tf.int32)
        if self.base is None:
            z = tf.random.stateless_normal([n, *self.latent_shape], seed=seed, dtype=dtype)
        else:
            z = tf.cast(self.base.sample(n, seed=seed), dtype)
        return self.inverse(tf.cast(temperature, dtype) * z, context, exact)

    def _forward(self, x, context, training, seed):
        """Latents `(batch, D)`, and the sum of the layers' log-dets."""
        log_dets: list[tf.Tensor] = []
        steps = self.steps(x, context, training, seed)
        z = follow(steps, lambda step: log_dets.append(step.log_det))
        return z, self._sum(log_dets)

    def _sum(self, log_dets):
        return tf.add_n([tf.cast(log_det, self.log_det_dtype) for log_det in log_dets])

    def base_log_prob(self, z):
        """Log-density (nats) of latents `(batch, D)` under the base distribution: `(batch,)`."""
        z = tf.cast(z, self.log_det_dtype)
        return ops.standard_normal_log_prob(z) if self.base is None else self.base.log_prob(z)
