"""A normalizing flow as a Keras model."""

import math
import os
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf import _compat, ops
from snf_tf._array_checks import check_array
from snf_tf._checks import check_path, check_seed, check_shape, refuse
from snf_tf.bases import Base
from snf_tf.flow.checking import checked_base, checked_bijections
from snf_tf.flow.elements import unpack
from snf_tf.flow.evaluation import FlowEvaluation
from snf_tf.flow.fitting import FlowFitting
from snf_tf.layers.bijection import Bijection, Step, follow
from snf_tf.layers.tf_variables import weights_in_use


@keras.saving.register_keras_serializable("snf_tf")
class Flow(FlowEvaluation, FlowFitting):
    """A sequence of bijections from data to latents, and a base distribution of the latents.

    A flow keeps the contract of its layers (`snf_tf.layers.Bijection`): `z, log_det = flow(x)`,
    `x = flow.inverse(z)`. It trains by `flow.compile(optimizer=...)` and `flow.fit(data)`.

    Training minimises, as a mean over the batch, -log p(x) plus what the layers add. With layers
    that estimate the gradient of their log-determinant this sum is no likelihood; logs call it
    `surrogate`. `evaluate`, `log_prob` and, with validation data, the `val_nll` of `fit` are exact.
    Where a layer can only estimate its log-determinant, names say `nll_estimate`; where noise has a
    learned density, `nll_bound`.

    Args:
        bijections: Layers from data to latents.
        event_shape: Shape of one x.
        base: Distribution of the latents, flat vectors `(batch, D)`: one of `snf_tf.bases`, or an
            object with `log_prob(z) -> (batch,)` and `sample(shape, seed)`, such as a TFP
            distribution. Its variables become weights of the flow. None is the standard normal.
            `save` asks that Keras can serialize the base; `save_weights` works with any.
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
        >>> dense, smooth = snf_tf.layers.SelfNormalizingDense, snf_tf.layers.SmoothLeakyReLU
        >>> flow = snf_tf.Flow([dense(), smooth(), dense()], event_shape=(2,))
        >>> flow.compile(optimizer="adam")
        >>> history = flow.fit(tf.random.normal((100, 2)), batch_size=10, verbose=0)
        >>> flow.sample(5).shape
        TensorShape([5, 2])
        >>> flow.log_prob(tf.zeros((3, 2))).shape
        TensorShape([3])
    """

    takes_seed = True
    built: bool

    def __init__(
        self,
        bijections: Iterable[Bijection],
        event_shape: Sequence[int],
        base: Any = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Raw data must not be cast to a half precision compute dtype; every layer casts for itself.
        self.autocast = False
        self.bijections = checked_bijections(bijections)
        self.event_shape = check_shape("event_shape", event_shape)
        self._base = checked_base(base)
        self.seed = check_seed(seed)
        self.traced_version = 0
        self.build((None, *self.event_shape))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds all bijections for data of shape `(batch,) + event_shape`."""
        if self.built:
            return
        shape = self.event_shape
        for bijection in self.bijections:
            if not bijection.built:
                bijection.build((None, *shape))
            if bijection.event_shape != shape:
                raise ValueError(
                    f"{bijection.name} was built for events of shape {bijection.event_shape}, but "
                    f"gets events of shape {shape} in this Flow. "
                    f"Received: event_shape={self.event_shape}"
                )
            shape = bijection.latent_shape
        self.latent_shape = (math.prod(shape),)
        if isinstance(self._base, Base):
            self._base.build_for(self.latent_shape)
        elif isinstance(self._base, tf.Module):
            spec = tf.TensorSpec((1, *self.latent_shape), self.log_det_dtype)
            self._base_weights = weights_in_use(self.base_log_prob, spec, self._base.variables)
        self.initialized = self.add_weight(
            name="initialized", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )
        self.add_noise_counter()
        _compat.separate_losses(self)
        self.built = True

    @property
    def base(self) -> Any:
        """Returns the distribution of the latents; None is the standard normal. Not replaceable."""
        return self._base

    # The contract of a layer.

    def call(
        self, x: Any, context: Any = None, training: bool = False, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Maps data to latents: `(z, log_det)`, `(batch, D)` and `(batch,)`, as the layers do.

        Args:
            x: `(batch,) + event_shape`.
            context: Handed to every layer.
            training: Whether layers may use their estimators.
            seed: Seed of the noise: an integer, or a row seed of `snf_tf.ops.row_seed`. None:
                another one in every training call, otherwise 0.
        """
        if isinstance(x, dict):
            # `fit` has checked these: a check would stop a GPU in every step.
            given = unpack(x, self.takes_labels)
            return self.forward(given.x, given.context, training, seed)
        if isinstance(x, tuple | list):
            x, context, *_ = unpack(x, self.takes_labels)
        x = self.check_data(x)
        return self.forward(x, self.check_context(context, x), training, seed)

    def check_input(self, x: Any) -> Any:
        """Returns x as a tensor, or the parts of an element of a data set as tensors."""
        if isinstance(x, dict | tuple | list):
            given = unpack(x, self.takes_labels).as_dict()
            parts = {name: check_array(name, value) for name, value in given.items()}
            return parts if isinstance(x, dict) else tuple(parts.values())
        return check_array("x", x)

    def forward(
        self, x: Any, context: Any = None, training: bool = False, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does what a call does, on x and context that were checked before."""
        log_dets: list[tf.Tensor] = []
        steps = self.steps(x, context, training, seed)
        z = follow(steps, lambda step: log_dets.append(step.log_det))
        return z, self._sum(log_dets)

    def call_inverse(self, z: Any, context: Any = None, exact: bool = True) -> tf.Tensor:
        x = tf.reshape(z, (-1, *self.bijections[-1].latent_shape))
        for bijection in reversed(self.bijections):
            x = bijection.inverse(x, context=context, exact=exact)
        return x

    def steps(
        self, x: Any, context: Any = None, training: bool = False, seed: Any = None
    ) -> Generator[Step, None, tf.Tensor]:
        seed = self.training_seed(x) if training and seed is None else ops.row_seed(seed)
        for index, bijection in enumerate(self.bijections):
            noise = ops.fold_in(seed, index) if bijection.takes_seed else None
            x = yield from bijection.steps(x, context, training, noise)
        return tf.reshape(x, (-1, *self.latent_shape))

    def leaves(self) -> list[Bijection]:
        return [leaf for bijection in self.bijections for leaf in bijection.leaves()]

    def bijections_after_noise(self) -> list[Bijection]:
        first, *rest = self.bijections
        if late := [leaf.name for b in rest for leaf in b.leaves() if not leaf.is_bijection]:
            raise ValueError(f"What is random is no bijection. Received: {', '.join(late)}")
        return [*first.bijections_after_noise(), *rest]

    def prepare(self) -> None:
        """Certifies what evaluation, sampling and export rely on.

        `log_prob`, `sample`, `evaluate` and the like call it. Call it yourself before a tf.function
        of your own.
        """
        if tf.executing_eagerly():
            for leaf in self.leaves():
                leaf.prepare()

    @property
    def is_bijection(self) -> bool:  # type: ignore[override]
        return all(bijection.is_bijection for bijection in self.bijections)

    @property
    def dequantizes(self) -> bool:  # type: ignore[override]
        return self.bijections[0].dequantizes

    @property
    def log_det_kind(self) -> str:  # type: ignore[override]
        kinds = {bijection.log_det_kind for bijection in self.bijections}
        return next(kind for kind in ("bound", "estimate", "exact") if kind in kinds)

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return all(bijection.log_det_is_constant for bijection in self.bijections)

    @property
    def has_approximate_inverse(self) -> bool:  # type: ignore[override]
        return any(bijection.has_approximate_inverse for bijection in self.bijections)

    @property
    def version(self) -> int:
        return sum(bijection.version for bijection in self.bijections)

    def unbuilt_parts(self) -> list[str]:
        parts: list[Any] = [*self.bijections, *([self.base] if isinstance(self.base, Base) else [])]
        return [name for part in parts for name in part.unbuilt_parts()]

    @property
    def needs_initialization(self) -> bool:
        return any(bijection.needs_initialization for bijection in self.bijections)

    @property
    def log_det_dtype(self) -> str:
        dtypes = (bijection.log_det_dtype for bijection in self.bijections)
        return max(dtypes, key=lambda dtype: tf.as_dtype(dtype).size)

    def constant_log_det(self) -> tf.Tensor | None:
        if not self.log_det_is_constant:
            return None
        return self._sum([bijection.constant_log_det() for bijection in self.bijections])

    def initialize(self, x: Any, context: Any = None, seed: Any = None) -> None:
        """Sets the data-dependent weights of all layers from a batch x, once.

        A second call changes nothing.

        Raises:
            ValueError: If the flow does not accept x, or a layer cannot be initialized by x.
        """
        if self.initialized > 0:
            return
        if isinstance(x, tf.data.Dataset):
            raise ValueError(
                "initialize takes one batch, next(iter(dataset)). Received: a tf.data.Dataset"
            )
        x, seed = self.check_data(x), ops.row_seed(seed)
        for index, bijection in enumerate(self.bijections):
            left = self.bijections[index:]
            if not any(b.needs_initialization or b.unbuilt_parts() for b in left):
                break
            # A layer is initialized by the output of the layers before, which are initialized.
            noise = {"seed": ops.fold_in(seed, index)} if bijection.takes_seed else {}
            given = context if bijection.takes_context else None
            bijection.initialize(x, given, **noise)
            if index < len(self.bijections) - 1:
                z, _ = bijection(x, context=given, **noise)
                x = tf.reshape(z, (-1, *bijection.latent_shape))
        self.initialized.assign(1.0)

    # Serialization.

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {
            "bijections": [serialize(bijection) for bijection in self.bijections],
            "event_shape": self.event_shape,
            "base": None if self.base is None else serialize(self.base),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "Flow":
        config = dict(config)
        for name in ("bijections", "base"):
            config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)

    def load_weights(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Loads weights, as in Keras. Refuses damaged files, and a flow that is not built."""
        self.require_built("load_weights")
        try:
            super().load_weights(check_path("filepath", filepath), **kwargs)
        except FileNotFoundError:
            raise
        except (KeyError, OSError, RuntimeError) as error:
            allowed = f"a whole file of this flow's weights, not damaged ({error})"
            refuse("filepath", str(filepath), allowed)

    def save_weights(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Saves weights, as in Keras. Refuses a flow that is not built."""
        self.require_built("save_weights")
        super().save_weights(filepath, **kwargs)

    def _sum(self, log_dets):
        return tf.add_n([tf.cast(log_det, self.log_det_dtype) for log_det in log_dets])
