"""Layers and flows as bijectors and distributions of TensorFlow Probability."""

import itertools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from snf_tf._array_checks import cast_array
from snf_tf._checks import check_instance
from snf_tf.bases import Base
from snf_tf.flow.checking import FlowChecking
from snf_tf.layers.bijection import Bijection

_fresh = itertools.count()


def as_bijector(layer: Bijection, name: str | None = None) -> "FlowBijector":
    """Turns a layer or a flow into a TFP bijector, which shares its weights.

    TFP's `forward` is the direction of sampling: `bijector.forward(z)` is the exact
    `layer.inverse(z)`, `bijector.inverse(x)` the z of `layer(x)`. Both log-determinants, and all
    gradients, are exact; a learned inverse takes no part, and gets no gradient.

    Log-determinants are exact: a layer that can only estimate its own is refused when one is asked
    for.

    Of a Flow that begins with `Dequantize`, the bijector starts at the dequantized x: noise is no
    bijection.

    Args:
        layer: A layer that is built, or a Flow.
        name: Name of the bijector; by default the layer's.

    Raises:
        ValueError: If the layer is not built, or holds no bijection, as `Dequantize`.

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


def as_distribution(flow: Any) -> tfp.distributions.TransformedDistribution:
    """Turns a flow into the TFP distribution of its x, or of the dequantized x.

    log_prob and samples are exact. Of a flow that takes a context, they take it, too:
    `distribution.log_prob(x, context=context)`, and `distribution.sample(n, context=context)` with
    n contexts.

    Raises:
        ValueError: If the base of the flow is no TFP distribution.

    Example:
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,))
        >>> distribution = snf_tf.bijectors.as_distribution(flow)
        >>> distribution.event_shape, distribution.log_prob(distribution.sample(5)).shape
        (TensorShape([2]), TensorShape([5]))
    """
    base = check_instance("flow", flow, FlowChecking, "a Flow").base
    if base is None:
        base = tfp.distributions.Sample(
            tfp.distributions.Normal(tf.zeros((), flow.log_det_dtype), 1.0), flow.latent_shape
        )
    elif isinstance(base, Base) and not base.takes_context:
        base = _BaseDistribution(base, flow)
    elif not isinstance(base, tfp.distributions.Distribution):
        raise ValueError(
            "The base of the flow must be a TFP distribution, one of snf_tf.bases without a "
            f"context, or None. Received: base={base!r}"
        )
    return _FlowDistribution(base, as_bijector(flow), name=flow.name)


class _BaseDistribution(tfp.distributions.Distribution):
    """One of `snf_tf.bases` as a TFP distribution, which shares its weights."""

    def __init__(self, base, flow):
        self._base, self._dims = base, flow.latent_shape[0]
        # TensorFlow's own variables, which TFP sees.
        self._trained = [weight.value for weight in base.trainable_weights]
        super().__init__(
            dtype=tf.as_dtype(flow.log_det_dtype),
            reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"base": base, "flow": flow},
            name=base.name,
        )

    def _log_prob(self, z):
        rows = self._base.log_prob(tf.reshape(z, (-1, self._dims)))
        return tf.reshape(rows, tf.shape(z)[:-1])

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        return tf.cast(self._base.sample(n, seed), self.dtype)

    def _event_shape(self):
        return tf.TensorShape([self._dims])

    def _event_shape_tensor(self):
        return tf.constant([self._dims])

    def _batch_shape(self):
        return tf.TensorShape([])

    def _batch_shape_tensor(self):
        return tf.constant([], tf.int32)


# TFP has two classes: one for CompositeTensors, which layers are not, and its base.
class _FlowDistribution(tfp.distributions.TransformedDistribution.__bases__[0]):
    """Takes the log-determinant at the data.

    TFP's own class takes it at the latents: a flow would pay with an exact inverse and its errors.
    """

    def sample(self, sample_shape=(), seed=None, name="sample", context=None, **kwargs):
        if context is not None:
            kwargs["bijector_kwargs"] = {"context": context}
        return super().sample(sample_shape, seed=seed, name=name, **kwargs)

    def log_prob(self, value, name="log_prob", **kwargs):
        return super().log_prob(cast_array("value", value, self.dtype), name=name, **kwargs)

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

    def __init__(self, layer: Bijection, name: str | None = None) -> None:
        check_instance("layer", layer, Bijection, "a Flow or a layer of snf_tf.layers")
        parameters = {"layer": layer, "name": name}
        if not layer.built:
            raise ValueError(
                "as_bijector takes a layer that has been called once, or built by "
                "layer.build((None,) + event_shape). "
                f"Received: layer={layer!r}, which is not built"
            )
        if unbuilt := layer.unbuilt_parts():
            raise ValueError(
                "as_bijector takes a flow that was called once on a batch and its context. "
                f"Received: not built yet: {', '.join(unbuilt)}"
            )
        self._parts = layer.bijections_after_noise()
        if not self._parts:
            raise ValueError(f"What is random is no bijection. Received: {layer.name}")
        self._latent_shape = layer.latent_shape
        self._data_shape = self._parts[0].event_shape
        # TensorFlow's own variables: TFP and tf.Module see neither Keras' nor that one is frozen.
        leaves = [leaf for part in self._parts for leaf in part.leaves()]
        unused = {id(weight) for leaf in leaves for weight in leaf.training_only_weights}
        self._trained = [
            weight.value
            for part in self._parts
            for weight in part.trainable_weights
            if id(weight) not in unused
        ]
        super().__init__(
            forward_min_event_ndims=len(self._latent_shape),
            inverse_min_event_ndims=len(self._data_shape),
            dtype=tf.as_dtype(layer.log_det_dtype),
            parameters=parameters,
            name=name or layer.name,
        )

    def __hash__(self):
        # TFP looks results up by the hash of a bijector, and of the parts of a Chain. A hash that
        # never comes again keeps TFP from returning results from before a weight changed. The
        # price: dicts and sets do not find a bijector again.
        return hash((id(self), next(_fresh)))

    def __eq__(self, other):
        return self is other

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def forward(self, x: Any, name: str = "forward", **kwargs: Any) -> tf.Tensor:
        return super().forward(cast_array("x", x, self.dtype), name=name, **kwargs)

    def inverse(self, y: Any, name: str = "inverse", **kwargs: Any) -> tf.Tensor:
        return super().inverse(cast_array("y", y, self.dtype), name=name, **kwargs)

    def forward_log_det_jacobian(self, x: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super().forward_log_det_jacobian(cast_array("x", x, self.dtype), *args, **kwargs)

    def inverse_log_det_jacobian(self, y: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super().inverse_log_det_jacobian(cast_array("y", y, self.dtype), *args, **kwargs)

    def _forward(self, z, context=None):
        rows, context, batch_shape = self._rows(z, context, self._latent_shape)
        *_, (_, x) = self._steps_to_data(rows, context)
        return tf.reshape(tf.cast(x, self.dtype), tf.concat([batch_shape, self._data_shape], 0))

    def _inverse(self, x, context=None):
        rows, context, batch_shape = self._rows(x, context, self._data_shape)
        *_, (z, _) = self._steps_to_latents(rows, context)
        return tf.reshape(tf.cast(z, self.dtype), tf.concat([batch_shape, self._latent_shape], 0))

    def _inverse_log_det_jacobian(self, x, context=None):
        self._require_exact()
        rows, context, batch_shape = self._rows(x, context, self._data_shape)
        log_dets = [log_det for _, log_det in self._steps_to_latents(rows, context)]
        return tf.reshape(self._sum(log_dets), batch_shape)

    def _forward_log_det_jacobian(self, z, context=None):
        self._require_exact()
        rows, context, batch_shape = self._rows(z, context, self._latent_shape)
        log_dets = [
            part(x, context=context if part.takes_context else None)[1]
            for part, x in self._steps_to_data(rows, context)
        ]
        return tf.reshape(-self._sum(log_dets), batch_shape)

    def _steps_to_latents(self, x, context):
        for part in self._parts:
            given = context if part.takes_context else None
            x, log_det = part(tf.reshape(x, (-1, *part.event_shape)), context=given)
            yield x, log_det

    def _steps_to_data(self, z, context):
        for part in reversed(self._parts):
            given = context if part.takes_context else None
            z = part.inverse(tf.reshape(z, (-1, *part.latent_shape)), context=given)
            yield part, z

    def _require_exact(self):
        if names := [part.name for part in self._parts if part.log_det_kind == "estimate"]:
            raise ValueError(
                "A bijector's log-determinants are exact: give ResidualBlock(..., "
                f'log_det="brute_force"). Received: estimates in {", ".join(names)}'
            )

    def _sum(self, log_dets):
        return tf.add_n([tf.cast(log_det, self.dtype) for log_det in log_dets])

    def _rows(self, x, context, event_shape):
        """Flattens the batch axes to one; returns x, context, and the batch shape before."""
        if x.shape.rank is None or not x.shape[
            x.shape.rank - len(event_shape) :
        ].is_compatible_with(event_shape):
            raise ValueError(
                f"{self.name} takes events of shape {tuple(event_shape)}. "
                f"Received: x of shape {x.shape}"
            )
        batch_rank = x.shape.rank - len(event_shape)
        if context is not None:
            if not any(part.takes_context for part in self._parts):
                raise ValueError(
                    f"{self.name} takes no context: leave it out. "
                    f"Received: a context of shape {context.shape}"
                )
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
