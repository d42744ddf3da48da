#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/range_lock.h"
#include "data/class_names.h"
#include "data/remote_url.h"
#include "data/shard_cache.h"
#include "loader_support.h"
#include "remote_server.h"

// Data sets behind an address, from a server of the test's own on 127.0.0.1.

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

class Remote : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    served_ = new ScratchFolder;
    make_data_set(*served_ / "set", 34, mixed_sample);
    make_data_set(*served_ / "other", 21, [](uint64_t i) {
      return SmallSample{sound_image(i + 3), {"other " + std::to_string(i)}};
    });
    write_text(*served_ / "set" / kClassNamesFile, "cat\ndog\n");
    server_ = new RemoteServer(served_->path());
  }
  static void TearDownTestSuite() {
    delete server_;
    delete served_;
  }

  CacheOptions cache(uint64_t max_bytes = uint64_t{1} << 40) const {
    return {.dir = folder_ / "cache",
            .max_bytes = max_bytes,
            .patience = {.attempts = 3, .first_pause = std::chrono::milliseconds(1), .connect_s = 5, .stall_s = 1}};
  }
  DataFolder open(const std::string& kind, const std::string& name = "set", int attempts = 3) const {
    CacheOptions options = cache();
    options.patience.attempts = attempts;
    return DataFolder::open(server_->url(kind, name), {.cache = &options});
  }
  static std::shared_ptr<const Dataset> dataset(DataFolder folder) {
    std::vector<DataFolder> one;
    one.push_back(std::move(folder));
    return std::make_shared<const Dataset>(std::move(one));
  }
  /// All samples have the bytes of the folder that is served.
  static void expect_whole(const DataFolder& remote, const std::string& name = "set") {
    const Dataset local = Dataset::open(*served_ / name);
    ASSERT_EQ(remote.size(), local.size());
    EXPECT_EQ(remote.facts(), local.facts());
    SampleBuffer theirs, ours;
    for (uint64_t i = 0; i < local.size(); ++i) {
      remote.read(i, theirs);
      local.read(i, ours);
      EXPECT_EQ(theirs.image, ours.image) << i;
      EXPECT_EQ(theirs.caption_bytes, ours.caption_bytes) << i;
    }
  }
  fs::path cache_of(const DataFolder& remote) const { return remote.local_folder(); }
  static int num_shards_in(const fs::path& folder) {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(folder)) count += entry.path().extension() == ".shard";
    return count;
  }

  static ScratchFolder* served_;
  static RemoteServer* server_;
  ScratchFolder folder_;
};
ScratchFolder* Remote::served_ = nullptr;
RemoteServer* Remote::server_ = nullptr;

TEST_F(Remote, IsTheDataSetThatIsServed) {
  const DataFolder remote = open("plain");
  EXPECT_TRUE(remote.is_remote());
  EXPECT_EQ(num_shards_in(cache_of(remote)), 0) << "a shard is fetched when it is read";
  expect_whole(remote);
  EXPECT_EQ(num_shards_in(cache_of(remote)), 4);
  EXPECT_EQ(read_class_names(remote.local_folder()), (std::vector<std::string>{"cat", "dog"}));
}

TEST_F(Remote, FaultsThatPassAreWaitedFor) {
  for (const char* kind : {"busy", "cut", "norange"}) {
    SCOPED_TRACE(kind);
    expect_whole(open(kind));
  }
  EXPECT_GT(server_->num_requests("206 /cut/set/shard_00000.h5 bytes=9000-"), 0) << "it goes on where it broke";
  EXPECT_EQ(server_->num_requests("500 /busy/set/shard_00000.h5"), 1);
  EXPECT_EQ(server_->num_requests("503 /busy/set/shard_00000.h5"), 1);
}

TEST_F(Remote, WhatStaysWrongIsToldWithItsAddress) {
  SampleBuffer buffer;
  const auto refused = [&](const std::string& kind, const std::string& part, int attempts = 3) {
    const DataFolder remote = open(kind, "set", attempts);
    const std::string text = error_text(ErrorKind::kWorld, [&] { remote.read(0, buffer); });
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_NE(text.find(server_->url(kind, "set") + "/shard_00000.h5"), std::string::npos) << text;
    EXPECT_EQ(num_shards_in(cache_of(remote)), 0);
  };
  refused("missing", "HTTP status 404 (1 attempt)");
  refused("wrong", "is not the file that was indexed");
  refused("longer", "as the index says, found more");
  refused("stalled", "(1 attempt)", 1);
  const CacheOptions options = cache();
  const auto open_at = [&](const std::string& url) { DataFolder::open(url, {.cache = &options}); };
  expect_error(ErrorKind::kUser, "is no indexed data set", [&] { open_at(server_->url("plain", "nowhere")); });
  expect_error(ErrorKind::kWorld, "/plain/set/index.json] cannot be fetched",
               [&] { open_at("http://127.0.0.1:1/plain/set"); });
}

