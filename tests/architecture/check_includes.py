#!/usr/bin/python3
"""Checks that includes follow the arrows between the rooms.

usage: check_includes.py ROOT ROOMS

ROOMS is what CMake wrote of its triptych_room() calls, lowest room first: a line `name|folder|room;room` a room, the
last field naming the rooms whose headers it may include. Every forbidden include is printed as `file:line: rule`. The
arrows may not form a ring, of rooms as they are declared or of files as they include each other.
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}

# Libraries that one place wraps: nobody else includes them, so that another can take their place.
ONLY_IN = [
    (re.compile(r"mpi\.h|mpi-ext\.h"), ("parallel",)),
    (re.compile(r"nccl\.h"), ("parallel/nccl",)),
    (re.compile(r"hdf5\.h|hdf5_hl\.h|H5\w+\.h(pp)?"), ("src/data",)),
    (re.compile(r"(oneapi/)?dnnl/.*|dnnl(_\w+)?\.h(pp)?|hwy/.*"), ("kernels/cpu",)),
    (re.compile(r"cublas\w*\.h|cudnn\w*\.h"), ("kernels/cuda",)),
    (re.compile(r"cuda\w*\.h"), ("kernels/cuda", "src/device/cuda", "parallel/nccl")),
    (re.compile(r"boost/asio(/.*|\.hpp)|png\.h|webp/.*"), ("src/data",)),
    (re.compile(r"sentencepiece\w*\.h|oniguruma\.h|unicode/\w+\.h"), ("src/text",)),
    (re.compile(r"jpeglib\.h"), ("src/data", "launcher/synthetic_pairs.cpp")),  # the loader's benchmark encodes its input
    (re.compile(r"toml\+\+/.*"), ("src/config",)),
    (re.compile(r"CLI/.*"), ("launcher",)),
]


def find_ring(arrows):
    """The nodes of a ring of `arrows` (node -> nodes) in order, the first one again at its end; empty if there is none."""
    done, path = set(), []
    for start in sorted(arrows):
        pending = [iter([start])]  # of each node on the path, the arrows that are still to follow
        while pending:
            node = next(pending[-1], None)
            if node is None:
                pending.pop()
                if path:
                    done.add(path.pop())
            elif node in path:
                return path[path.index(node):] + [node]
            elif node not in done:
                path.append(node)
                pending.append(iter(sorted(arrows.get(node, ()))))
    return []


class Rooms:
    def __init__(self, text):
        self.folders, self.sees, self.problems = {}, {}, []
        for line in filter(None, text.splitlines()):
            name, folder, sees = line.split("|")
            self.sees[name] = set(filter(None, sees.split(";")))
            self.folders[folder] = name
            # The lowest room is declared first, so that the list reads in the direction of the arrows.
            for unknown in sorted(self.sees[name] - self.sees.keys()):
                self.problems.append(f"CMakeLists.txt: room {name} sees {unknown}, which is not declared before it")
        ring = find_ring(self.sees)
        if ring:
            self.problems.append(f"CMakeLists.txt: the rooms form a ring: {' sees '.join(ring)}")

    def of(self, path):
        """The room of a source file (the innermost folder decides), or None."""
        for parent in path.parents:
            if parent.as_posix() in self.folders:
                return self.folders[parent.as_posix()]
        return None


def resolve(root, path, name):
    """The project's file that `name` means in `path`, relative to root, or None; the build's include paths, in order."""
    for candidate in (path.parent / name, Path(name), Path("src") / name):
        if (root / candidate).is_file():
            return Path((root / candidate).resolve().relative_to(root))
    return None


def check_file(root, rooms, path, included):
    """Yields a line for each forbidden include of `path` (relative to root); adds the project's files to `included`."""
    room = rooms.of(path)
    in_launcher = path.parts[0] == "launcher"
    if room is None and not in_launcher:
        yield f"{path}:1: belongs to no room. Declare its folder with triptych_room() in CMakeLists.txt."
        return
    for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, name = match.groups()
        for library, places in ONLY_IN:
            if library.fullmatch(name) and not any(path.is_relative_to(place) for place in places):
                yield f"{path}:{number}: only {' and '.join(places)} may include {name}"
        target = resolve(root, path, name)
        if target is None:
            if quote == '"':
                yield f'{path}:{number}: "{name}" names no file of the project. Write system headers as <{name}>.'
            continue
        included.add(target.as_posix())
        target_room = rooms.of(target)
        if in_launcher:
            if target_room is None and target.parts[0] != "launcher":
                yield f"{path}:{number}: launcher may not include {target}, which belongs to no room"
        elif target_room is None or (target_room != room and target_room not in rooms.sees[room]):
            yield (f"{path}:{number}: room {room} may not include {target} of {target_room or 'no room'}; "
                   f"it sees {', '.join(sorted(rooms.sees[room])) or 'nothing'}")


def check(root, rooms_text):
    """Returns (problems, number of files looked at)."""
    root = root.resolve()
    rooms = Rooms(rooms_text)
    problems, arrows = list(rooms.problems), {}
    for top in ("src", "kernels", "parallel", "launcher"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in SOURCE_SUFFIXES and file.is_file():
                path = file.relative_to(root)
                problems += check_file(root, rooms, path, arrows.setdefault(path.as_posix(), set()))
    ring = find_ring(arrows)
    if ring:
        problems.append(f"{ring[0]}:1: the includes form a ring: {' -> '.join(ring)}")
    return problems, len(arrows)


def main():
    root, rooms_file = Path(sys.argv[1]), Path(sys.argv[2])
    problems, num_files = check(root, rooms_file.read_text())
    for problem in problems:
        print(problem)
    if num_files == 0:
        sys.exit(f"check_includes: [sources] {root} has no source files. Pass the repository's root.")
    print(f"{num_files} files, {len(problems)} forbidden includes")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
