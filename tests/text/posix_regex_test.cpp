#include <gtest/gtest.h>
#include <regex.h>

namespace triptych::test {
namespace {

// Oniguruma, which tokenizers search with, defines POSIX's functions too, for structures of its own. Whoever else in
// the process calls them (Open MPI, GoogleTest's death tests) must get those of the C library.
TEST(PosixRegex, IsTheCLibrarysInAProgramThatHasTokenizers) {
  struct {
    regex_t compiled;
    char behind[64];
  } place{};
  ASSERT_EQ(regcomp(&place.compiled, "^a(b|c)$", REG_EXTENDED | REG_NOSUB), 0);
  EXPECT_EQ(regexec(&place.compiled, "ac", 0, nullptr, 0), 0);
  EXPECT_EQ(regexec(&place.compiled, "ad", 0, nullptr, 0), REG_NOMATCH);
  regfree(&place.compiled);
  for (const char byte : place.behind) EXPECT_EQ(byte, 0);
  ASSERT_EQ(regcomp(&place.compiled, "", REG_EXTENDED), 0);
  EXPECT_EQ(regexec(&place.compiled, "anything", 0, nullptr, 0), 0);
  regfree(&place.compiled);
}

}  // namespace
}  // namespace triptych::test
