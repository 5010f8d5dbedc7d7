"""A LitServe service: `python -m tools.bench.peer_litserve PORT`; with `engine` it uses our engine."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.bench.peer import FOLDER, GIVEN, answer

lit: Any = import_module("litserve")
Request: Any = import_module("fastapi").Request


class Api(lit.LitAPI):  # type: ignore[misc]
    """The service; at module level, as LitServe sends it to another process."""

    engine_inside = False

    def setup(self, _: str) -> None:
        if self.engine_inside:
            artifact = import_module("fivestage.artifact.artifact").load_artifact(Path(GIVEN["artifact"]))
            self.read = import_module("fivestage.serving.decoders").rows_intake(artifact.contract).read
            features = import_module("problem").PROBLEM.features
            self.engine = import_module("fivestage.artifact.engine").Engine(artifact, features)
        else:
            self.model = import_module("joblib").load(FOLDER / "litserve.joblib")

    def decode_request(self, request: Request) -> Any:  # LitServe reads the annotation
        return self.read(json.dumps(request).encode()) if self.engine_inside else request["rows"]

    def predict(self, rows: Any) -> Any:
        if self.engine_inside:
            return [one.probability for one in self.engine.predict(rows)]
        return answer(self.model, rows)

    def encode_response(self, found: Any) -> Any:
        return {"probabilities": found}


if __name__ == "__main__":
    api = Api()
    api.engine_inside = "engine" in sys.argv
    server = lit.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
