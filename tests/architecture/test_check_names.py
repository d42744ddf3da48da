#!/usr/bin/python3
"""The checker of names finds each kind of double definition in a small tree, and nothing where the names are apart."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from check_names import check  # noqa: E402  (found beside this file)


def in_namespace(text):
    return "namespace triptych {\n" + text + "\n}\n"


class CheckNames(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check(Path(folder))[0]

    def twice(self, text, other=None):
        return self.problems({"src/a/a.h": in_namespace(text), "parallel/b.cpp": in_namespace(other or text)})

    def test_each_kind_of_definition_is_found(self):
        for text in ("class X {\n};", "struct X final : Y<2> { int a; };", "enum class X : uint8_t { kA };", "union X { int a; };",
                     "template <typename T>\nstruct [[nodiscard]] X {};", "struct alignas(16) X {};", "struct Outer::X {};",
                     "int f() { return 1; }", "inline int f(const std::vector<int>& v, int n = g({1, 2})) { return n; }",
                     "template <typename T, int N = 2>\nauto f(T t) noexcept -> decltype(t) { return t; }",
                     "bool operator==(const X& a, const X& b) { return true; }",
                     "__global__ void __launch_bounds__(256) k(float* x) {}", "constexpr int64_t f(X x = {}) { return 0; }"):
            with self.subTest(text):
                self.assertEqual(len(self.twice(text)), 1)

    def test_the_message_names_both_places(self):
        self.assertEqual(self.twice("int b;\nclass X {\n};", "class X {};"),
                         ["triptych::X is defined in src/a/a.h:3 and parallel/b.cpp:2"])

    def test_what_has_no_external_definition_passes(self):
        for text in ("class X;", "enum class X : int;", "int f(int n = 3, X x = {});", "static int f() { return 1; }",
                     "namespace {\nstruct X {};\nint f() { return 1; }\n}", "// class X {};\n/* int f() { } */",
                     '#define F \\\n  int f() { return 1; }', 'const char* const kText = "class X { }; int f() {";',
                     'const char* const kText = R"(class X { }; "int f() {)";', "int X::f() { return 1; }",
                     "X::X() : a_{1}, b_(2) {}", "constexpr auto kF = [](int n) { return n; };", "const X kX{1, 2};",
                     "template <>\nstruct X<int> {};", "using X = std::vector<int>;"):
            with self.subTest(text):
                self.assertEqual(self.twice(text), [])

    def test_overloads_and_other_namespaces_are_other_names(self):
        self.assertEqual(self.twice("int f(int n) { return n; }", "int f(double n) { return 1; }"), [])
        self.assertEqual(self.twice("namespace a { struct X {}; }", "namespace b { struct X {}; }"), [])
        self.assertEqual(self.twice("struct X {};", "}\nnamespace triptych::inner {\nstruct X {};"), [])
        self.assertEqual(len(self.twice("}\nnamespace triptych::inner {\nstruct X {};", "namespace inner { struct X {}; }")), 1)

    def test_names_and_defaults_of_parameters_do_not_tell_functions_apart(self):
        self.assertEqual(len(self.twice("int f(std::span<const int> a, int b = 2) { return 1; }",
                                        "int f(std::span<const int>, int c) { return 2; }")), 1)

    def test_one_file_may_say_a_name_twice(self):
        self.assertEqual(self.problems({"src/a/a.h": in_namespace("#if A\nint f() { return 1; }\n#else\nint f() { return 2; }\n#endif")}),
                         [])

    def test_backends_define_the_same_names(self):
        f = in_namespace("int f() { return 1; }")
        self.assertEqual(self.problems({"kernels/cpu/a.cpp": f, "kernels/cuda/a.cu": f}), [])
        self.assertEqual(self.problems({"src/device/cpu/a.cpp": f, "parallel/nccl/a.cpp": f}), [])
        self.assertEqual(self.problems({"kernels/cpu/a.cpp": f, "kernels/cuda/a.cu": f, "kernels/paper/a.cpp": f}), [])
        self.assertEqual(len(self.problems({"kernels/cpu/a.cpp": f, "src/device/cpu/a.cpp": f})), 1)
        self.assertEqual(len(self.problems({"kernels/cpu/a.cpp": f, "kernels/cuda/a.cu": f, "kernels/cuda/b.cu": f})), 1)
        self.assertEqual(len(self.problems({"kernels/cpu/a.cpp": f, "kernels/a.h": f})), 1)
        self.assertEqual(len(self.problems({"kernels/cpu/a.cpp": f, "kernels/cuda/a.cu": f, "src/a/a.h": f})), 1)


if __name__ == "__main__":
    unittest.main()
