#!/usr/bin/python3
"""Checks that every room has one namespace, named after it, which sees what the room may include.

usage: check_namespaces.py ROOT ROOMS

ROOMS is what check_includes.py reads. A backend's room, such as kernels/cpu, stands in the namespace of the room around
it, since it defines what that one declares. Printed is, with its place, whatever is defined outside its room's
namespace; and where src/base/rooms.h lets a namespace see more or less than CMakeLists.txt says of its room.
"""

import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from check_includes import SOURCE_SUFFIXES, Rooms  # noqa: E402  (found beside this file)
from check_names import definitions  # noqa: E402

HEADER = "src/base/rooms.h"
NAMESPACE = re.compile(r"^namespace (\w+) \{([^{}]*)\}", re.MULTILINE)
# Made of all rooms, and no room itself.
TOPMOST = {"launcher", "test"}


def all_below(name, arrows):
    """Every room that is reached from `name`."""
    found, pending = set(), [name]
    while pending:
        for below in arrows.get(pending.pop(), ()):
            if below not in found:
                found.add(below)
                pending.append(below)
    return found


def namespace_of(path, rooms, namespaces):
    """The namespace that a source file's names stand in, or None."""
    if path.parts[0] == "launcher":
        return "launcher"
    for parent in path.parents:
        if rooms.folders.get(parent.as_posix()) in namespaces:
            return rooms.folders[parent.as_posix()]
    return None


def check(root, rooms_text):
    """Returns (problems, number of namespaces)."""
    rooms, problems = Rooms(rooms_text), []
    declared = {name: set(re.findall(r"using namespace (\w+);", body))
                for name, body in NAMESPACE.findall((root / HEADER).read_text(encoding="utf-8"))}
    folders = {name: Path(folder) for folder, name in rooms.folders.items()}
    backends = {name for name, folder in folders.items() if name not in declared and
                any(rooms.folders.get(parent.as_posix()) in declared for parent in folder.parents)}
    for name in sorted(rooms.sees.keys() - declared.keys() - backends):
        problems.append(f"{HEADER}: room {name} has no namespace")
    for name in sorted(declared.keys() - rooms.sees.keys() - TOPMOST):
        problems.append(f"{HEADER}: namespace {name} is of no room")
    for name in sorted(declared.keys() & rooms.sees.keys()):
        seen, allowed = all_below(name, declared), all_below(name, rooms.sees)
        for other in sorted(seen - allowed):
            problems.append(f"{HEADER}: namespace {name} sees {other}, which room {name} does not")
        for other in sorted(allowed - seen):
            problems.append(f"{HEADER}: namespace {name} does not see {other}, which room {name} does")
    for top in ("src", "kernels", "parallel", "launcher"):
        for file in sorted((root / top).rglob("*")):
            path = file.relative_to(root)
            if file.suffix not in SOURCE_SUFFIXES or not file.is_file():
                continue
            namespace = namespace_of(path, rooms, declared)
            for name, line in definitions(file.read_text(encoding="utf-8")):
                if not name.startswith((f"triptych::{namespace}::", "main(")):
                    problems.append(f"{path}:{line}: {name} stands outside namespace triptych::{namespace}")
    return problems, len(declared)


def main():
    problems, num_namespaces = check(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).read_text())
    for problem in problems:
        print(problem)
    if num_namespaces == 0:
        sys.exit(f"check_namespaces: [{HEADER}] declares no namespace. Pass the repository's root.")
    print(f"{num_namespaces} namespaces, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
