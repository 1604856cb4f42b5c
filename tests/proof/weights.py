"""Weights made up in the format of the predecessor's file, of a network that tells pictures apart."""

from pathlib import Path

import numpy as np
import torch
from torchvision.models import resnet50

from ops.gallery.make import paint

_PICTURES = 24


def write_weights(path: Path) -> None:
    """A file like `gl18-tl-resnet50-gem-w-83fdc30.pth`: a whole ResNet50, GeM's exponent, whitening 2048 → 2048.

    Batch normalisation has the statistics of painted pictures: without them, all pictures get nearly the same vector.
    The exponent isn't 3 and the whitening changes all, for iv2 takes no notice of either.
    """
    torch.manual_seed(12)
    features = torch.nn.Sequential(*list(resnet50().children())[:-2])
    for module in features.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.5)
            module.momentum = None
    with torch.no_grad():
        features.train()(_pictures())
    whiten = torch.nn.Linear(2048, 2048)
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    state |= {"pool.p": torch.tensor([2.9]), "whiten.weight": whiten.weight.data, "whiten.bias": whiten.bias.data}
    meta = {"architecture": "resnet50", "pooling": "gem", "whitening": True, "outputdim": 2048}
    # As in 2019, before files were archives.
    torch.save({"meta": meta, "state_dict": state}, path, _use_new_zipfile_serialization=False)


def _pictures() -> torch.Tensor:
    pictures = (paint(index, seed=99)[1].convert("RGB").resize((224, 224)) for index in range(_PICTURES))
    painted = [np.asarray(picture) for picture in pictures]
    return torch.from_numpy(np.stack(painted).transpose(0, 3, 1, 2)).float() / 127.5 - 1
