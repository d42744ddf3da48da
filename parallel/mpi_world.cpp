#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include <sched.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program_identity.h"
#include "parallel/exit_code.h"
#include "parallel/host_watch.h"
#include "parallel/mpi_group.h"
#include "parallel/roll_call.h"
#include "parallel/time_limit.h"
#include "parallel/world.h"

namespace triptych::parallel {
namespace {

// How long a waiting rank polls if it has a core of its own: about what it costs to wake a sleeper on an idle core.
constexpr std::chrono::microseconds kSpinOnOwnCore{50};

int environment_int(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? 0 : std::atoi(value);
}

cpu_set_t own_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) CPU_ZERO(&cores);
  return cores;
}

class SoloWorld : public World {
 public:
  Group& group() override { return *group_; }
  int node_rank() const override { return 0; }
  int node_size() const override { return 1; }
  const std::string& host() const override { return host_; }
  int node_cores() const override { return std::max(1, CPU_COUNT(&cores_)); }
  const Machines& machines() const override { return machines_; }
  void doing(std::string_view) override {}
  double waited_s() const override { return 0; }
  std::string ask_all(const PeerError&) override { return "There is no other rank"; }
  [[noreturn]] void abort(int exit_code) override {
    std::fflush(nullptr);
    leave_exit_code(exit_code);
    std::_Exit(exit_code);
  }

 private:
  std::unique_ptr<Group> group_ = make_self_group("world");
  std::string host_ = machine_name();
  cpu_set_t cores_ = own_cores();
  Machines machines_{std::vector<int>{0}, {host_}};
};

// Of the ranks of `node` together; 0 if it is not known.
int cores_of_all(MPI_Comm node) {
  cpu_set_t cores = own_cores();
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &cores, sizeof cores, MPI_BYTE, MPI_BOR, node), "world", "MPI_Allreduce");
  return CPU_COUNT(&cores);
}

// The machines but `own`, each with the addresses that it alone has: "10.0.0.1 fe80::1" of each rank.
std::vector<HostWatch::Peer> watched_peers(const Machines& machines, const std::vector<std::string>& addresses,
                                           int own) {
  std::map<std::string, int> num_machines;  // that have an address
  std::vector<std::vector<std::string>> of_machine(static_cast<std::size_t>(machines.count()));
  for (int machine = 0; machine < machines.count(); ++machine) {
    std::istringstream words(addresses[static_cast<std::size_t>(machines.ranks(machine).front())]);
    for (std::string word; words >> word;) {
      ++num_machines[word];
      of_machine[static_cast<std::size_t>(machine)].push_back(word);
    }
  }
  std::vector<HostWatch::Peer> peers;
  for (int machine = 0; machine < machines.count(); ++machine) {
    if (machine == own) continue;
    std::vector<std::string>& all = of_machine[static_cast<std::size_t>(machine)];
    std::erase_if(all, [&](const std::string& address) { return num_machines[address] > 1; });
    peers.push_back({.host = machines.host(machine), .addresses = std::move(all)});
  }
  return peers;
}

// The ranks of this one's place on the machines before and behind its own: each machine is watched by two so.
std::vector<int> next_machines_ranks(const Machines& machines, int own, int node_rank) {
  const int count = machines.count();
  const auto at = [&](int machine) {
    const std::vector<int>& ranks = machines.ranks(machine % count);
    return ranks[static_cast<std::size_t>(node_rank) % ranks.size()];
  };
  std::vector<int> ranks{at(own + 1)};
  if (count > 2) ranks.push_back(at(own + count - 1));
  return ranks;
}

