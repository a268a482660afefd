"""Compares flows in LiteRT and ONNX with their SavedModels: the table of docs/export.md.

    python scripts/benchmark_export.py --output=docs/records/export.csv

The flows are trained for a few steps on embedded data, so that their inverses are learned. A row
tells one method of one format: the largest difference from the flow on 32 rows, milliseconds of the
processor for one row and for 32, and those of the SavedModel, on one core; or what the format
lacks. A SavedModel draws its own noise: its decode_approximate stands beside sample, which takes
noise in the other formats. Sizes are of all methods that work.
"""

import csv
import os
import tempfile
import time
from pathlib import Path

import command_line
from absl import flags

_OUTPUT = flags.DEFINE_string("output", None, "CSV file to write; without it, prints alone.")
_STEPS = flags.DEFINE_integer("steps", 20, "Training steps of every flow.", lower_bound=1)
_FLOWS = flags.DEFINE_list("flows", None, "Some of the flows; all by default.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Timed calls, of which the median counts.")
_COLUMNS = (
    "flow",
    "format",
    "weights",
    "method",
    "largest_difference",
    "ms_1",
    "saved_model_ms_1",
    "ms_32",
    "saved_model_ms_32",
    "file_kb",
    "saved_model_kb",
    "lacks",
)
_METHODS = ("sample", "encode", "log_prob")
_SAVED = {"sample": "decode_approximate", "encode": "encode", "log_prob": "log_prob"}
_FORMATS = (("litert", "float32"), ("litert", "float16"), ("onnx", "float32"))


def flows():
    """Returns the functions that build the flows, by name."""
    import snf_tf
    from snf_tf import layers, models

    def plane():
        bijections = []
        for _ in range(4):
            bijections += [layers.SelfNormalizingDense(), layers.SplineActivation(bins=8, bound=4)]
        return snf_tf.Flow([*bijections, layers.SelfNormalizingDense()], event_shape=(2,))

    glow = {"levels": 2, "steps": 4, "coupling_width": 32}
    return {
        "plane": plane,
        "fc": models.fully_connected,
        "conv": models.convolutional,
        "glow": lambda: models.glow(**glow, reconstruction_weight=100.0),
        "conv_least_squares": lambda: models.convolutional(inverse_method="least_squares"),
        "glow_conv1x1": lambda: models.glow(**glow, mixing="conv1x1"),
        "fc_exact": lambda: models.fully_connected(linear="exact"),
        "residual": lambda: models.residual_flow(blocks=2, widths=(32, 32)),
    }


def trained(build):
    """Returns a flow after a few steps, and 32 rows of its data."""
    import tensorflow as tf

    from snf_tf import data

    tf.keras.utils.set_random_seed(0)
    flow = build()
    name = "mnist" if flow.dequantizes else "toy2d/moons"
    x = data.load_dataset(name, source="embedded" if flow.dequantizes else "auto").train
    x = x[: 100 * _STEPS.value]
    flow.initialize(x[:100])
    flow.compile(optimizer=tf.keras.optimizers.Adam(1e-3))
    flow.fit(x, batch_size=100, epochs=-(-100 * _STEPS.value // len(x)), verbose=0)
    return flow, x[:32]


def milliseconds(function, **arguments):
    """Returns the median time of a call on the processor."""
    times = []
    function(**arguments)
    for _ in range(_REPEATS.value):
        # Of the processor: other programs do not count.
        start = time.process_time()
        function(**arguments)
        times.append(time.process_time() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def kilobytes(path):
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    return sum(found.stat().st_size for found in files) / 1e3


def inputs(flow, x):
    """Returns what the methods take: in a file, and in a SavedModel."""
    import numpy as np
    import tensorflow as tf

    noise = np.random.default_rng(0).standard_normal((len(x), *flow.latent_shape)).astype("float32")
    seen = x.astype("float32") + (0.5 if flow.dequantizes else 0.0)
    zero = tf.constant(0, tf.int64)
    rows = {"x": x, "seed": zero, "first_row": zero}
    of_file = {"sample": {"noise": noise}, "encode": {"x": seen}, "log_prob": {"x": seen}}
    return of_file, {"sample": {"z": noise}, "encode": rows, "log_prob": rows}


def right_numbers(flow, given):
    """Computes what every method must give, layer by layer."""
    x = z = given["encode"]["x"]
    bijections = flow.bijections_after_noise()
    log_prob = 0.0
    for bijection in bijections:
        z, log_det = bijection(z)
        log_prob += log_det
    z = z.numpy().reshape(len(x), -1)
    log_prob = (flow.base_log_prob(z) + log_prob).numpy()
    return {
        "sample": flow.decode(given["sample"]["noise"], exact=False).numpy(),
        "encode": z,
        "log_prob": log_prob,
    }


def first_rows(arguments, count):
    return {k: v[:count] if getattr(v, "ndim", 0) else v for k, v in arguments.items()}


def measured(name, build, directory):
    """Yields the rows of one flow."""
    import tensorflow as tf

    from snf_tf import serving

    flow, x = trained(build)
    serving.export(flow, directory / name)
    model = tf.saved_model.load(str(directory / name))
    given, of_saved = inputs(flow, x)
    right = right_numbers(flow, given)
    for form, weights in _FORMATS:
        path = directory / f"{name}.{form}.{weights}"
        options = {"weights": weights} if form == "litert" else {}
        lacks = exported(getattr(serving, f"export_{form}"), flow, path, options)
        calls = getattr(serving, f"load_{form}")(path, threads=1)
        for method in _METHODS:
            row = {"flow": name, "format": form, "weights": weights, "method": method}
            if method in lacks:
                yield row | {"lacks": lacks[method]}
                continue
            call, saved = calls[method], getattr(model, _SAVED[method])
            difference = abs(call(**given[method]) - right[method]).max()
            row |= {"largest_difference": f"{difference:.1e}", "file_kb": f"{kilobytes(path):.0f}"}
            for rows in (1, 32):
                own, other = (first_rows(a[method], rows) for a in (given, of_saved))
                row[f"ms_{rows}"] = f"{milliseconds(call, **own):.2f}"
                row[f"saved_model_ms_{rows}"] = f"{milliseconds(saved, **other):.2f}"
            yield row | {"saved_model_kb": f"{kilobytes(directory / name):.0f}"}


def exported(export, flow, path, options):
    """Exports the methods that a format can hold; returns what it lacks for the others."""
    lacks = {} if flow.log_det_kind == "exact" else {"log_prob": "exact log-determinant"}
    while methods := [method for method in _METHODS if method not in lacks]:
        try:
            export(flow, path, methods, **options)
            break
        except ValueError as error:
            lacking, _, rest = str(error).partition("has no ")[2].partition(", which ")
            lacks[rest.split()[0]] = " ".join(lacking.removeprefix("operation ").split())
    return lacks


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator=os.linesep)
        writer.writeheader()
        writer.writerows(rows)


def main(_) -> None:
    if _OUTPUT.value:
        command_line.require_file("--output", _OUTPUT.value)
    command_line.import_libraries()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = []
    builders = flows()
    with tempfile.TemporaryDirectory() as directory:
        for name in _FLOWS.value or builders:
            for row in measured(name, builders[name], Path(directory)):
                found.append(row)
                print(" ".join(row.get(column, "-") for column in _COLUMNS), flush=True)
                if _OUTPUT.value:
                    write(_OUTPUT.value, found)


if __name__ == "__main__":
    command_line.run(main)
