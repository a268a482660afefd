"""Graphs of training and sampling: what stops a GPU in a step is what a method needs."""

import collections

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

import snf_tf
from tests.flows import images

SHAPE = (8, 8, 1)
# Control flow and placeholders have no kernel of a device, or run nothing.
NO_KERNEL = {
    *("NoOp", "Placeholder", "PlaceholderWithDefault", "Const", "Identity", "IdentityN"),
    *("If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase"),
    *("PartitionedCall", "StatefulPartitionedCall", "_Arg", "_Retval", "VarHandleOp"),
}
MODELS = {
    "fc": lambda: snf_tf.models.fully_connected(SHAPE),
    "fc_exact": lambda: snf_tf.models.fully_connected(SHAPE, linear="exact"),
    "fc_relative": lambda: snf_tf.models.fully_connected(SHAPE, linear="relative"),
    "fc_projected": lambda: snf_tf.models.fully_connected(SHAPE, inverse_method="projected"),
    "fc_newton_schulz": lambda: snf_tf.models.fully_connected(
        SHAPE, inverse_method="newton_schulz"
    ),
    "conv": lambda: snf_tf.models.convolutional(SHAPE, blocks=1, depth=2),
    "conv_exponential": lambda: snf_tf.models.convolutional(SHAPE, "exponential", 1, 2),
    "conv_emerging": lambda: snf_tf.models.convolutional(SHAPE, "emerging", 1, 2),
    "conv_least_squares": lambda: snf_tf.models.convolutional(
        SHAPE, blocks=1, depth=2, inverse_method="least_squares"
    ),
    "glow": lambda: snf_tf.models.glow(SHAPE, steps=1, coupling_width=4),
    "glow_conv1x1": lambda: snf_tf.models.glow(SHAPE, 2, 1, "conv1x1", coupling_width=4),
    "residual": lambda: snf_tf.models.residual_flow(SHAPE, 2, 1, widths=(4, 4), dense_blocks=0),
    "residual_krylov": lambda: snf_tf.models.residual_flow(
        SHAPE, 2, 1, widths=(4, 4), dense_blocks=0, log_det="krylov"
    ),
}
# Conditions on values in a training step: what a method decides in it, for each of its layers.
CONDITIONS = {"fc_projected": 6, "fc_newton_schulz": 12, "conv_least_squares": 6}
WITH_MESSAGES = set(CONDITIONS)
# For each of two blocks: a norm of each of three convolutions, whether the cotangents of a batch
# are equal, and the terms of roulette, here and where they are not.
CONDITIONS |= {"residual": 12, "residual_krylov": 8}
# For each block: its bound is certified, its fixed point has converged.
ASSERTIONS = {"residual": 4, "residual_krylov": 4}


def operations(concrete):
    """Counts the operations of a graph, and of the functions that it calls."""
    nodes = collections.Counter()
    functions = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}
    reached, todo = set(), [concrete.graph.as_graph_def().node]
    while todo:
        for node in todo.pop():
            nodes[node.op] += 1
            for value in node.attr.values():
                for name in [value.func.name, *(f.name for f in value.list.func)]:
                    if name in functions and name not in reached:
                        reached.add(name)
                        todo.append(functions[name].node_def)
    return nodes


def without_gpu_kernel(nodes):
    found = set()
    for name in set(nodes) - NO_KERNEL:
        devices = {k.device_type for k in kernels.get_registered_kernels_for_op(name).kernel}
        if "GPU" not in devices and "DEFAULT" not in devices:
            found.add(name)
    return found


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    flow = MODELS[request.param]()
    flow.initialize(images(10, SHAPE))
    flow.compile(optimizer=keras.optimizers.Adam())
    flow.optimizer.build(flow.trainable_variables)
    return request.param, flow


def test_a_training_step(case):
    name, flow = case
    step = tf.function(lambda x: flow.train_step(({"x": x},)))
    nodes = operations(step.get_concrete_function(tf.TensorSpec((10, *SHAPE), tf.uint8)))
    assert nodes["Assert"] == nodes["PyFunc"] == nodes["EagerPyFunc"] == 0
    # Messages, which are printed inside of conditions.
    assert without_gpu_kernel(nodes) <= {"PrintV2", "StringFormat"}
    assert (nodes["PrintV2"] > 0) == (name in WITH_MESSAGES)
    conditions = sum(nodes[op] for op in ("If", "StatelessIf", "While", "StatelessWhile"))
    assert conditions <= CONDITIONS.get(name, 0)


def test_sampling(case):
    name, flow = case
    z = tf.TensorSpec((5, *flow.latent_shape), tf.float32)
    sample = tf.function(lambda z: flow.inverse(z, exact=False)).get_concrete_function(z)
    nodes = operations(sample)
    assert nodes["Assert"] == ASSERTIONS.get(name, 0)
    assert nodes["PyFunc"] == 0
    assert without_gpu_kernel(nodes) == set()
