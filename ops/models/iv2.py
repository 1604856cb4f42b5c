"""The predecessor's network, as its package `iv2` makes it of the user's weights, into ONNX and a spec.

What iv2 0.0.1 computes is not all that its weights hold: a ResNet50 cut before its last convolution, GeM pooling with
the exponent 3 whatever the file says, and scaling to length 1. It loads the file's whitening and never applies it. So
does this, or the vectors would not be the predecessor's.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from iv2 import ResNet47_50Net

from imaging.errors import ModelError
from imaging.model_spec import InputSpec, ModelSpec, Normalisation, OnnxFile, PixelSpec, write_spec

UNMEASURED_THRESHOLD = 90
"""The copy threshold that the spec begins with; docs/models.md says how to measure it."""

_IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_PIXELS = PixelSpec(width=224, height=224, resize="crop", resize_size=256, reducing_gap=8)
"""With that gap, pictures of up to 4,095 pixels a side are resampled in one step, as iv2 does."""

_COUNTER = "num_batches_tracked"
"""Of batch normalisation: files from before PyTorch 0.4.1 have none, and inference needs none."""


def export_iv2(weights: Path, folder: Path) -> Path:
    """Write `iv2.onnx` and `iv2.yaml` into the folder, which is made if it isn't there; the path of the spec.

    Raises `ModelError` where the file holds no weights of this network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = folder / "iv2.onnx"
    torch.onnx.export(
        _loaded(weights),
        (torch.zeros(2, 3, _PIXELS.height, _PIXELS.width),),
        network,
        input_names=["pixels"],
        output_names=["embedding"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    return write_spec(_spec(weights, network))


def _spec(weights: Path, network: Path) -> ModelSpec:
    return ModelSpec(
        id="iv2",
        onnx=OnnxFile(path=network),
        pixels=_PIXELS,
        input=InputSpec(name="pixels", layout="NCHW", dtype="float32", normalisation=_IMAGENET),
        output="embedding",
        dimension=ResNet47_50Net.output_dim,
        copy_threshold=UNMEASURED_THRESHOLD,
        source=f"iv2 0.0.1 (ResNet50, GeM) with the weights {weights.name}",
        licence="iv2 MIT; the weights are their authors'",
    )


def _loaded(weights: Path) -> torch.nn.Module:
    """iv2's network with these weights, from normalised pictures [n, 3, 224, 224] to unit vectors [n, 512].

    iv2 itself takes any file and leaves at random what is not in it.
    """
    network = ResNet47_50Net()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
        missing = network.load_state_dict(state, strict=False).missing_keys
    except (OSError, pickle.UnpicklingError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{weights} is no file of weights that iv2 can use: {error}") from error
    if lacking := [name for name in missing if not name.endswith(_COUNTER)]:
        raise ModelError(f"{weights} lacks {len(lacking)} of the network's weights, {lacking[0]} for one.")
    return torch.nn.Sequential(network.features, network.pool, torch.nn.Flatten(), network.norm).eval()
