#!/usr/bin/python3
"""Checks that no class, enum or function of the project is defined in two files.

usage: check_names.py ROOT

Two definitions of one name that are linked into one program are one to the linker, which keeps either without a word
where they are classes, templates or inline; so a name with external linkage is defined in one file. A function's name
is taken with the types of its parameters. The backends define the same names, as only one of them is
linked. Every name that is defined twice is printed with its places.

This reads the text without compiling it: the preprocessor's lines are passed over, and types are compared as they are
spelled.
"""

import re
import sys
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
BACKENDS = {"cpu": ("kernels/cpu", "src/device/cpu", "parallel/host"),
            "cuda": ("kernels/cuda", "src/device/cuda", "parallel/nccl"),
            "paper": ("kernels/paper", "src/device/paper", "parallel/paper")}

TOKEN = re.compile(
    r"""(?P<skip> //[^\n]* | /\*.*?\*/ | ^[ \t]*\#(?:\\\n|[^\n])* | \s+ )
      | (?P<string> (?:u8|[uUL])?R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)" | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
      | (?P<number> \.?\d(?:[eEpP][+-]|'?[\w.])* )
      | (?P<word> [A-Za-z_]\w* )
      | (?P<sign> :: | . )""", re.VERBOSE | re.DOTALL | re.MULTILINE)
WORD = re.compile(r"[A-Za-z_]\w*")
CLASS_KEYS = {"class", "struct", "union", "enum"}
# Words before a parenthesis that is not a parameter list.
NOT_FUNCTIONS = {"alignas", "decltype", "noexcept", "requires", "__launch_bounds__", "__attribute__"}


def tokens_of(text):
    """Yields (token, line); strings are empty ones."""
    line = 1
    for match in TOKEN.finditer(text):
        if match.lastgroup == "string" or match.group("string"):
            yield '""', line
        elif not match.group("skip"):
            yield match.group(), line
        line += match.group().count("\n")


def closing(tokens, begin):
    """The index behind what closes the bracket at `begin`; angle brackets count only where one is at `begin`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    angles = tokens[begin] == "<"
    depth = 0
    for i in range(begin, len(tokens)):
        if tokens[i] in pairs or (angles and tokens[i] == "<"):
            depth += 1
        elif tokens[i] in pairs.values() or (angles and tokens[i] == ">"):
            depth -= 1
            if depth == 0:
                return i + 1
    return len(tokens)


def without_prefixes(statement):
    """The statement behind its `template <...>` and attributes, and whether it is a template."""
    is_template = False
    while statement:
        if statement[0] == "template" and statement[1:2] == ["<"]:
            statement, is_template = statement[closing(statement, 1):], True
        elif statement[0] == "[":
            statement = statement[closing(statement, 0):]
        else:
            break
    return statement, is_template


def class_name(statement):
    """The name of the class or enum whose body follows the statement, or None."""
    while statement and statement[0] in {"typedef", "inline", "static", "constexpr", "const", "extern"}:
        statement = statement[1:]
    if not statement or statement[0] not in CLASS_KEYS:
        return None
    rest = statement[2 if statement[:2] in (["enum", "class"], ["enum", "struct"]) else 1:]
    while rest and rest[0] in {"[", "alignas"}:
        rest = rest[closing(rest, 0 if rest[0] == "[" else 1):]
    if not rest or not WORD.fullmatch(rest[0]) or rest[1:2] == ["<"]:  # without a name, or a specialization
        return None
    name = rest[0]
    while rest[1:2] == ["::"] and len(rest) > 2:
        name, rest = name + "::" + rest[2], rest[2:]
    if rest[1:2] and rest[1] not in {":", "final"}:  # `struct X f() {`
        return None
    return name


def parameter_type(tokens):
    """A parameter's type as it is spelled, without its name and default."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token in "(<[{") - (token in ")>]}")
        if token == "=" and depth == 0:
            tokens = tokens[:i]
            break
    named = len(tokens) > 1 and WORD.fullmatch(tokens[-1]) and tokens[-2] not in {"::", "const", "unsigned", "typename"}
    return " ".join(tokens[:-1] if named else tokens)


