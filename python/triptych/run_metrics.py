"""What a run measured, step by step, as columns."""
import json
from pathlib import Path

import numpy as np

from .errors import FormatError

_MOST_BYTES = 1 << 30


def metrics(run):
    """metrics.jsonl, a row a step: a pandas DataFrame where pandas is installed, else a dict of numpy arrays.

    `run` is a run's folder or the file itself. A number that was not known or not finite is NaN, and so is what a line lacks;
    `step` is an integer. A torn last line, which a killed run leaves, is left out. Raises FormatError.
    """
    return _columns(_lines(run, "metrics.jsonl"))


def evaluations(run):
    """evaluations.jsonl, a row for each evaluation during training, in the same form: `step`, `seconds`, `best` (1: the best so
    far), and a column for each number by its name, such as "unseen style: loss"."""
    return _columns(row | row.pop("metrics", {}) for row in _lines(run, "evaluations.jsonl"))


def _lines(run, name):
    path = Path(run)
    path = path / name if path.is_dir() else path
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FormatError(path, f"must have at most {_MOST_BYTES} bytes. Cut it")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FormatError(path, f"must be a file that can be read: {error.strerror}. Name a run that has one") from error
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn
        if line.strip():
            yield _row(line, f"{path}:{number}")


def _row(line, where):
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("metrics", {}), dict):
            raise ValueError("no object with an integer step")
    except (ValueError, RecursionError) as error:
        raise FormatError(where, f"a line must be a step's JSON object: {error}. Take the line out") from error
    return row


def _columns(rows):
    rows = [{name: np.nan if value is None else value for name, value in row.items()
             if value is None or type(value) in (int, float, bool)} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}
    columns["step"] = np.array([row["step"] for row in rows], np.int64)
    try:
        import pandas
    except ImportError:
        return columns
    return pandas.DataFrame(columns)
