"""Request predictions with KServe's client, in an environment that has it, and print the probabilities."""

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

KINDS = {str: ("BYTES", "O"), int: ("INT64", "i8"), float: ("FP64", "f8")}


async def ask(url: str, model: str, rows: list[dict[str, Any]], *, binary: bool) -> list[float]:
    """Return the probabilities of rows, sent in binary or as JSON."""
    kserve, numpy = import_module("kserve"), import_module("numpy")
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    if not await client.is_model_ready(url, model):
        raise SystemExit("the model is not ready")
    inputs = []
    for name, value in rows[0].items():
        kind, dtype = KINDS[type(value)]
        values = numpy.array([row[name] for row in rows], dtype=dtype)
        inputs.append(kserve.InferInput(name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values, binary_data=binary)
    answer = await client.infer(url, kserve.InferRequest(model, inputs), model_name=model)
    found: list[float] = {one.name: one.as_numpy() for one in answer.outputs}["probability"].tolist()
    return found


if __name__ == "__main__":
    url, model, rows = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    found = [asyncio.run(ask(url, model, rows, binary=binary)) for binary in (False, True)]
    print(json.dumps(found))
