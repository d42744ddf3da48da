"""metrics.jsonl of a run, as columns."""
import json
from pathlib import Path

import numpy as np

from .errors import FormatError


def metrics(run):
    """What a run told step by step: a pandas DataFrame with a row a step where pandas is installed, else a dict of numpy arrays.

    `run` is a run's folder or its metrics.jsonl. A number that was not known or not finite is NaN, and so is what a line lacks;
    `step` is an integer. A torn last line, which a killed run leaves, is left out.
    """
    path = Path(run)
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FormatError(path, f"must be a file that can be read: {error.strerror}. Name a run that was trained") from error
    rows = [row for number, line in enumerate(lines, 1) if (row := _row(line, number == len(lines), f"{path}:{number}"))]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}
    columns["step"] = columns.get("step", np.empty(0)).astype(np.int64)
    try:
        import pandas
    except ImportError:
        return columns
    return pandas.DataFrame(columns)


def _row(line, is_torn, where):
    """The numbers of a line; None of what follows the last newline."""
    if is_torn or not line.strip():
        return None
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            raise ValueError("no object with an integer step")
    except ValueError as error:
        raise FormatError(where, f"a line must be a step's JSON object: {error}. Take the line out") from error
    return {name: np.nan if value is None else value for name, value in row.items()
            if value is None or type(value) in (int, float)}