TEST_F(Remote, AnInterruptedDownloadGoesOnAndADamagedOneBeginsAnew) {
  const DataFolder remote = open("plain");
  SampleBuffer buffer;
  remote.read(0, buffer);
  fs::path shard;
  for (const auto& entry : fs::directory_iterator(cache_of(remote))) {
    if (entry.path().extension() == ".shard") shard = entry.path();
  }
  const std::string whole = file_text(shard);
  const fs::path part = shard.parent_path() / fmt::format("{}.{}.part", shard.stem().string(), whole.size());
  for (const bool is_damaged : {false, true}) {
    fs::remove(shard);
    std::string begin = whole.substr(0, whole.size() / 2);
    if (is_damaged) begin[begin.size() / 2] ^= 1;
    write_text(part, begin);
    const std::string range = fmt::format("206 /plain/set/shard_00000.h5 bytes={}-", begin.size());
    const int before = server_->num_requests(range);
    const DataFolder again = open("plain");
    again.read(0, buffer);
    EXPECT_EQ(server_->num_requests(range), before + 1);
    EXPECT_EQ(file_text(shard), whole);
    EXPECT_FALSE(fs::exists(part));
  }
}

TEST_F(Remote, ACachedShardThatIsDamagedIsFetchedAgain) {
  SampleBuffer buffer;
  const DataFolder remote = open("plain");
  expect_whole(remote);
  for (const auto& entry : fs::directory_iterator(cache_of(remote))) {
    if (entry.path().extension() != ".shard") continue;
    for (uint64_t at = fs::file_size(entry.path()) / 4; at < fs::file_size(entry.path()); at += 97) {
      poke(entry.path(), at, '\x55');
    }
  }
  poke(cache_of(remote) / kIndexArraysName, 100, '\x55');
  expect_whole(open("plain"));
}

TEST_F(Remote, ReadersOfOneCacheFetchEachShardOnce) {
  std::vector<std::jthread> readers;
  const int before = server_->num_requests("200 /plain/other/shard_00001.h5");
  const DataFolder first = open("plain", "other");
  for (int k = 0; k < 4; ++k) {
    readers.emplace_back([&] {
      const CacheOptions options = cache();
      const DataFolder mine =
          DataFolder::open(server_->url("plain", "other"), {.checked = &first.checked(), .cache = &options});
      SampleBuffer buffer;
      for (uint64_t i = 0; i < mine.size(); ++i) mine.read(i, buffer);
    });
  }
  readers.clear();
  EXPECT_EQ(server_->num_requests("200 /plain/other/shard_00001.h5"), before + 1);
}

TEST_F(Remote, ABoundedCacheGivesWayAndTakesNothingOfOthers) {
  const DataFolder probe = open("plain");
  const uint64_t largest = probe.bytes_of_largest(1);
  const CacheOptions small = cache(2 * largest);
  // What looks like the cache's, and what does not.
  const fs::path foreign = folder_ / "cache/triptych-0123456789abcdef0123456789abcdef";
  const std::string name = "000000_0123456789abcdef0123456789abcdef.shard";
  fs::create_directories(foreign);
  write_text(foreign / name, std::string(3 * largest, 'x'));
  write_text(folder_ / "cache/notes.txt", "mine");
  write_text(cache_of(probe) / "notes.shard", "mine");
  const DataFolder remote = DataFolder::open(server_->url("plain", "set"), {.cache = &small});
  const DataFolder other = DataFolder::open(server_->url("plain", "other"), {.cache = &small});
  for (int round = 0; round < 2; ++round) {
    expect_whole(remote);
    expect_whole(other, "other");
    uint64_t bytes = 0;
    for (const DataFolder* folder : {&remote, &other}) {
      for (const auto& entry : fs::directory_iterator(cache_of(*folder))) {
        const fs::path extension = entry.path().extension();
        if (entry.path().filename() == "notes.shard") continue;
        if (extension == ".shard" || extension == ".part") bytes += entry.file_size();
      }
    }
    EXPECT_LE(bytes, 2 * largest);
    EXPECT_GT(bytes, 0u);
  }
  EXPECT_TRUE(fs::exists(foreign / name));
  EXPECT_TRUE(fs::exists(folder_ / "cache/notes.txt"));
  EXPECT_TRUE(fs::exists(cache_of(remote) / "notes.shard"));
  SampleBuffer buffer;
  const CacheOptions none = cache(10);
  const DataFolder hopeless = DataFolder::open(server_->url("plain", "set"), {.cache = &none});
  fs::remove_all(cache_of(hopeless) / name);
  for (const auto& entry : fs::directory_iterator(cache_of(hopeless))) {
    if (entry.path().extension() == ".shard") fs::remove(entry.path());
  }
  expect_error(ErrorKind::kWorld, "data.cache.max_gb", [&] { hopeless.read(0, buffer); });
}