def function_name(statement):
    """`name(types)` of the free function whose body follows the statement, or None."""
    if "static" in statement or statement[:1] in ([","], [":"]):  # the latter: the rest of a constructor's list
        return None
    for i, token in enumerate(statement):
        if token == "=" and "operator" not in statement[:i]:  # a variable and its value
            return None
        if token != "(" or i == 0 or statement[i - 1] in NOT_FUNCTIONS:
            continue
        begin = i
        if "operator" in statement[:i + 1]:
            begin = statement.index("operator")
            if i == begin + 1:  # operator()
                return None
            name = "".join(statement[begin:i])
        else:
            begin -= 1
            name = statement[begin]
        if not WORD.match(name) or (begin > 0 and statement[begin - 1] == "::") or begin == 0:
            return None  # a member, or a macro's call
        parameters, current, depth = [], [], 0
        for part in statement[i + 1:closing(statement, i) - 1]:
            depth += (part in "(<[{") - (part in ")>]}")
            if part == "," and depth == 0:
                parameters.append(current)
                current = []
            else:
                current.append(part)
        if current:
            parameters.append(current)
        return f"{name}({', '.join(map(parameter_type, parameters))})"
    return None


def definitions(text):
    """Yields (qualified name, line) of what `text` defines with external linkage at the scope of a namespace."""
    tokens, lines = [], []
    for token, line in tokens_of(text):
        tokens.append(token)
        lines.append(line)
    scopes, statement, i = [], [], 0
    while i < len(tokens):
        token = tokens[i]
        if token == "{":
            body, is_template = without_prefixes(statement)
            if body[:1] == ["inline"] and body[1:2] == ["namespace"]:
                body = body[1:]
            if body[:1] == ["namespace"]:
                scopes.append("".join(body[1:]))  # empty: anonymous
                statement = []
            elif body == ["extern", '""']:
                scopes.append(None)
                statement = []
            else:
                if "" not in scopes:
                    name = class_name(body) or function_name(body)
                    if name:
                        if is_template and name.endswith(")"):
                            name = f"template {' '.join(statement[1:closing(statement, 1)])} {name}"
                        yield "::".join([scope for scope in scopes if scope] + [name]), lines[i]
                i = closing(tokens, i) - 1
                statement = []
        elif token == "}":
            if scopes:
                scopes.pop()
            statement = []
        elif token == ";":
            statement = []
        elif token in {"(", "["}:  # braces in here are values
            end = closing(tokens, i)
            statement += tokens[i:end]
            i = end - 1
        else:
            statement.append(token)
        i += 1


def backend_of(path):
    for backend, folders in BACKENDS.items():
        if any(path.is_relative_to(folder) for folder in folders):
            return backend
    return None


def check(root):
    """Returns (problems, number of names)."""
    places = {}
    for top in ("src", "kernels", "parallel", "launcher"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in SOURCE_SUFFIXES and file.is_file():
                path = file.relative_to(root)
                for name, line in definitions(file.read_text(encoding="utf-8")):
                    places.setdefault(name, {}).setdefault(path, line)
    problems = []
    for name, files in sorted(places.items()):
        backends = [backend_of(path) for path in files]
        if len(files) > 1 and (None in backends or len(set(backends)) < len(files)):
            problems.append(f"{name} is defined in " + " and ".join(f"{path}:{line}" for path, line in files.items()))
    return problems, len(places)


def main():
    problems, num_names = check(Path(sys.argv[1]).resolve())
    for problem in problems:
        print(problem)
    if num_names == 0:
        sys.exit(f"check_names: [sources] {sys.argv[1]} defines nothing. Pass the repository's root.")
    if problems:
        print("Name them apart, move them into one file, or put what one file alone uses into an anonymous namespace.")
    print(f"{num_names} names, {len(problems)} of them defined twice")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
