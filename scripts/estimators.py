"""Compares the estimators of Residual Flows: errors, variances, products, memory.

    python scripts/estimators.py                                # known matrices
    python scripts/estimators.py --run_dir=runs/toy2d_residual_flow   # blocks of a trained flow
    python scripts/estimators.py --memory                       # peak memory of a training step

Errors are those of one probe, root mean squares over probes and examples; those of gradients are
relative. "probe" is the standard deviation that the probe itself brings. The deviation of roulette
(2 exact terms, then Geometric(0.5)) is over its number of terms alone, summed analytically: a mean
of draws would hide its tail. Roulette takes 4 products on average.
"""

import functools

import command_line
import memory
import numpy as np
from absl import flags

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of a run that has come to its end.")
_MEMORY = flags.DEFINE_bool("memory", False, "Measure memory instead.")
_EXAMPLES, _PROBES, _LONGEST = 10, 40, 400
_INVERTED = 100
_COUNTS = (4, 6)


def main(_) -> None:
    command_line.import_libraries()
    if _MEMORY.value:
        print("| gradient of 16 blocks, 10 terms | MiB above the start |\n|---|---|")
        for name in memory.GRADIENTS:
            print(f"| {name} | {memory.peak(name)} |", flush=True)
        return
    jacobians = _of_run(_RUN_DIR.value) if _RUN_DIR.value else _matrices()
    names = [f"{kind}, {n}" for n in _COUNTS for kind in ("series", "Krylov")]
    print(f"| J | spectral radius | probe | {' | '.join(names)} | roulette | gradient: ", end="")
    print(f"{' | '.join(names)} | roulette |\n|{'---|' * (4 + 4 * len(_COUNTS) + 1)}")
    for name, group in jacobians.items():
        _print_row(name, group)
    if _RUN_DIR.value:
        _print_inverses(_RUN_DIR.value)


def _print_inverses(run_dir):
    """Prints evaluations of g until the inverses of all test examples are found in a block."""
    import tensorflow as tf

    from snf_tf import layers, ops
    from snf_tf.training import load_data, load_run

    flow = load_run(run_dir)
    flow.prepare()
    x = tf.constant(load_data().test[:_INVERTED])
    print("\n| block | accelerated | plain |\n|---|---|---|")
    steps = [s for s in flow.steps(x, seed=0) if isinstance(s.layer, layers.ResidualBlock)]
    for index, step in enumerate(steps):
        network, z, bound = step.layer.network, step.z, float(step.layer.bound)
        found = ops.fixed_point(lambda x, g=network, z=z: z - g(x), z, bound)
        # The same rule of stopping.
        limit = 4 * np.finfo("float32").eps * np.maximum(_lengths(step.x), _lengths(z))
        y, count, residual = z, 0, np.inf
        while count < _LONGEST and (residual > limit).any():
            image = z - network(y)
            y, count, residual = image, count + 1, _lengths(image - y)
        print(f"| {index + 1} | {int(found.steps)} | {count} |", flush=True)


def _lengths(rows):
    return np.linalg.norm(np.reshape(rows, (len(rows), -1)), axis=1)


def _matrices():
    """Returns matrices of 200 x 200 of known spectra; each group is a list of Jacobians."""
    random, size = np.random.default_rng(0), 200

    def scaled(matrix, norm):
        return norm * matrix / np.linalg.norm(matrix, 2)

    def symmetric(eigenvalues):
        basis = np.linalg.qr(random.standard_normal((size, size)))[0]
        return (basis * eigenvalues) @ basis.T

    def real(eigenvalues):
        basis = np.eye(size) + 0.3 * random.standard_normal((size, size)) / size**0.5
        return basis @ np.diag(eigenvalues) @ np.linalg.inv(basis)

    gaussian = random.standard_normal((4, size, size))
    return {
        "product of three layers, norm .9": [scaled(gaussian[0] @ gaussian[1] @ gaussian[2], 0.9)],
        "Gaussian, norm .98": [scaled(gaussian[3], 0.98)],
        "symmetric, [-.7, .7]": [symmetric(np.linspace(-0.7, 0.7, size))],
        "symmetric, [-.9, .9]": [symmetric(np.linspace(-0.9, 0.9, size))],
        "real spectrum, [-.9, 0]": [real(np.linspace(-0.9, 0.0, size))],
    }


