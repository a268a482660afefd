"""The computations of a residual block, traced once for all blocks that are alike."""

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf import networks, ops
from snf_tf.layers.alike import key_of_alike
from snf_tf.layers.log_det_estimators import LogDetEstimator, LogDetProblem
from snf_tf.ops.shared import shared_function

PROBES = {"rademacher": ops.rademacher_rows, "normal": ops.normal_rows}
_ROOT = math.sqrt(2.0)
Tensors = Sequence[tf.Tensor]


def residual_map(
    network: keras.layers.Layer,
    event_shape: tuple[int, ...],
    options: Mapping[str, Any],
    before: "ResidualMap | None" = None,
) -> "ResidualMap":
    """Returns the computations of a block, shared with every living block that is alike.

    Blocks are alike if their networks, made of layers of Keras and of this package, have the same
    configuration, and their options are the same.

    Args:
        network: A built network.
        event_shape: Shape of one x.
        options: Arguments of `ResidualMap`.
        before: What the block had before, and keeps if its network is not known.
    """
    key = key_of_alike(network, event_shape, list(options.values()))
    if key is None:
        return before or ResidualMap(network, **options)
    found = _MAPS.get(key)
    if found is None:
        found = _MAPS[key] = ResidualMap(network, **options)
    return found


_MAPS: "weakref.WeakValueDictionary[str, ResidualMap]" = weakref.WeakValueDictionary()


