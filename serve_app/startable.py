"""Whether a version could start, looked at before any replica is touched: what no replica could load is refused here.

Serve then keeps the old version serving, and tells the reason as the application's. The files are those of this
machine: on a cluster of several nodes, a folder that is not here may well be where the replicas go.
"""

from pathlib import Path

from deployments.model.checkpoint import inspect, local_folder
from deployments.model.settings import ModelSettings
from deployments.preprocess.safety.blocklist import Blocklist
from deployments.preprocess.safety.cards import CardClassifier
from deployments.preprocess.safety.settings import SafetySettings


def check_startable(model: ModelSettings, safety: SafetySettings, nodes: int) -> None:
    """Raises ValueError (CheckpointError for the model's) with the file and what to do. Paths must be absolute."""
    folder = local_folder(model.checkpoint)
    if folder is not None and _is_known(folder, nodes):
        inspect(folder)
    if safety.blocklist is not None and _is_known(Path(safety.blocklist), nodes):
        Blocklist.load(safety.blocklist)
    if safety.cards is not None and _is_known(Path(safety.cards), nodes):
        CardClassifier.load(safety.cards)
    # The others need torch, which this process does without; what is missing can still be told.
    for other in (safety.classifier, safety.clip.folder if safety.clip else None):
        if other is not None and other.startswith("/") and nodes == 1 and not Path(other).exists():
            raise ValueError(f"the folder {other} does not exist: set args.preprocess.safety to one that does")


def _is_known(path: Path, nodes: int) -> bool:
    """Whether what is to be found under the path is to be found here."""
    return path.exists() or nodes == 1
