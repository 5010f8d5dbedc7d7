"""Models that are neither trees nor additive, as ONNX graphs that onnxruntime runs."""

from dataclasses import dataclass

import numpy as np

from fivestage.common.columns import Floats
from fivestage.common.errors import UserError


@dataclass(frozen=True, slots=True)
class OnnxGraphs:
    """One graph a model, each from rows x features to its scores, which are its last output."""

    graphs: tuple[bytes, ...]  # the models as ONNX
    features: int  # how many each takes
    link: str = "margin"  # whether the outputs are raw scores, or probabilities
    single: bool = False  # whether they compute in single precision


class OnnxScorer:
    """Runs the graphs, on one thread."""

    def __init__(self, model: OnnxGraphs) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                "This model is an ONNX graph, and onnxruntime is not installed: install the extra `onnx` of "
                "fivestage here and in the image, or choose a candidate that is trees or linear."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._sessions = [
                onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
                for graph in model.graphs
            ]
        except Exception as error:  # onnxruntime's own are no subclasses of one
            raise UserError(f"onnxruntime does not run this model: {error}") from error
        self._kind = np.float32 if model.single else np.float64

    def margins(self, rows: Floats) -> Floats:
        """The outputs of rows x features: one a row, or rows x outputs."""
        given = rows.astype(self._kind)
        found = [
            session.run([session.get_outputs()[-1].name], {session.get_inputs()[0].name: given})[0]
            for session in self._sessions
        ]
        outputs = np.hstack([np.asarray(one, dtype=np.float64).reshape(len(rows), -1) for one in found])
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
