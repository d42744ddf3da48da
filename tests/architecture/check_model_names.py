#!/usr/bin/python3
"""Checks that only the rooms that are about models and losses name one.

usage: check_model_names.py ROOT

The engine, its data, its execution and its program serve any model; what a run is made of, its task says. Every line
elsewhere that names a model family, a loss, or what only one of them has is printed as `file:line: rule`.
"""

import re
import sys
from pathlib import Path

NAMES = re.compile(r"TwoTower|two_tower|Contrastive|image_embedding|text_embedding|log_scale|temperature")
ROOMS = ("src/tasks", "src/models", "src/objectives", "src/evaluation", "src/interop")
# A fused kernel of a loss is named after it.
KERNELS = re.compile(r"kernels/(.*/)?contrastive[^/]*")


def check(root):
    """Returns (problems, number of files looked at)."""
    problems, num_files = [], 0
    for top in ("src", "kernels", "parallel", "launcher"):
        for file in sorted((root / top).rglob("*")):
            path = file.relative_to(root)
            if not file.is_file() or "__pycache__" in path.parts:
                continue
            num_files += 1
            if any(path.is_relative_to(room) for room in ROOMS) or KERNELS.fullmatch(path.as_posix()):
                continue
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                found = NAMES.search(line)
                if found:
                    problems.append(f"{path}:{number}: '{found.group()}' is a name of a model or a loss")
    return problems, num_files


def main():
    problems, num_files = check(Path(sys.argv[1]).resolve())
    for problem in problems:
        print(problem)
    if num_files == 0:
        sys.exit(f"check_model_names: [sources] {sys.argv[1]} has no source files. Pass the repository's root.")
    if problems:
        print(f"Only {', '.join(ROOMS)} may name one. Let the task say it, or find the word for what all models have.")
    print(f"{num_files} files, {len(problems)} names out of place")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
