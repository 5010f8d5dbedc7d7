from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage_distributed.launch import Node, WorkerRank, command, torchrun_arguments, torchrun_environment

ZENML = {
    "ZENML_KUBERNETES_POD_COUNT": "4",
    "ZENML_KUBERNETES_MAIN_ADDRESS": "main.ns.svc",
    "ZENML_KUBERNETES_MAIN_PORT": "29500",
    "JOB_COMPLETION_INDEX": "2",
}


def test_a_process_without_an_environment_is_alone() -> None:
    assert WorkerRank.read({}) == WorkerRank(0, 1, 0, 0)
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert WorkerRank.read(told) == WorkerRank(3, 4, 1, 2)


def test_a_pod_is_a_node_as_zenml_or_our_own_job_tells_it() -> None:
    assert Node.read({}) == Node()
    assert Node.read(ZENML) == Node(2, 4, "main.ns.svc", 29_500)
    own = {"NODE_COUNT": "2", "MAIN_ADDRESS": "train-0.train", "JOB_COMPLETION_INDEX": "1"}
    assert Node.read(own) == Node(1, 2, "train-0.train", 29_400)
    with pytest.raises(UserError, match="Indexed Job"):
        Node.read({name: value for name, value in ZENML.items() if name != "JOB_COMPLETION_INDEX"})


def test_only_the_first_node_holds_the_rendezvous() -> None:
    alone = ["--standalone", "--local-addr=localhost", "--nproc-per-node=2", "--max-restarts=3"]
    assert torchrun_arguments(Node(), 2, 3) == alone
    first, second = (" ".join(torchrun_arguments(Node(index, 2, "main"), 1, 3)) for index in (0, 1))
    assert "is_host=true" in first
    assert "is_host=false" in second
    assert "--rdzv-endpoint=main:29400" in second


def test_workers_have_a_store_of_their_own_unless_a_person_wants_otherwise() -> None:
    name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    assert torchrun_environment({})[name] == "1"
    assert torchrun_environment({name: "0"})[name] == "0"


def test_the_same_settings_start_one_process_or_several_or_a_node_of_several(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"

    def words(dp: int, node: Node) -> str:
        path.write_text(
            f"model: {{vocabulary: 9, context: 8}}\ntraining: {{steps: 1, parallel: {{dp: {dp}}}}}\n"
        )
        return " ".join(command(path, ["data", "output"], node))

    assert "torch.distributed.run" not in words(1, Node())
    assert "--nproc-per-node=4" in words(4, Node())
    assert "--nnodes=2 --nproc-per-node=2" in words(4, Node(1, 2, "main"))
    with pytest.raises(UserError, match="evenly among 2 nodes"):
        words(1, Node(0, 2))
