"""Models that are neither trees nor additive: ONNX graphs, run by onnxruntime."""

from dataclasses import dataclass

import numpy as np

from fivestage.common.columns import Floats
from fivestage.common.errors import UserError


@dataclass(frozen=True, slots=True)
class OnnxGraphs:
    """One graph per model; each takes rows x features, and its last output holds the scores."""

    graphs: tuple[bytes, ...]  # serialised ONNX models
    features: int  # number of input features
    link: str = "margin"  # "margin" if the outputs are raw scores, or "probability"
    single: bool = False  # whether the graphs compute in single precision


class OnnxScorer:
    """Runs the graphs on one thread."""

    def __init__(self, model: OnnxGraphs) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                "This model is an ONNX graph, but onnxruntime is not installed. Install fivestage with the "
                "extra `onnx` here and in the image, or choose a tree-based or linear candidate."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._sessions = [
                onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
                for graph in model.graphs
            ]
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise UserError(f"onnxruntime cannot load this model: {error}") from error
        self._precision = np.float32 if model.single else np.float64

    def margins(self, rows: Floats) -> Floats:
        """Return the outputs for rows x features: one per row, or rows x outputs."""
        inputs = rows.astype(self._precision)
        by_graph = [
            session.run([session.get_outputs()[-1].name], {session.get_inputs()[0].name: inputs})[0]
            for session in self._sessions
        ]
        outputs = np.hstack([np.asarray(one, dtype=np.float64).reshape(len(rows), -1) for one in by_graph])
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