def _of_run(run_dir):
    """Returns the Jacobians of g at test examples, of some blocks of a trained flow."""
    import tensorflow as tf

    from snf_tf import layers
    from snf_tf.training import load_data, load_run

    flow = load_run(run_dir)
    flow.prepare()
    x = tf.constant(load_data().test[:_EXAMPLES])
    steps = [s for s in flow.steps(x, seed=0) if isinstance(s.layer, layers.ResidualBlock)]
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    result = {}
    for index in chosen:
        h = tf.cast(steps[index].x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(h)
            y = steps[index].layer.network(h)
        size = int(np.prod(h.shape[1:]))
        found = tf.reshape(tape.batch_jacobian(y, h), (-1, size, size))
        result[f"block {index + 1} of {len(steps)}"] = list(found.numpy().astype(float))
    return result


def _print_row(name, jacobians):
    """Prints the errors of one group of Jacobians."""
    import tensorflow as tf

    from snf_tf import ops

    random = np.random.default_rng(1)
    size = len(jacobians[0])
    probes = random.choice([-1.0, 1.0], (_PROBES, size))
    radius = max(np.abs(np.linalg.eigvals(jacobian)).max() for jacobian in jacobians)
    columns: dict[str, list] = {}
    for jacobian in jacobians:
        values, vectors = np.linalg.eig(jacobian)
        log = np.real((vectors * np.log(1 + values)) @ np.linalg.inv(vectors))
        inverse = np.linalg.inv(np.eye(size) + jacobian).T
        exact, solution = np.einsum("pi,ij,pj->p", probes, log, probes), probes @ inverse.T
        columns.setdefault("probe", []).append(exact - np.trace(log))
        x = tf.zeros((_PROBES, size), tf.float64)
        matrix, v = tf.constant(jacobian.T), tf.constant(probes)
        for count in _COUNTS:
            found = {
                "series": functools.partial(
                    ops.series_log_det, x=x, probe=v, coefficients=tf.ones(count, tf.float64)
                ),
                "Krylov": functools.partial(_krylov, x=x, probe=v, products=count),
            }
            for kind, estimate in found.items():
                variable = tf.Variable(matrix)
                with tf.GradientTape() as tape:
                    value = estimate(lambda x, m=variable: tf.matmul(x, m))
                columns.setdefault(f"{kind}{count}", []).append(value - exact)
                # The gradient of w^T J v by J^T is the sum of outer products of v and w.
                gradient = tape.gradient(value, variable).numpy()
                expected = probes.T @ solution
                error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
                columns.setdefault(f"gradient {kind}{count}", []).append(error)
        for kind, deviation in zip(
            ("roulette", "gradient roulette"), _roulette(jacobian, probes, solution), strict=True
        ):
            columns.setdefault(kind, []).append(deviation)
    rms = {key: np.sqrt(np.mean(np.square(found))) for key, found in columns.items()}
    names = [f"{kind}{n}" for n in _COUNTS for kind in ("series", "Krylov")]
    order = ["probe", *names, "roulette", *(f"gradient {n}" for n in names), "gradient roulette"]
    cells = [f"{rms[key]:.2g}" if np.isfinite(rms[key]) else "diverges" for key in order]
    print(f"| {name} | {radius:.2f} | {' | '.join(cells)} |", flush=True)


def _krylov(function, **arguments):
    from snf_tf import ops

    return ops.krylov_log_det(function, **arguments).value


def _roulette(jacobian, probes, solution):
    """Computes the deviations of roulette over N: of values, and of w relative to its length.

    The mean of c_k c_l over N is 1 / P(N >= min(k, l) - 2) for terms of orders k and l.
    """
    powers = [probes]
    for _ in range(_LONGEST):
        powers.append(powers[-1] @ jacobian)
    if np.abs(np.linalg.eigvals(jacobian)).max() ** 2 >= 0.5:
        return np.inf, np.inf
    orders = np.arange(1, _LONGEST + 1)
    signs = (-1.0) ** orders
    terms = -signs / orders * np.einsum("kpi,pi->pk", np.array(powers[1:]), probes)
    vectors = signs[:, None, None] * np.array(powers[1:])
    excess = 2.0 ** np.maximum(orders - 3.0, 0.0) - 1.0

    def variance(products):
        """Sums products of terms k, l times the excess of the smaller order."""
        # The sum over l >= k of the products with l, and of those with l > k once more.
        return np.sum(excess * products, axis=-1)

    tails = terms[:, ::-1].cumsum(axis=1)[:, ::-1]
    value = variance(2 * terms * tails - terms**2)
    sums = vectors[::-1].cumsum(axis=0)[::-1]
    square = np.einsum("kpi,kpi->pk", vectors, 2 * sums - vectors)
    relative = variance(square) / np.sum(solution**2, axis=1)
    return np.sqrt(np.mean(value)), np.sqrt(np.mean(relative))


if __name__ == "__main__":
    command_line.run(main)
