"""A SavedModel answers the requests of TensorFlow Serving, loaded as its server does.

The server runs graphs: it feeds the tensors that a signature names, and fetches others. Here
requests are made by the classes of Serving, and by the JSON of its REST interface.
"""

import json
import re
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, serving
from tests.flows import images

predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")


class Server:
    """What TensorFlow Serving does with a SavedModel, in this process."""

    def __init__(self, directory):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self.session, ["serve"], str(directory))
        self.signatures = meta.signature_def

    def predict(self, request):
        """Answers a PredictRequest; inputs must be those of the signature, by name and dtype."""
        signature = self.signatures[request.model_spec.signature_name or "serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        assert set(request.inputs) == set(signature.inputs)
        feed = {}
        for name, value in request.inputs.items():
            assert value.dtype == signature.inputs[name].dtype, name
            feed[signature.inputs[name].name] = tf.make_ndarray(value)
        names = {key: output.name for key, output in signature.outputs.items()}
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for key, value in self.session.run(names, feed).items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return predict_pb2.PredictResponse.FromString(response.SerializeToString())

    def rest(self, text):
        """Answers the JSON of `:predict`, in columns: lists get the dtypes of the signature."""
        given = json.loads(text)
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = given["signature_name"]
        signature = self.signatures[given["signature_name"]]
        for name, value in given["inputs"].items():
            dtype = tf.as_dtype(signature.inputs[name].dtype)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
        found = {k: tf.make_ndarray(v) for k, v in self.predict(request).outputs.items()}
        # One output comes without its name.
        (result,) = found.values() if len(found) == 1 else [found]
        return json.loads(json.dumps({"outputs": result.tolist()}))["outputs"]


def request(signature, **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "flow", signature
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return predict_pb2.PredictRequest.FromString(made.SerializeToString())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A flow of integers, and a server of its SavedModel."""
    bijections = [layers.Dequantize(), layers.Scale(), layers.Flatten()]
    bijections.append(layers.SelfNormalizingDense())
    flow = snf_tf.Flow(bijections, event_shape=(2, 2, 1))
    directory = tmp_path_factory.mktemp("served") / "model" / "1"
    serving.export(flow, directory)
    return flow, Server(directory)


X = images(3, (2, 2, 1))
Z = np.random.RandomState(0).randn(3, 4).astype("float32")
ROWS = {"x": X, "seed": np.int64(2), "first_row": np.int64(0)}
DRAW = {"n": np.int64(3), "seed": np.int64(5), "temperature": np.float32(0.5)}


@pytest.mark.parametrize(
    ("signature", "inputs", "expected"),
    [
        ("", ROWS, lambda flow: flow.log_prob(X, seed=2)),
        ("log_prob", ROWS, lambda flow: flow.log_prob(X, seed=2)),
        ("encode", ROWS, lambda flow: flow.encode(X, seed=2)),
        ("sample", DRAW, lambda flow: flow.sample(3, temperature=0.5, seed=5)),
        ("sample_exact", DRAW, lambda flow: flow.sample(3, exact=True, temperature=0.5, seed=5)),
        ("decode", {"z": Z}, lambda flow: flow.decode(Z)),
        ("decode_approximate", {"z": Z}, lambda flow: flow.decode(Z, exact=False)),
    ],
)
def test_signatures(signature, inputs, expected, served):
    flow, server = served
    (found,) = server.predict(request(signature, **inputs)).outputs.values()
    np.testing.assert_allclose(tf.make_ndarray(found), expected(flow), rtol=1e-5, atol=1e-5)
    if signature:
        lists = {name: np.asarray(value).tolist() for name, value in inputs.items()}
        text = json.dumps({"signature_name": signature, "inputs": lists})
        np.testing.assert_allclose(server.rest(text), expected(flow), rtol=1e-5, atol=1e-5)


def test_the_page_asks_a_server(tmp_path):
    """The code of docs/export.md, over gRPC on this machine."""
    grpc = pytest.importorskip("grpc")
    from tensorflow_serving.apis import prediction_service_pb2_grpc as service

    bijections = [layers.Dequantize(), layers.Scale(), layers.Flatten()]
    flow = snf_tf.Flow(bijections, event_shape=(28, 28, 1))
    serving.export(flow, tmp_path / "1")

    class Servicer(Server, service.PredictionServiceServicer):
        def Predict(self, request, context):
            return self.predict(request)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(Servicer(tmp_path / "1"), server)
    address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    names = {"np": np}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1], names)
    samples = names["ask"](names["request"], address)
    np.testing.assert_allclose(samples, flow.sample(2, seed=0), rtol=1e-5)
    x = np.zeros((2, 28, 28, 1), "uint8")
    found = names["ask"](names["likelihoods"], address)
    np.testing.assert_allclose(found, flow.log_prob(x, seed=0), rtol=1e-5)
    server.stop(None)


def test_refusals_reach_the_client(served):
    _, server = served
    for wrong in ({"n": np.int64(0)}, {"temperature": np.float32(-1)}):
        (name,) = wrong
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be"):
            server.predict(request("sample", **DRAW | wrong))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"x must be of shape \(batch, 2, 2"):
        server.predict(request("encode", **ROWS | {"x": X[:, :1]}))
