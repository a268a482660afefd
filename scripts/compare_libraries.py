"""Fits flows of this library, zuko and nflows to the same data for the same seconds.

    pip install '.[benchmark]'
    python scripts/compare_libraries.py --data=toy2d/moons --data=tabular/wine --seconds=120

All are neural spline flows (Durkan et al. 2019) of the same blocks, widths and bins, trained by
Adam at the same rates and batches. The rate falls to 0 by a cosine. The weights of the best
validation likelihood are tested. Peers get standardized data, and their likelihoods are in the
units of the data. Seconds are those of the processor, of one thread, construction, tracing and
validation included.

Prints a line of JSON for each fit, then a Markdown table of test nats. Data on the plane are drawn:
`--output` is the folder.
"""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

# Before all that loads TensorFlow: PyTorch crashes where it is loaded second.
with contextlib.suppress(ImportError):
    import torch._dynamo

import command_line
import numpy as np
from absl import flags

_DATA = flags.DEFINE_multi_string(
    "data", ["toy2d/moons"], "A data set of vectors, such as tabular/wine, digits, or synthetic."
)
_LIBRARIES = flags.DEFINE_list("libraries", ["snf_tf", "zuko", "nflows"], "Libraries.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Seconds of a fit.", lower_bound=1.0)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Fits of each library, seeds 0, 1, ...", lower_bound=1)
_COUPLING = flags.DEFINE_string(
    "coupling", "rational_quadratic", "Coupling of snf_tf.models.tabular."
)
_MIXING = flags.DEFINE_string("mixing", "lu", "Mixing of snf_tf.models.tabular.")
_BLOCKS = flags.DEFINE_integer("blocks", 5, "Couplings of a flow.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 64, "Hidden units.", lower_bound=1)
_BINS = flags.DEFINE_integer("bins", 8, "Bins of the splines.", lower_bound=2)
_BATCH = flags.DEFINE_integer("batch_size", 256, "Examples of a step.", lower_bound=1)
_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Rate at the start.", lower_bound=0.0)
_OUTPUT = flags.DEFINE_string("output", ".", "Folder of the pictures.")
_BOUND, _VALIDATIONS, _GRID = 3.0, 30, 150


class Rows(NamedTuple):
    """Examples `(N, D)` and their contexts `(N, C)`, or None."""

    x: np.ndarray
    context: np.ndarray | None


def main(_) -> None:
    command_line.import_libraries()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with contextlib.suppress(NameError):
        torch.set_num_threads(1)
    folder = Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for name in _DATA.value:
        splits = _load(name)
        drawn, tests = {}, {library: [] for library in _LIBRARIES.value}
        for seed in range(_SEEDS.value):
            for library in _LIBRARIES.value:
                row, log_prob = _fit(_FLOWS[library], splits, seed)
                tests[library].append(row["test_nats"])
                print(json.dumps({"data": name, "library": library, "seed": seed} | row))
                drawn.setdefault(library, log_prob)
        if splits[0].x.shape[1] == 2 and splits[0].context is None:
            _draw(splits[2].x, drawn, folder / f"{name.replace('/', '_')}.png")
        means = (f"{np.mean(t):.3f} ± {np.std(t):.3f}" for t in tests.values())
        table.append(f"| {name} | {' | '.join(means)} |")
    print(f"\n| nats | {' | '.join(_LIBRARIES.value)} |\n" + "|---" * (1 + len(tests)) + "|")
    print("\n".join(table))


def _load(name):
    """Returns three splits of float32 rows; images of digits are dequantized."""
    random = np.random.default_rng(0)
    if name == "synthetic":
        return [Rows(_synthetic(random, n), None) for n in (20_000, 2_000, 5_000)]
    from snf_tf.data import load_dataset

    dataset = load_dataset(name, source="embedded")
    splits = []
    for x, context in (
        (dataset.train, dataset.train_context),
        (dataset.validation, dataset.validation_context),
        (dataset.test, dataset.test_context),
    ):
        x = x.reshape(len(x), -1)
        if x.dtype == np.uint8:
            x = x + random.random(x.shape)
        splits.append(Rows(x.astype(np.float32), context))
    return splits


def _synthetic(random, n):
    """Draws a table like one of houses: incomes, ages, counts, places of two towns."""
    town = random.integers(0, 2, n)
    place = np.where(town, 1.0, -1.0)[:, None] + 0.3 * random.standard_normal((n, 2))
    income = np.exp(0.5 * random.standard_normal(n) + 0.2 * place[:, 0])
    age = 50 * random.beta(1.5 + town, 2.0, n)
    rooms = 4 + income + 0.5 * random.standard_normal(n)
    people = 3 + random.gamma(2.0, 0.5, n) - 0.2 * town
    size = rooms * people * np.exp(0.1 * random.standard_normal(n))
    price = np.log1p(income * (2 + np.sin(3 * place[:, 1]))) + 0.1 * random.standard_normal(n)
    columns = [place[:, 0], place[:, 1], income, age, rooms, people, size, price]
    return np.stack(columns, 1).astype(np.float32)


def _fit(make, splits, seed):
    """Returns a row of results, and the log-density of the fitted flow."""
    train, validation, test = splits
    start = time.process_time()
    flow = make(train, seed)
    steps, validations, best, weights = 0, 0, math.inf, None
    while (used := (time.process_time() - start) / _SECONDS.value) < 1:
        flow.set_rate(_RATE.value * 0.5 * (1 + math.cos(math.pi * used)))
        for _ in range(10):
            flow.step()
        steps += 10
        if used * _VALIDATIONS >= validations:
            validations += 1
            value = -flow.log_prob(validation).mean()
            if value < best:
                best, weights = value, flow.weights()
    flow.set_weights(weights)
    row = {"steps": steps, "validation_nats": -float(best)}
    return row | {"test_nats": float(flow.log_prob(test).mean())}, flow.log_prob


class _Ours:
    """A flow of this library, trained as `fit` does it."""

    def __init__(self, train, seed):
        import keras
        import tensorflow as tf

        import snf_tf

        keras.utils.set_random_seed(seed)
        context = None if train.context is None else train.context.shape[1:]
        self._flow = snf_tf.models.tabular(
            train.x.shape[1:],
            blocks=_BLOCKS.value,
            coupling=_COUPLING.value,
            mixing=_MIXING.value,
            width=_WIDTH.value,
            residual_blocks=1,
            bins=_BINS.value,
            bound=_BOUND,
            context_shape=context,
            seed=seed,
        )
        self._flow.initialize(train.x, context=train.context)
        self._flow.compile(optimizer=snf_tf.optimizers.Adam(_RATE.value, global_clipnorm=5.0))
        data = {"x": train.x} | ({} if context is None else {"context": train.context})
        rows = tf.data.Dataset.from_tensor_slices(data).shuffle(len(train.x), seed=seed)
        self._batches = iter(rows.repeat().batch(_BATCH.value).prefetch(2))
        self._flow.optimizer.build(self._flow.trainable_variables)
        self._flow.make_train_function()

    def set_rate(self, rate):
        self._flow.optimizer.learning_rate.assign(rate)

    def step(self):
        self._flow.train_function(self._batches)

    def log_prob(self, rows):
        return self._flow.log_prob(rows.x, context=rows.context).numpy()

    def weights(self):
        return self._flow.get_weights()

    def set_weights(self, weights):
        self._flow.set_weights(weights)


class _Peer:
    """A flow of PyTorch."""

    def __init__(self, train, seed):
        torch.manual_seed(seed)
        self._random = np.random.default_rng(seed)
        self._mean, self._scale = train.x.mean(0), train.x.std(0)
        self._x, self._context = self._tensors(train)
        contexts = 0 if train.context is None else train.context.shape[1]
        self._flow = self._make(train.x.shape[1], contexts)
        self._optimizer = torch.optim.Adam(self._flow.parameters(), _RATE.value)
        self._order = np.array([], int)

    def _make(self, features, contexts):
        import zuko

        return zuko.flows.NSF(
            features,
            contexts,
            transforms=_BLOCKS.value,
            bins=_BINS.value,
            hidden_features=(_WIDTH.value,) * 3,
        )

    def _log_prob(self, x, context):
        return self._flow(context).log_prob(x)

    def set_rate(self, rate):
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def step(self):
        if not len(self._order):
            self._order = self._random.permutation(len(self._x))
        rows, self._order = self._order[: _BATCH.value], self._order[_BATCH.value :]
        context = None if self._context is None else self._context[rows]
        self._optimizer.zero_grad()
        (-self._log_prob(self._x[rows], context).mean()).backward()
        torch.nn.utils.clip_grad_norm_(self._flow.parameters(), 5.0)
        self._optimizer.step()

    def log_prob(self, rows):
        with torch.no_grad():
            return self._log_prob(*self._tensors(rows)).numpy() - np.log(self._scale).sum()

    def _tensors(self, rows):
        x = torch.as_tensor((rows.x - self._mean) / self._scale)
        return x, None if rows.context is None else torch.as_tensor(rows.context)

    def weights(self):
        return {name: value.clone() for name, value in self._flow.state_dict().items()}

    def set_weights(self, weights):
        self._flow.load_state_dict(weights)


class _OfNflows(_Peer):
    def _make(self, features, contexts):
        from nflows import distributions, flows, transforms
        from nflows.nn.nets import ResidualNet
        from nflows.utils import create_random_binary_mask

        def network(inputs, outputs):
            return ResidualNet(
                inputs, outputs, _WIDTH.value, context_features=contexts or None, num_blocks=1
            )

        parts = []
        for _ in range(_BLOCKS.value):
            coupling = transforms.PiecewiseRationalQuadraticCouplingTransform(
                create_random_binary_mask(features),
                network,
                num_bins=_BINS.value,
                tails="linear",
                tail_bound=_BOUND,
            )
            parts += [transforms.LULinear(features, identity_init=True), coupling]
        parts.append(transforms.LULinear(features, identity_init=True))
        base = distributions.StandardNormal((features,))
        return flows.Flow(transforms.CompositeTransform(parts), base)

    def _log_prob(self, x, context):
        return self._flow.log_prob(x, context)


_FLOWS = {"snf_tf": _Ours, "zuko": _Peer, "nflows": _OfNflows}


def _draw(x, log_probs, path):
    """Draws test data, and the density of each library's first flow."""
    from matplotlib.figure import Figure

    low, high = x.min(0) - 0.5, x.max(0) + 0.5
    axes_of_grid = [
        np.linspace(a, b, _GRID, dtype=np.float32) for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes_of_grid), -1).reshape(-1, 2)
    figure = Figure(figsize=(4 * (1 + len(log_probs)), 4), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(log_probs))
    first.scatter(*x.T, s=1)
    first.set(title="test data", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for axes, (library, log_prob) in zip(others, log_probs.items(), strict=True):
        density = np.exp(log_prob(Rows(grid, None))).reshape(_GRID, _GRID)
        axes.pcolormesh(*axes_of_grid, density)
        axes.set_title(library)
    figure.savefig(path)
    print(f"Densities: {path}")


if __name__ == "__main__":
    command_line.run(main)
