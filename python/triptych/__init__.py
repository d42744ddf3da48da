"""Reads what Triptych writes: `load` a checkpoint as a PyTorch module, `Shards` as a PyTorch dataset, `metrics` of a run.

Only what is used is imported: metrics and checkpoints need numpy, pictures Pillow, texts sentencepiece, models torch.
"""
import importlib

_HOMES = {"load": "loading", "Checkpoint": "checkpoint", "FormatError": "errors", "Shards": "shards", "metrics": "run_metrics",
          "evaluations": "run_metrics", "Pictures": "pictures", "Tokenizer": "tokenizer"}
__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"triptych has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"triptych.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