TEST_F(Remote, AFolderThatIsNoCacheIsRefused) {
  const DataFolder remote = open("plain");
  fs::remove(cache_of(remote) / "origin.json");
  expect_error(ErrorKind::kUser, "is no cache of", [&] { open("plain"); });
}

TEST_F(Remote, ATrainingSeesWhatTheFolderHolds) {
  const auto local = std::make_shared<const Dataset>(Dataset::open(*served_ / "set"));
  for (const uint64_t window : {0, 1}) {
    LoaderOptions options = training_options();
    options.global_batch = 8;
    options.shuffle_shards = window;
    const std::vector<Batch> expected = take(local, options, 9);
    fs::remove_all(folder_ / "cache");
    const std::vector<Batch> found = take(dataset(open("plain")), options, 9);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(found[i].sample_ids, expected[i].sample_ids);
      EXPECT_TRUE(found[i].arrays == expected[i].arrays) << i;
    }
  }
}

TEST_F(Remote, WhatIsExpectedIsFetchedAhead) {
  const DataFolder remote = open("plain");
  remote.expect({2, 0});
  for (int tries = 0; tries < 1000 && num_shards_in(cache_of(remote)) < 2; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(num_shards_in(cache_of(remote)), 2);
  // An end in the midst of it does not wait for it.
  const auto start = std::chrono::steady_clock::now();
  {
    const DataFolder stalled = open("stalled");
    stalled.expect({0, 1, 2});
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

class S3 : public Remote {
 protected:
  void SetUp() override {
    set("AWS_ENDPOINT_URL", fmt::format("http://127.0.0.1:{}/", server_->port()));
    set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    set("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    set("AWS_SESSION_TOKEN", "a-token");
    set("AWS_REGION", "eu-test-1");
  }
  void TearDown() override {
    for (const std::string& name : names_) ::unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    names_.push_back(name);
  }
  std::vector<std::string> names_;
};

TEST_F(S3, RequestsAreSigned) {
  const CacheOptions options = cache();
  expect_whole(DataFolder::open("s3://signed/set", {.cache = &options}));
  ::setenv("AWS_SECRET_ACCESS_KEY", "another", 1);
  fs::remove_all(folder_ / "cache");
  expect_error(ErrorKind::kUser, "may not be read", [&] { DataFolder::open("s3://signed/set", {.cache = &options}); });
  ::unsetenv("AWS_SECRET_ACCESS_KEY");
  expect_error(ErrorKind::kUser, "must both be set", [&] { RemoteFolderUrl("s3://signed/set"); });
}

TEST(RemoteUrl, IsTakenAsItIsOrRefused) {
  EXPECT_TRUE(is_url("https://a"));
  EXPECT_FALSE(is_url("data/a"));
  EXPECT_FALSE(is_url("://a"));
  EXPECT_FALSE(is_url("data/http://a"));
  EXPECT_EQ(RemoteFolderUrl("https://host:81/a/b//").request("sha rd#1.h5").url, "https://host:81/a/b/sha%20rd%231.h5");
  EXPECT_EQ(RemoteFolderUrl("s3://bucket/a/b").request("x").url, "https://bucket.s3.us-east-1.amazonaws.com/a/b/x");
  EXPECT_EQ(RemoteFolderUrl("s3://bucket").request("x").name, "s3://bucket/x");
  for (const std::string& text :
       {std::string("ftp://host/a"), std::string("file:///etc"), std::string("https://"), std::string("https:///a"),
        std::string("https://user:word@host/a"), std::string("https://host/a?x=1"), std::string("https://host/a#b"),
        std::string("https://host/../a"), std::string("https://host/a//b"), std::string("https://host/a b"),
        std::string("https://host/a\nHost: b"), std::string("https://host/\x01"), std::string("s3://buc+ket/a"),
        "https://host/" + std::string(3000, 'a')}) {
    EXPECT_THROW(RemoteFolderUrl{text}, UserError) << text;
  }
}

TEST(RangeLock, IsHeldByOneAtATime) {
  const ScratchFolder folder;
  RangeLock first = RangeLock::attempt(folder / "lock", 3);
  EXPECT_TRUE(first.is_held());
  EXPECT_FALSE(RangeLock::attempt(folder / "lock", 3).is_held());
  EXPECT_TRUE(RangeLock::attempt(folder / "lock", 4).is_held());
  first = RangeLock();
  EXPECT_TRUE(RangeLock::attempt(folder / "lock", 3).is_held());
}

}  // namespace
}  // namespace triptych::test
