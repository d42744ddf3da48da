"""A checkpoint as a PyTorch module."""
import re

import numpy as np
import torch

from .checkpoint import Checkpoint
from .errors import FormatError, UnsupportedError
from .models import model_of

_ADAPTER_A, _ADAPTER_B = ".adapter.a", ".adapter.b"
_MOST_LAYERS = 1024  # as the program takes them


def load(path, weights=None, device="cpu", verify=True):
    """The model of a checkpoint, of any of the program's tasks, in evaluation mode and float32, with the program's outputs.

    >>> model = triptych.load("runs/quickstart")
    >>> image = model.encode_image(model.pixels(["apple.png"]))
    >>> text = model.encode_text(**model.texts(["a red apple", "a dog"]))
    >>> (image @ text.T * model.scale()).softmax(-1)

    path      a checkpoint's folder, or a run's, of which `latest` is taken; saved on any mesh
    weights   "last", or "ema", the moving average; None: what evaluation.weights of its config says, as `triptych eval`
    verify    compare the files' hashes

    Its parameters have the checkpoint's names (docs/models.md). Adapters are merged into their matrices. Raises FormatError.
    """
    checkpoint = Checkpoint(path, verify=verify)
    config, where = checkpoint.config, checkpoint.folder
    if weights is None:
        weights = config.get("evaluation", {}).get("weights", "last")
    if weights not in ("last", "ema"):
        raise FormatError("weights", f'must be "last" or "ema", found {weights!r}')
    if weights == "ema" and not checkpoint.has_average():
        raise FormatError(where, 'has no moving average of its weights. Load with weights="last"')
    try:
        _require_few_layers(config, where)
        with torch.device("meta"):  # without memory, until the shapes are known to be the checkpoint's
            _require_same_shapes(model_of(config), checkpoint)
        model = model_of(config)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise FormatError(where, f"its config must describe a model: {error!r}. Another version wrote it") from error
    model.load_state_dict({name: torch.from_numpy(value) for name, value in parameters(checkpoint, weights).items()})
    _add_inputs(model, checkpoint)
    return model.to(device).eval().requires_grad_(False)


def parameters(checkpoint, weights="last"):
    """Every parameter by its name, float32, adapters merged: W + alpha / rank B A."""
    names = checkpoint.names()
    values = {name: checkpoint.parameter(name, weights) for name in names if ".adapter." not in name}
    for name in names:
        if not name.endswith(_ADAPTER_A):
            continue
        matrix = name.removesuffix(_ADAPTER_A)
        a, b = checkpoint.parameter(name, weights), checkpoint.parameter(matrix + _ADAPTER_B, weights)
        alpha, rank = _adapter_of(checkpoint, matrix)
        if matrix not in values or a.shape != (rank, values[matrix].shape[-1]) or b.shape != (*values[matrix].shape[:-1], rank):
            raise FormatError(checkpoint.folder, f"the adapter of {matrix} must fit it, found {a.shape} and {b.shape}. It "
                                                 "is damaged")
        values[matrix] = (values[matrix] + np.float32(alpha / rank) * (b @ a)).astype(np.float32)
    return values


def _adapter_of(checkpoint, matrix):
    """alpha and rank of the first adapter whose pattern matches a matrix; `*` stands for anything."""
    for adapter in checkpoint.config.get("adapters", []):
        for pattern in adapter.get("match", []):
            if re.fullmatch(".*".join(re.escape(piece) for piece in pattern.split("*")), matrix):
                return adapter["alpha"], adapter["rank"]
    raise FormatError(checkpoint.folder, f"its config must have an adapter that matches {matrix}. It is damaged")


def _require_few_layers(config, where):
    def counts(table):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from counts(value)
            elif key in ("layers", "multimodal_layers"):
                yield value

    if not all(isinstance(count, int) and 0 < count <= _MOST_LAYERS for count in counts(config.get("model", {}))):
        raise FormatError(where, f"a stack must have 1 to {_MOST_LAYERS} layers by its config. Another version wrote it")


def _require_same_shapes(model, checkpoint):
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: checkpoint.shape(name) for name in checkpoint.names() if ".adapter." not in name}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        lines = [f"{name}: {wanted.get(name)} by its config, {found.get(name)} in its files" for name in differing[:5]]
        raise FormatError(checkpoint.folder, f"must hold the tensors of its config's model; {len(differing)} differ, "
                                             f"{'; '.join(lines)}. This package is older than the checkpoint, or that is damaged")


def _add_inputs(model, checkpoint):
    """What makes the model's inputs; where a package for it is missing, or this one does not read the tokenizer, what says so when
    it is used."""
    if hasattr(model, "image"):
        data = checkpoint.config.get("data", {})
        options = {key: data[key] for key in ("fit", "filter") if key in data}
        model.pictures = _made(lambda: _pictures(checkpoint.config["model"]["image"]["size"], options))
    path = checkpoint.file("tokenizer.model")
    if path is not None and hasattr(model, "text"):
        model.tokenizer = _made(lambda: _tokenizer(path))


def _made(make):
    try:
        return make()
    except ImportError as error:
        failure = ImportError(f"{error}. Install it: pip install {_package_of(error)}")
    except UnsupportedError as error:
        failure = error

    def missing(*_):
        raise failure

    return missing


def _package_of(error):
    return next((package for package in ("sentencepiece", "tokenizers") if package in str(error)), "Pillow")


def _pictures(size, options):
    from .pictures import Pictures
    return Pictures(size, **options)


def _tokenizer(path):
    from .tokenizer import Tokenizer
    return Tokenizer(path)
