"""Layers and flows as bijectors and distributions of TensorFlow Probability."""

import itertools

import tensorflow as tf
import tensorflow_probability as tfp

from snf_tf.flow import Flow
from snf_tf.layers.bijection import Bijection

_fresh = itertools.count()


def as_bijector(layer: Bijection, name: str | None = None) -> "FlowBijector":
    """Turns a layer or a flow into a TFP bijector, which shares its weights.

    TFP's `forward` is the direction of sampling: `bijector.forward(z)` is the exact
    `layer.inverse(z)`, `bijector.inverse(x)` the z of `layer(x)`. Both log-determinants, and all
    gradients, are exact; a learned inverse takes no part, and gets no gradient.

    A Flow that begins with `Dequantize` is taken from the dequantized x on: the noise is random,
        and no bijection.

    Args:
        layer: A layer that is built, or a Flow.
        name: Name of the bijector; by default the layer's.

    Raises:
        ValueError: If the layer is not built, or there is no bijection in it, as in `Dequantize`.

    Example:
        >>> layer = snf_tf.layers.ExactDense()
        >>> layer.build((None, 2))
        >>> bijector = snf_tf.bijectors.as_bijector(layer)
        >>> bijector.forward(tf.zeros((3, 5, 2))).shape
        TensorShape([3, 5, 2])
        >>> bijector.forward_log_det_jacobian(tf.zeros((3, 5, 2))).shape
        TensorShape([3, 5])
        >>> len(bijector.trainable_variables)
        2
    """
    return FlowBijector(layer, name=name)


def as_distribution(flow: Flow) -> tfp.distributions.TransformedDistribution:
    """Turns a flow into the TFP distribution of its x, or of the dequantized x; log_prob is exact,
    samples too.

    Raises:
        ValueError: If the base of the flow is no TFP distribution.

    Example:
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,))
        >>> distribution = snf_tf.bijectors.as_distribution(flow)
        >>> distribution.event_shape, distribution.log_prob(distribution.sample(5)).shape
        (TensorShape([2]), TensorShape([5]))
    """
    base = flow.base
    if base is None:
        base = tfp.distributions.Sample(
            tfp.distributions.Normal(tf.zeros((), flow.log_det_dtype), 1.0), flow.latent_shape
        )
    elif not isinstance(base, tfp.distributions.Distribution):
        raise ValueError(
            f"The base of the flow must be a TFP distribution, or None. Received: base={base!r}"
        )
    return _FlowDistribution(base, as_bijector(flow), name=flow.name)


# TFP has two: one for what is a CompositeTensor, as layers are not, and its base.
class _FlowDistribution(tfp.distributions.TransformedDistribution.__bases__[0]):
    """TFP's takes the log-determinant at the latents: for a flow that costs an exact inverse, and
    its rounding errors.
    """

    def _log_prob(self, x, context=None):
        z, log_det = (
            self.bijector.inverse(x, context=context),
            self.bijector.inverse_log_det_jacobian(x, context=context),
        )
        return self.distribution.log_prob(z) + log_det