class MpiWorld : public World {
 public:
  explicit MpiWorld(const WorldOptions& options)
      : mpi_timeout_(options.mpi_timeout.count() > 0 ? options.mpi_timeout : options.timeout) {
    const TimeLimit limit(mpi_timeout_, "world", "have started MPI and found each other");
    int level = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level), "world", "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (level < MPI_THREAD_SERIALIZED) {
      std::fputs("[world] MPI must allow calls from any thread, one at a time. Rebuild MPI with threads.\n", stderr);
      abort_mpi(1);
    }
    int rank = 0, size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    context_ = std::make_shared<MpiContext>();
    context_->max_count = options.max_mpi_count;
    find_node(rank, size, options);

    GroupIdentity identity{.name = "world", .rank = rank, .world_ranks = {}};
    for (int r = 0; r < size; ++r) identity.world_ranks.push_back(r);
    MPI_Comm comm = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "world", "MPI_Comm_dup");
    group_ = std::make_unique<MpiGroup>(std::move(identity), comm, context_);
    roll_call_ = std::make_unique<RollCall>(RollCall::Options{
        .machines = &*machines_, .neighbour = [this, rank](int other) { return describe_neighbour(other, rank); }});
    if (machines_->count() > 1) watch_hosts(rank);
    doing("setting up");
  }

  ~MpiWorld() override {
    // Ranks that are well would wait for this one in MPI_Finalize.
    if (std::uncaught_exceptions() > num_exceptions_) abort_mpi(1);
    group_.reset();
    context_->progress->remove(&context_->requests);
    watch_.reset();
    roll_call_.reset();
    const TimeLimit limit(mpi_timeout_, "world", "have ended");
    MPI_Finalize();
  }

  Group& group() override { return *group_; }
  int node_rank() const override { return node_rank_; }
  int node_size() const override { return node_size_; }
  const std::string& host() const override { return host_; }
  int node_cores() const override { return std::max(1, node_cores_); }
  const Machines& machines() const override { return *machines_; }
  std::string interfaces() const override { return watch_ ? watch_->interfaces() : ""; }
  void doing(std::string_view what) override {
    if (seat_ != nullptr) seat_->status.set(what);
  }
  double waited_s() const override { return context_->progress->waited_s(); }
  std::string ask_all(const PeerError& error) override { return roll_call_->ask(error); }
  [[noreturn]] void abort(int exit_code) override { abort_mpi(exit_code); }

 private:
  void find_node(int rank, int size, const WorldOptions& options) {
    MPI_Comm node = MPI_COMM_NULL;
    if (options.machines.empty()) {
      check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node), "world",
                "MPI_Comm_split_type");
    } else {
      TRIPTYCH_CHECK(static_cast<int>(options.machines.size()) == size, "{} machines' numbers for {} ranks",
                     options.machines.size(), size);
      check_mpi(MPI_Comm_split(MPI_COMM_WORLD, options.machines[static_cast<std::size_t>(rank)], rank, &node), "world",
                "MPI_Comm_split");
    }
    MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
    MPI_Comm_rank(node, &node_rank_);
    MPI_Comm_size(node, &node_size_);
    // A machine is named by its first rank.
    struct Place {
      int node = 0, node_rank = 0;
      std::array<char, 64> host{};
    };
    Place mine{.node = rank, .node_rank = node_rank_};
    host_.copy(mine.host.data(), mine.host.size() - 1);
    check_mpi(MPI_Bcast(&mine.node, 1, MPI_INT, 0, node), "world", "MPI_Bcast");
    std::vector<Place> all(static_cast<std::size_t>(size));
    check_mpi(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, MPI_COMM_WORLD), "world",
              "MPI_Allgather");
    std::vector<std::string> hosts;
    for (const Place& place : all) {
      context_->nodes.push_back(place.node);
      context_->node_ranks.push_back(place.node_rank);
      hosts.emplace_back(place.host.data());
    }
    machines_.emplace(context_->nodes, hosts);
    Progress::Options waiting{.timeout = options.timeout};
    node_cores_ = cores_of_all(node);
    if (node_cores_ >= node_size_) waiting.spin = kSpinOnOwnCore;
    context_->share_memory = options.share_memory;
    if (options.share_memory && node_size_ > 1) {
      context_->seats = share_segment(node, static_cast<std::size_t>(node_size_) * sizeof(Seat));
    }
    if (context_->seats) {
      seat_ = context_->seat_of(rank, rank);
      waiting.doorbell = &seat_->doorbell;
      waiting.doorbell->process.store(getpid());
      check_mpi(MPI_Barrier(node), "world", "MPI_Barrier");
    }
    waiting.on_poll = [this] {
      if (roll_call_) roll_call_->answer([this] { return context_->progress->awaited(); });
      if (watch_) watch_->poll();
    };
    waiting.why_in_vain = [this] { return watch_ ? watch_->lost() : ""; };
    context_->progress = std::make_shared<Progress>(waiting);
    context_->progress->add(&context_->requests);
    MPI_Comm_free(&node);
  }

  // Collective.
  void watch_hosts(int rank) {
    std::string addresses;
    for (const CardAddress& card : card_addresses()) addresses += card.address + " ";
    const int machine = machines_->of_ranks()[static_cast<std::size_t>(rank)];
    HostWatch::Options options{.peers = watched_peers(*machines_, group_->all_gather_string(addresses), machine)};
    // Every rank, since one that has sent nothing hears of nothing: beyond a cut nobody ends it.
    options.nudge = [this, ranks = next_machines_ranks(*machines_, machine, node_rank_)] { roll_call_->nudge(ranks); };
    watch_.emplace(std::move(options));
  }

  // "its process 4711 is stopped by a signal, it was doing: step 12"; empty for a rank of another machine.
  std::string describe_neighbour(int other, int rank) const {
    const Seat* const seat = context_->seat_of(other, rank);
    if (seat == nullptr) return {};
    const int process = seat->doorbell.process.load();
    return fmt::format("its process {} {}, it was doing: {}", process, process_state(process), seat->status.text());
  }

  const std::chrono::milliseconds mpi_timeout_;
  const int num_exceptions_ = std::uncaught_exceptions();
  const std::string host_ = machine_name();
  int node_rank_ = 0, node_size_ = 1, node_cores_ = 1;
  std::optional<Machines> machines_;
  std::shared_ptr<MpiContext> context_;
  Seat* seat_ = nullptr;  // this rank's, if memory is shared
  std::unique_ptr<MpiGroup> group_;
  std::unique_ptr<RollCall> roll_call_;
  std::optional<HostWatch> watch_;  // of several machines; uses the roll call
};

}  // namespace

bool started_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "PMIX_NAMESPACE"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

std::unique_ptr<World> make_world(const WorldOptions& options) {
  if (started_by_mpi() && environment_int("OMPI_COMM_WORLD_SIZE") != 1) return std::make_unique<MpiWorld>(options);
  if (!started_by_mpi() && environment_int("SLURM_STEP_NUM_TASKS") > 1) {
    throw UserError("world", fmt::format("several tasks must find each other: Slurm started {} of them without PMIx. "
                                         "Start them with `srun --mpi=pmix` or with mpirun",
                                         environment_int("SLURM_STEP_NUM_TASKS")));
  }
  return std::make_unique<SoloWorld>();
}

}  // namespace triptych::parallel
