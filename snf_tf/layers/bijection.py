"""The contract of a bijection, which every layer of a flow and the flow itself keep."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._array_checks import cast_array, check_array, refuse_array
from snf_tf._checks import check_flag


class Step(NamedTuple):
    """One layer of a flow at work.

    Attributes:
        layer: The layer.
        x: Its input, `(batch,) + layer.event_shape`.
        z: Its output, `(batch,) + layer.latent_shape`.
        log_det: log|det dz/dx|, `(batch,)`, in nats.
    """

    layer: Bijection
    x: tf.Tensor
    z: tf.Tensor
    log_det: tf.Tensor


class Bijection(keras.layers.Layer):
    """The contract that `FlowLayer` and `snf_tf.Flow` share.

    Every fact about a layer is an attribute or a property. No code guesses facts from the class.

    Attributes:
        event_shape: Shape of one x; set in build.
        latent_shape: Shape of one z; set in build.
        takes_context: Whether the context may matter. A flow refuses a context if none of its
            layers takes one.
        context_shape: Shape of one context that every call takes. None: a call may do without.
        context_classes: Number of classes, where the context is labels `(batch,)`.
        takes_seed: Whether `call` takes `seed=`, a row seed of `snf_tf.ops.row_seed`.
        is_bijection: Whether z determines x. False for what is random.
        dequantizes: Whether the data are integers, to which the call adds noise.
        log_det_kind: For the call with `training=False`: "exact"; "estimate", by random probes; or
            "bound", where the sum with the log-density of z bounds log P(x) in the mean over noise.
        log_det_is_constant: Whether log|det| is the same for every x.
        has_approximate_inverse: Whether `inverse(z, exact=False)` differs from the exact inverse.
        largest_inverse_error: The `inverse_error` above which training makes no sense.
    """

    event_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    takes_context = True
    context_shape: tuple[int, ...] | None = None
    context_classes: int | None = None
    takes_seed = False
    is_bijection = True
    dequantizes = False
    log_det_kind = "exact"
    log_det_is_constant = False
    has_approximate_inverse = False
    largest_inverse_error = float("inf")
    # Number of own weights, the last ones, that an older file may lack.
    _count_of_optional_weights = 0
    _changes = 0

    @property
    def has_learned_inverse(self) -> bool:
        """Returns the same as `has_approximate_inverse`."""
        return self.has_approximate_inverse

    @property
    def needs_initialization(self) -> bool:
        """Returns whether data-dependent weights still wait for `initialize`."""
        return False

    @property
    def log_det_dtype(self) -> str:
        """Returns the dtype of log-dets, penalties and inverses: the weights', float32 at least."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    @property
    def input_dtype(self) -> str:
        """Returns the dtype to which Keras casts inputs: never a half precision."""
        return self.log_det_dtype

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer; see the class."""
        if args:
            args = (self.check_input(args[0]), *args[1:])
        kwargs |= {"x": self.check_input(kwargs["x"])} if "x" in kwargs else {}
        if len(args) > 2:
            check_flag("training", args[2])
        elif training is not None:
            kwargs["training"] = check_flag("training", training)
        return super().__call__(*args, **kwargs)

    def check_input(self, x: Any) -> Any:
        """Returns the x of a call as a tensor; raises a ValueError unless it is real numbers."""
        return check_array("x", x, self.log_det_dtype)

    def inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        """Computes x from z.

        Args:
            z: `(batch,) + latent_shape`.
            context: As in the call.
            exact: False takes the approximate inverse, if the layer keeps one.

        Returns:
            `(batch,) + event_shape`, in `log_det_dtype`.

        Raises:
            ValueError: If the layer is not built, or z is no real numbers or has the wrong shape.
        """
        z, exact = self._checked_latents(z), check_flag("exact", exact)
        return self.call_inverse(z, context=context, exact=exact)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        """Computes x from a z that `inverse` has checked and cast."""
        raise NotImplementedError

    def constant_log_det(self) -> tf.Tensor | None:
        """Computes the exact log|det| as a scalar, at its full cost; None if it depends on x."""
        return None

    def steps(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> Generator[Step, None, tf.Tensor]:
        """Applies the `leaves` one by one, from data to latents.

        Args:
            x: `(batch,) + event_shape`.
            context: As in the call.
            training: As in the call.
            seed: A row seed, for a layer that takes one.

        Yields:
            A `Step` for every leaf.

        Returns:
            The last z.
        """
        noise = {"seed": seed} if self.takes_seed else {}
        z, log_det = self(x, context=context, training=training, **noise)
        yield Step(self, x, z, log_det)
        return z

    def leaves(self) -> list[Bijection]:
        """Returns the innermost layers in the order of the steps; a layer is its own leaf."""
        return [self]

    def bijections_after_noise(self) -> list[Bijection]:
        """Returns the layers without the dequantizer at the start; refuses other noise."""
        if self.dequantizes:
            return []
        if not self.is_bijection:
            raise ValueError(f"What is random is no bijection. Received: {self.name}")
        return [self]

    def prepare(self) -> None:
        """Brings up to date what a flow relies on, outside of a graph: certified norms."""

    def check_data(self, x: tf.Tensor) -> tf.Tensor:
        """Returns x after checking that this layer accepts its values; see `snf_tf.ops.require`."""
        return x

    def initialize(
        self, x: tf.Tensor, context: tf.Tensor | None = None, seed: int | tf.Tensor | None = None
    ) -> None:
        """Sets data-dependent weights from a batch x; most layers have none."""

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        """Returns named scalars for history and TensorBoard.

        Args:
            x: An input of the layer.
            z: Its output.
        """
        return {}

    def inverse_angles(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Compares inverses, if the layer keeps one: name -> degrees; see `diagnostics`."""
        return {}

    def inverse_error(self) -> tf.Tensor | None:
        """Estimates |E v| / |v| of a learned inverse on random v; None where nothing is learned.

        E is the identity minus the product of the layer, without bias, and its learned inverse. At
        1 or more the gradient of log|det| by the learned inverse cannot be trusted.
        """
        return None

    def unbuilt_parts(self) -> list[str]:
        """Returns the names of networks that wait for a first context to be built."""
        return []

    @property
    def version(self) -> int:
        """Returns the count of changes of public attributes; traces depend on this number."""
        return self._changes

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras sets `built` in every call, although nothing has changed.
        if not name.startswith("_") and name != "built" and self.__dict__.get("built", False):
            self._changes += 1
        super().__setattr__(name, value)

    @property
    def training_only_weights(self) -> tuple[keras.Variable, ...]:
        """Returns the trainable weights on which no exact number depends."""
        return ()

    @property
    def estimated_weights(self) -> tuple[keras.Variable, ...]:
        """Returns the weights whose gradient in training is an estimate."""
        return ()

    def widen(self, x: Any) -> tf.Tensor:
        """Returns x in `log_det_dtype`."""
        return tf.cast(x, self.log_det_dtype)

    def call_dtype(self, training: bool) -> str:
        """Returns the dtype of a call: the compute dtype in training, otherwise `log_det_dtype`."""
        return self.compute_dtype if training else self.log_det_dtype

    def repeat(self, log_det: Any, x: tf.Tensor) -> tf.Tensor:
        """Returns a log-det that is the same for every row of x, `(batch,)`."""
        return tf.fill(tf.shape(x)[:1], self.widen(log_det))

    def add_weight(self, *args: Any, autocast: bool = False, **kwargs: Any) -> keras.Variable:
        """Adds a weight, as in Keras, and never casts the weight to half precision."""
        return super().add_weight(*args, autocast=autocast, **kwargs)

    def add_noise_counter(self) -> None:
        """Adds the weight `noise_calls`, by which training calls without a seed draw new noise."""
        self.noise_calls = self.add_weight(
            name="noise_calls",
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
        )
        self._count_of_optional_weights = 1

    def next_seed(self, seed: int = 0, first_row: int | tf.Tensor = 0) -> tf.Tensor:
        """Returns a row seed that no earlier call has returned, and counts the call."""
        calls = tf.convert_to_tensor(self.noise_calls)
        self.noise_calls.assign(calls + 1)
        return ops.row_seed(seed, calls, first_row)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Loads the layer's own weights; called by Keras."""
        own = self._trainable_variables + self._non_trainable_variables
        missing = len(own) - len(store.keys())
        if 0 < missing <= self._count_of_optional_weights:
            for index, weight in enumerate(own[:-missing]):
                weight.assign(store[f"{index}"])
            return
        super().load_own_variables(store)

    def _checked_latents(self, z: Any) -> tf.Tensor:
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}.inverse needs a built layer: call it once, or "
                "layer.build((None,) + event_shape). Received: a layer that is not built"
            )
        z = cast_array("z", z, self.log_det_dtype)
        if z.shape.rank is not None and tuple(z.shape[1:]) != self.latent_shape:
            takes = f"{type(self).__name__}.inverse takes latents"
            refuse_array("z", z, f"of shape (batch,) + {self.latent_shape}: {takes}")
        return z


def follow(steps: Generator[Step, None, tf.Tensor], visit: Callable[[Step], None]) -> tf.Tensor:
    """Runs the `steps` of a layer or a flow to their end, and returns the last z.

    Args:
        steps: Generator that `Bijection.steps` returns.
        visit: Function to call with every `Step`.
    """
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        visit(step)
