#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "config/config_support.h"

namespace triptych::test {
namespace {

struct Pet {
  std::string name;
  int64_t legs = 4;
};

// Binds an array of tables, as a component would.
std::vector<Pet> read_pets(ConfigReader& reader) {
  std::vector<Pet> pets(reader.num_tables("house.pets"));
  for (std::size_t i = 0; i < pets.size(); ++i) {
    reader.read(fmt::format("house.pets.{}.name", i), pets[i].name, "Its name.").required();
    reader.read(fmt::format("house.pets.{}.legs", i), pets[i].legs, "How many.").at_least(0);
  }
  return pets;
}

TEST(ConfigReaderTest, AnArrayOfTablesIsBoundTableByTable) {
  ConfigReader reader = ConfigReader::from_text(
      "[[house.pets]]\nname = \"Rex\"\n[[house.pets]]\nname = \"Polly\"\nlegs = 2\n", "run.toml");
  const std::vector<Pet> pets = read_pets(reader);
  reader.finish();
  ASSERT_EQ(pets.size(), 2u);
  EXPECT_EQ(pets[0].name, "Rex");
  EXPECT_EQ(pets[0].legs, 4);
  EXPECT_EQ(pets[1].name, "Polly");
  EXPECT_EQ(pets[1].legs, 2);

  ConfigReader again = ConfigReader::from_text(reader.effective_toml(), "effective");
  const std::vector<Pet> same = read_pets(again);
  again.finish();
  ASSERT_EQ(same.size(), 2u);
  EXPECT_EQ(same[1].name, "Polly");
  EXPECT_EQ(again.effective_toml(), reader.effective_toml());
  EXPECT_NE(reader.effective_toml().find("[[house.pets]]"), std::string::npos) << reader.effective_toml();
  EXPECT_NE(reader.documentation().find("## `[[house.pets]]`\n"), std::string::npos) << reader.documentation();

  ConfigReader with_override = ConfigReader::from_text("[[house.pets]]\nname = \"Rex\"\n", "run.toml",
                                                       std::vector<std::string>{"house.pets.0.legs=3"});
  EXPECT_EQ(read_pets(with_override).at(0).legs, 3);
  with_override.finish();
  for (const char* none : {"", "house.pets = []"}) {
    ConfigReader empty = ConfigReader::from_text(none, "run.toml");
    EXPECT_EQ(read_pets(empty).size(), 0u);
    empty.finish();
  }
  ConfigReader cleared = ConfigReader::from_text("[[house.pets]]\nname = \"Rex\"\n", "run.toml",
                                                 std::vector<std::string>{"house.pets=[]"});
  EXPECT_EQ(read_pets(cleared).size(), 0u);
  cleared.finish();
}

TEST(ConfigReaderTest, WhatIsWrongInATableOfAnArrayIsToldWithItsPlace) {
  const auto error_of = [](const std::string& text) -> std::string {
    try {
      ConfigReader reader = ConfigReader::from_text(text, "run.toml");
      read_pets(reader);
      reader.finish();
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  };
  const auto expect_parts = [&](const std::string& text, std::initializer_list<const char*> parts) {
    const std::string error = error_of(text);
    for (const char* part : parts) EXPECT_NE(error.find(part), std::string::npos) << part << " is not in\n" << error;
  };
  expect_parts("[[house.pets]]\nname = \"Rex\"\n[[house.pets]]\nleg = 2\nname = \"Polly\"",
               {"run.toml:4", "house.pets.1.leg", "Did you mean `house.pets.1.legs`?"});
  expect_parts("[[house.pets]]\nlegs = -1\nname = \"Rex\"", {"run.toml:2", "house.pets.0.legs", "at least 0"});
  expect_parts("[[house.pets]]\n", {"house.pets.0.name", "must be given"});
  expect_parts("house.pets = 3", {"run.toml:1", "array of tables", "[[house.pets]]"});
  expect_parts("[house.pets]\nname = \"Rex\"", {"run.toml:2", "a key must be known"});
}

TEST(ConfigReaderTest, AnArrayOfTablesTakesThePlaceOfTheOneThatIsIncluded) {
  char pattern[] = "/tmp/triptych_config_XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(pattern);
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(folder / name) << text; };
  write("base.toml", "[[house.pets]]\nname = \"Rex\"\nlegs = 3\n[[house.pets]]\nname = \"Polly\"\n");
  const auto read = [&](const std::string& text) {
    write("run.toml", "include = \"base.toml\"\n" + text);
    ConfigReader reader = ConfigReader::from_file(folder / "run.toml");
    const std::vector<Pet> pets = read_pets(reader);
    reader.finish();
    return pets;
  };
  EXPECT_EQ(read("").size(), 2u);
  EXPECT_EQ(read("house.pets = []").size(), 0u);
  const std::vector<Pet> one = read("[[house.pets]]\nname = \"Tom\"\n");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].legs, 4) << "nothing is left of the included one";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace triptych::test