class ResidualMap:
    """What a block computes, as functions of the values of its network's variables.

    A new signature is traced through the network of the block that calls.

    Args:
        network: g; of its variables only the number and shapes matter.
        log_det: The estimator of training.
        evaluation: The estimator of evaluation.
        probe: A name of `PROBES`.
        monotone: As in `ResidualBlock`.
        early: Whether gradients of log-determinants are computed in the forward pass.
        dtype: Of log-determinants.
        lipschitz_bound: As in `ResidualBlock`.
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        log_det: LogDetEstimator,
        evaluation: LogDetEstimator,
        probe: str,
        monotone: bool,
        early: bool,
        dtype: str,
        lipschitz_bound: float | None,
    ) -> None:
        self._network = network
        self._parts = networks.lipschitz_parts(network)
        self._log_det, self._evaluation = log_det, evaluation
        self._probe, self._monotone, self._early = probe, monotone, early
        self._dtype = tf.as_dtype(dtype)
        self.nominal_bound = lipschitz_bound or networks.nominal_bound(network)
        variables, fixed = network.variables, self._fixed()
        self._trained = [i for i, variable in enumerate(variables) if id(variable) not in fixed]
        vectors = {id(v) for part in self._parts for v in part.norm_weights}
        self._updated = [i for i, variable in enumerate(variables) if id(variable) in vectors]
        self._constant = [i for i, variable in enumerate(variables) if id(variable) in fixed]

    def _fixed(self) -> set[int]:
        """Returns the ids of variables that get no gradient."""
        kept = [v for part in self._parts for v in part.non_trainable_variables]
        kept += [v for v in self._network.variables if not tf.as_dtype(v.dtype).is_floating]
        # Orders of norms follow the norms alone.
        return {id(variable) for variable in kept}

    def values(self, network: keras.layers.Layer) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the values of a network's variables: with gradients, and without."""
        # Another network may have changed since this map was made.
        self._network, self._parts = network, networks.lipschitz_parts(network)
        variables = network.variables
        trained, constant = (
            [tf.convert_to_tensor(variables[i]) for i in chosen]
            for chosen in (self._trained, self._constant)
        )
        return trained, constant

    def assign(self, network: keras.layers.Layer, found: Tensors) -> list[tf.Tensor]:
        """Assigns what `update` returned, and returns the new values without gradients."""
        variables = network.variables
        for index, value in zip(self._updated, found, strict=True):
            variables[index].assign(value)
        new = dict(zip(self._updated, found, strict=True))
        return [new[i] if i in new else tf.convert_to_tensor(variables[i]) for i in self._constant]

    @shared_function
    def update(self, values: Tensors, constants: Tensors) -> tuple[Tensors, tf.Tensor]:
        """Brings the vectors of norms up to date.

        Returns:
            `(found, loss)`: the new vectors, for `assign`, and a loss of value 0 with the gradients
            of norms for their orders.
        """
        losses = [tf.zeros((), tf.float32)]
        with keras.StatelessScope(state_mapping=self._state(values, constants)) as scope:
            for part in self._parts:
                part.update_norm()
                loss = part.norm_loss()
                if loss is not None:
                    losses.append(tf.cast(loss, tf.float32))
            variables = self._network.variables
            found = [scope.get_current_value(variables[i]) for i in self._updated]
        return [tf.stop_gradient(value) for value in found], tf.add_n(losses)

    @shared_function
    def train(
        self, x: tf.Tensor, values: Tensors, constants: Tensors, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `(z, log_det)` by the estimator of training."""
        bound = self.nominal_bound
        w, _ = self._start(x, values, constants, bound)
        log_det = self._estimator(self._log_det, seed)

        def function(w: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
            return self._g(w, values, constants)

        if self._early:
            y, found = ops.early_gradients(function, w, values, log_det)
        else:
            y, found = function(w, *values), log_det(lambda w: function(w, *values), w)
        return (_ROOT * w - x if self._monotone else x + y), found

    @shared_function
    def evaluate(
        self,
        x: tf.Tensor,
        values: Tensors,
        constants: Tensors,
        seed: tf.Tensor,
        bound: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Computes `(z, log_det)`, exactly or by the estimator of evaluation, and convergence."""
        w, converged = self._start(x, values, constants, bound)
        log_det = self._estimator(self._evaluation, seed)
        found = log_det(lambda w: self._g(w, values, constants), w)
        if self._monotone:
            return _ROOT * w - x, found, converged
        return x + self._g(w, values, constants), found, converged

    @shared_function
    def inverse(
        self, z: tf.Tensor, values: Tensors, constants: Tensors, bound: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes x, and whether it has converged."""
        if not self._monotone:
            found = self._solve(z, values, constants, bound, 1.0)
            return found.value, found.converged
        found = self._solve(_ROOT * z, values, constants, bound, -1.0)
        return _ROOT * found.value - z, found.converged

    def _start(
        self, x: tf.Tensor, values: Tensors, constants: Tensors, bound: tf.Tensor | float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns w, at which the Jacobian of g is taken, and whether its solver has converged."""
        if not self._monotone:
            return x, tf.constant(True)
        found = self._solve(_ROOT * x, values, constants, bound, 1.0)
        return found.value, found.converged

    def _solve(
        self,
        z: tf.Tensor,
        values: Tensors,
        constants: Tensors,
        bound: tf.Tensor | float,
        sign: float,
    ) -> ops.FixedPoint:
        """Solves `x + sign g(x) = z`."""
        return ops.residual_inverse(
            lambda x, *values: sign * self._g(x, values, constants), z, values, bound
        )

    def _estimator(self, estimator: LogDetEstimator, seed: tf.Tensor) -> Callable[..., tf.Tensor]:
        terms = ops.MONOTONE if self._monotone else ops.RESIDUAL

        def log_det(function: Callable[[tf.Tensor], tf.Tensor], w: tf.Tensor) -> tf.Tensor:
            if estimator.is_exact:
                probe = tf.zeros_like(w, self._dtype)
            else:
                noise = ops.fold_in(seed, 0)
                probe = PROBES[self._probe](noise, tf.shape(w), self._dtype)
            seed_of_terms = ops.fold_in(seed, 1)
            return estimator(
                LogDetProblem(function, w, probe, seed_of_terms, self.nominal_bound, terms)
            )

        return log_det

    def _g(self, x: tf.Tensor, values: Tensors, constants: Tensors) -> tf.Tensor:
        with keras.StatelessScope(state_mapping=self._state(values, constants)):
            return tf.cast(self._network(x, training=False), x.dtype)

    def _state(self, values: Tensors, constants: Tensors) -> list[tuple[keras.Variable, tf.Tensor]]:
        variables = self._network.variables
        return [
            *zip((variables[i] for i in self._trained), values, strict=True),
            *zip((variables[i] for i in self._constant), constants, strict=True),
        ]
