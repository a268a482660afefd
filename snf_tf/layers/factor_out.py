"""The split of multi-scale flows, as one layer."""

import math
from collections.abc import Generator, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf._checks import check_flag, check_instance
from snf_tf.layers.bijection import Bijection, Step, follow
from snf_tf.layers.context import checked_context, context_vector
from snf_tf.layers.coupling import AffineCoupling
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.networks import ZeroConv2D
from snf_tf.networks.conditioners import on_context


@keras.saving.register_keras_serializable("snf_tf")
class FactorOut(FlowLayer):
    """Takes half of the channels out of a flow (Dinh et al. 2017, section 3.6).

    The layer maps images `(batch, H, W, C)` to vectors `(batch, HWC)`. With x1 and x2 the halves of
    the channels, `z = concat(inner(x1), (x2 - mu(x1)) / sigma(x1))`, both flattened. The
    half x2 has a Gaussian prior: one convolution maps x1 to mean and standard deviation, at first 0
    and 1 (Glow's code). With context_shape or context_classes it maps x1 and the context;
    otherwise a context goes to inner alone.

    Args:
        inner: The rest of the flow, a `Flow` or a layer for events of shape `(H, W, C / 2)`.
        conditional: Whether x2 is normalized; otherwise x2 stays unchanged.
        context_shape: Shape of one context that the prior takes; None: it takes none.
        context_classes: Number of classes, where this context is labels `(batch,)`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        inner: As given.
        prior: The layer `(x1, x2) -> (x1, (x2 - mu) / sigma)`; None where not conditional.

    Raises:
        ValueError: If the input is no image or has an odd number of channels. If inner does not
            fit, or is no bijection.

    Example:
        >>> bijections = [snf_tf.layers.Squeeze(), snf_tf.layers.SelfNormalizingConv2D(1)]
        >>> inner = snf_tf.Flow(bijections, event_shape=(4, 4, 2))
        >>> z, log_det = snf_tf.layers.FactorOut(inner)(tf.random.normal((3, 4, 4, 4)))
        >>> z.shape
        TensorShape([3, 64])
    """

    def __init__(
        self,
        inner: Bijection,
        conditional: bool = True,
        context_shape: Sequence[int] | None = None,
        context_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_instance("inner", inner, Bijection, "a Flow or a layer of snf_tf.layers")
        if not inner.is_bijection:
            random = ", ".join(leaf.name for leaf in inner.leaves() if not leaf.is_bijection)
            raise ValueError(
                f"Random layers belong before FactorOut. Received: an inner flow with {random}"
            )
        self.inner = inner
        self.conditional = check_flag("conditional", conditional)
        self._prior_shape, self._prior_classes = checked_context(context_shape, context_classes)
        if self._prior_shape is not None and not conditional:
            raise ValueError(
                "Only a prior takes a context: conditional=True. "
                f"Received: conditional={conditional}, context_shape={context_shape}, "
                f"context_classes={context_classes}"
            )

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return self._prior_shape is not None or self.inner.takes_context

    @property
    def context_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        return self.inner.context_shape if self._prior_shape is None else self._prior_shape

    @property
    def context_classes(self) -> int | None:  # type: ignore[override]
        return self.inner.context_classes if self._prior_shape is None else self._prior_classes

    @property
    def version(self) -> int:
        return self._changes + self.inner.version

    def unbuilt_parts(self) -> list[str]:
        return self.inner.unbuilt_parts()

    @property
    def takes_seed(self) -> bool:  # type: ignore[override]
        return self.inner.takes_seed

    @property
    def log_det_kind(self) -> str:  # type: ignore[override]
        return self.inner.log_det_kind

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return not self.conditional and self.inner.log_det_is_constant

    @property
    def has_approximate_inverse(self) -> bool:  # type: ignore[override]
        return self.inner.has_approximate_inverse

    @property
    def needs_initialization(self) -> bool:
        return self.inner.needs_initialization

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        height, width, channels = self.event_shape
        half = (height, width, channels // 2)
        if not self.inner.built:
            self.inner.build((None, *half))
        if self.inner.event_shape != half:
            raise ValueError(
                f"The inner flow of {self.name} gets events of shape {half}. Received: an inner "
                f"flow for events of shape {self.inner.event_shape}"
            )
        self.prior = None
        if self.conditional:
            network = ZeroConv2D(channels, dtype=self.dtype_policy)
            vector = context_vector(self._prior_shape, self._prior_classes)
            if vector is not None:
                network = on_context(network, half, vector, self.dtype_policy)
            self.prior = AffineCoupling(
                network,
                scale="exp",
                context_shape=None if self._prior_classes else self._prior_shape,
                context_classes=self._prior_classes,
                dtype=self.dtype_policy,
            )
            self.prior.build((None, *self.event_shape))

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(event_shape) != 3 or event_shape[2] % 2:
            raise ValueError(
                "FactorOut takes images of shape (height, width, channels) with an even number of "
                f"channels. Received: event_shape={event_shape}"
            )
        return (math.prod(event_shape),)

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        log_dets = []
        steps = self.steps(x, context, training, seed)
        z = follow(steps, lambda step: log_dets.append(self.widen(step.log_det)))
        return z, tf.add_n(log_dets)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        z1, x2 = tf.split(z, 2, axis=-1)
        height, width, channels = self.event_shape
        x1 = self.inner.inverse(tf.reshape(z1, (-1, *self.inner.latent_shape)), context, exact)
        x = tf.concat(
            [tf.reshape(self.widen(half), (-1, height, width, channels // 2)) for half in (x1, x2)],
            axis=-1,
        )
        return x if self.prior is None else self.prior.inverse(x, self._of_prior(context))

    def steps(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> Generator[Step, None, tf.Tensor]:
        x = tf.cast(x, self.call_dtype(training))
        if self.prior is not None:
            x = yield from self.prior.steps(x, self._of_prior(context), training)
        x1, x2 = tf.split(x, 2, axis=-1)
        z1 = yield from self.inner.steps(x1, context, training, seed)
        flat = (-1, self.latent_shape[0] // 2)
        return tf.concat([tf.reshape(z1, flat), tf.reshape(tf.cast(x2, z1.dtype), flat)], axis=-1)

    def leaves(self) -> list[Bijection]:
        return ([] if self.prior is None else [self.prior]) + self.inner.leaves()

    def constant_log_det(self) -> tf.Tensor | None:
        return self.inner.constant_log_det() if self.log_det_is_constant else None

    def initialize(
        self, x: tf.Tensor, context: tf.Tensor | None = None, seed: int | tf.Tensor | None = None
    ) -> None:
        if self.prior is not None:
            x, _ = self.prior(x, context=self._of_prior(context))
        noise = {"seed": seed} if self.takes_seed else {}
        self.inner.initialize(tf.split(x, 2, axis=-1)[0], context, **noise)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "inner": keras.saving.serialize_keras_object(self.inner),
            "conditional": self.conditional,
            "context_shape": None if self._prior_classes else self._prior_shape,
            "context_classes": self._prior_classes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config | {"inner": keras.saving.deserialize_keras_object(config.get("inner"))})

    def _of_prior(self, context: tf.Tensor | None) -> tf.Tensor | None:
        return None if self._prior_shape is None else context