class FlowBijector(tfp.bijectors.Bijector):
    """A layer or a flow as a TFP bijector; see `as_bijector`.

    Latents and data may have any batch shape. `context=` may be given to every method; it has the
    batch shape of the data.
    """

    def __init__(self, layer: Bijection, name: str | None = None):
        parameters = {"layer": layer, "name": name}
        if not layer.built:
            raise ValueError(
                f"as_bijector takes a layer that has been called once, or built by "
                f"layer.build((None,) + event_shape). "
                f"Received: layer={layer!r}, which is not built"
            )
        self._parts = layer.bijections_after_noise()
        if not self._parts:
            raise ValueError(f"What is random is no bijection. Received: {layer.name}")
        self._latent_shape = layer.latent_shape
        self._data_shape = self._parts[0].event_shape
        # TensorFlow's own variables: TFP and tf.Module do not see those of Keras, nor that one is
        # frozen.
        self._trained = [weight.value for weight in layer.trainable_weights]
        super().__init__(
            forward_min_event_ndims=len(self._latent_shape),
            inverse_min_event_ndims=len(self._data_shape),
            dtype=tf.as_dtype(layer.log_det_dtype),
            parameters=parameters,
            name=name or layer.name,
        )

    def __hash__(self):
        # TFP looks results up by the hash of a bijector, and of what Chain and its like hold. One
        # that never comes again keeps it from returning what was computed before a weight changed;
        # TensorFlow does not tell when that happens. The price: dicts and sets do not find a
        # bijector again.
        return hash((id(self), next(_fresh)))

    def __eq__(self, other):
        return self is other

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _forward(self, z, context=None):
        rows, context, batch_shape = self._rows(z, context, self._latent_shape)
        *_, (_, x) = self._steps_to_data(rows, context)
        return tf.reshape(tf.cast(x, self.dtype), tf.concat([batch_shape, self._data_shape], 0))

    def _inverse(self, x, context=None):
        rows, context, batch_shape = self._rows(x, context, self._data_shape)
        *_, (z, _) = self._steps_to_latents(rows, context)
        return tf.reshape(tf.cast(z, self.dtype), tf.concat([batch_shape, self._latent_shape], 0))

    def _inverse_log_det_jacobian(self, x, context=None):
        rows, context, batch_shape = self._rows(x, context, self._data_shape)
        log_dets = [log_det for _, log_det in self._steps_to_latents(rows, context)]
        return tf.reshape(self._sum(log_dets), batch_shape)

    def _forward_log_det_jacobian(self, z, context=None):
        rows, context, batch_shape = self._rows(z, context, self._latent_shape)
        log_dets = [part(x, context=context)[1] for part, x in self._steps_to_data(rows, context)]
        return tf.reshape(-self._sum(log_dets), batch_shape)

    def _steps_to_latents(self, x, context):
        for part in self._parts:
            x, log_det = part(tf.reshape(x, (-1, *part.event_shape)), context=context)
            yield x, log_det

    def _steps_to_data(self, z, context):
        for part in reversed(self._parts):
            z = part.inverse(tf.reshape(z, (-1, *part.latent_shape)), context=context)
            yield part, z

    def _sum(self, log_dets):
        return tf.add_n([tf.cast(log_det, self.dtype) for log_det in log_dets])

    def _rows(self, x, context, event_shape):
        """One batch axis instead of any number of them, and the batch shape that there was."""
        if x.shape.rank is None or not x.shape[
            x.shape.rank - len(event_shape) :
        ].is_compatible_with(event_shape):
            raise ValueError(
                f"{self.name} takes events of shape {tuple(event_shape)}. Received: a tensor of "
                f"shape {x.shape}"
            )
        batch_rank = x.shape.rank - len(event_shape)
        if context is not None:
            context = tf.convert_to_tensor(context)
            context = tf.reshape(context, tf.concat([[-1], tf.shape(context)[batch_rank:]], 0))
        return tf.reshape(x, (-1, *event_shape)), context, tf.shape(x)[:batch_rank]

    # Where the shapes of data and latents differ.

    def _forward_event_shape(self, shape):
        return self._replace(shape, self._latent_shape, self._data_shape)

    def _inverse_event_shape(self, shape):
        return self._replace(shape, self._data_shape, self._latent_shape)

    def _forward_event_shape_tensor(self, shape):
        return tf.concat([shape[: tf.size(shape) - len(self._latent_shape)], self._data_shape], 0)

    def _inverse_event_shape_tensor(self, shape):
        return tf.concat([shape[: tf.size(shape) - len(self._data_shape)], self._latent_shape], 0)

    @staticmethod
    def _replace(shape, old, new):
        return (
            tf.TensorShape(None)
            if shape.rank is None
            else shape[: shape.rank - len(old)].concatenate(new)
        )
