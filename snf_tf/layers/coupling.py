"""Affine coupling, and the networks that condition it."""

import keras
import tensorflow as tf

from snf_tf.layers.bijection import FlowLayer, sum_event

# Name -> h -> log of the scale.
_LOG_SCALES = {
    "sigmoid": lambda h: -tf.math.softplus(-(h + 2.0)),
    "tanh": lambda h: 2.0 * tf.tanh(0.5 * h),
    "exp": lambda h: h,
}


@keras.saving.register_keras_serializable("snf_tf")
class AffineCoupling(FlowLayer):
    """Affine coupling: `z = concat(x1, (x2 + shift) * scale)`, where shift and scale are functions
    of x1 (Dinh et al. 2017).

    x1 and x2 are the halves of the channels, the last axis. A network, the conditioner, maps x1 to
    as many channels as x has: shift, and h, of which scale is a function.

    Args:
        conditioner: Any Keras model or layer that maps x1 to the channels of x. With a context it
            is called with `[x1, context]`. By default, which takes no context, that of Glow (Kingma
            and Dhariwal 2018): for images convolutions 3x3, 1x1 and 3x3, for vectors dense layers,
            with ReLU between, the last one zero at first, so that shift and h are 0.
        width: Hidden channels of the default conditioner.
        scale: "sigmoid": `scale = sigmoid(h + 2)`, that of Glow's code. "tanh": `exp(2 tanh(h /
            2))`, that of the published runs of SNF. "exp": `exp(h)`.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If there is an odd number of channels, scale is unknown, the conditioner has the
            wrong number of outputs, or the default one is given a context.

    Example:
        >>> layer = snf_tf.layers.AffineCoupling(width=16)
        >>> z, log_det = layer(tf.random.normal((2, 4, 4, 6)))
        >>> x = layer.inverse(z)
    """

    def __init__(self, conditioner=None, width=512, scale="sigmoid", **kwargs):
        super().__init__(**kwargs)
        if not isinstance(scale, str) or scale not in _LOG_SCALES:
            raise ValueError(
                f"scale must be one of {', '.join(map(repr, _LOG_SCALES))}. Received: "
                f"scale={scale!r}"
            )
        if conditioner is not None and not isinstance(conditioner, keras.layers.Layer):
            raise ValueError(
                f"conditioner must be a Keras layer or model. Received: conditioner={conditioner!r}"
            )
        if not (isinstance(width, int) and width >= 1):
            raise ValueError(f"width must be an integer of at least 1. Received: width={width!r}")
        self.given_conditioner = conditioner
        self.width = width
        self.scale = scale

    def build(self, input_shape):
        super().build(input_shape)
        *_, channels = self.event_shape
        if channels % 2:
            raise ValueError(
                f"{type(self).__name__} halves the channels: their number must be even. Received: "
                f"{channels} channels"
            )
        make = _convolutional if len(self.event_shape) == 3 else _dense
        self.conditioner = self.given_conditioner or make(channels, self.width, self.dtype_policy)
        if not self.conditioner.built:
            self.conditioner.build((None, *self.event_shape[:-1], channels // 2))

    def call(self, x, context=None, training=False):
        x1, x2 = tf.split(self._widen(x), 2, axis=-1)
        shift, log_scale = self._condition(x1, context, training)
        z = tf.concat([x1, (x2 + shift) * tf.exp(log_scale)], axis=-1)
        return tf.cast(z, self.compute_dtype), sum_event(log_scale)

    def inverse(self, z, context=None, exact=True):
        x1, z2 = tf.split(self._latents(z), 2, axis=-1)
        shift, log_scale = self._condition(x1, context, False)
        return tf.concat([x1, z2 * tf.exp(-log_scale) - shift], axis=-1)

    def get_config(self):
        given = self.given_conditioner
        return super().get_config() | {
            "conditioner": None if given is None else keras.saving.serialize_keras_object(given),
            "width": self.width,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **config
            | {"conditioner": keras.saving.deserialize_keras_object(config.get("conditioner"))}
        )

    def _condition(self, x1, context, training):
        """Shift and log-scale, of the shape of x1."""
        if context is not None and self.given_conditioner is None:
            raise ValueError(
                f"The default conditioner of {self.name} takes no context: give one that maps "
                f"[x1, context] to the channels of x. "
                f"Received: a context of shape {context.shape}"
            )
        h = self.conditioner(
            x1 if context is None else [x1, self._widen(context)], training=training
        )
        if tuple(h.shape[1:]) != self.event_shape:
            raise ValueError(
                f"The conditioner of {self.name} must map x1, of shape (batch,) + "
                f"{tuple(x1.shape[1:])}, to (batch,) + "
                f"{self.event_shape}. Received: an output of shape {h.shape}"
            )
        shift, h = tf.split(self._widen(h), 2, axis=-1)
        return shift, _LOG_SCALES[self.scale](h)


@keras.saving.register_keras_serializable("snf_tf")
class ZeroConv2D(keras.layers.Layer):
    """A 3x3 convolution with kernel and bias 0 at first, times `exp(3 log_scale)` (Glow's code), so
    that it learns fast.

    Args:
        filters: Channels of the output.
        **kwargs: As in `keras.layers.Layer`.

    Example:
        >>> float(tf.reduce_sum(ZeroConv2D(4)(tf.ones((1, 5, 5, 2)))))
        0.0
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.convolution = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="convolution",
        )

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.log_scale = self.add_weight(
            name="log_scale", shape=(self.filters,), initializer="zeros"
        )

    def compute_output_shape(self, input_shape):
        return self.convolution.compute_output_shape(input_shape)

    def call(self, x):
        return self.convolution(x) * keras.ops.exp(3.0 * self.log_scale)

    def get_config(self):
        return super().get_config() | {"filters": self.filters}


def _convolutional(channels, width, dtype):
    return keras.Sequential(
        [
            keras.layers.Conv2D(width, 3, padding="same", activation="relu", dtype=dtype),
            keras.layers.Conv2D(width, 1, activation="relu", dtype=dtype),
            ZeroConv2D(channels, dtype=dtype),
        ],
        name="conditioner",
    )


def _dense(channels, width, dtype):
    return keras.Sequential(
        [
            keras.layers.Dense(width, activation="relu", dtype=dtype),
            keras.layers.Dense(width, activation="relu", dtype=dtype),
            keras.layers.Dense(channels, kernel_initializer="zeros", dtype=dtype),
        ],
        name="conditioner",
    )
