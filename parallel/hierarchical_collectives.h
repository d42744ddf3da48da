#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parallel/slot_ring.h"

namespace triptych::parallel {

/// On which machines the ranks of a group lie: in any order, and as many on each as there are.
struct GroupMachines {
  /// By machine, in the order of their first ranks: its ranks in the group, ascending.
  std::vector<std::vector<int>> ranks;
  int own = 0;                           ///< the machine of this rank
  int num_carriers = 0;                  ///< of each machine: as many as the smallest has ranks
  std::vector<int> machine_of, seat_of;  ///< by rank in the group

  /// `numbers` by rank in the group: one that ranks of a machine have in common.
  static GroupMachines of(std::span<const int> numbers, int rank);
  int count() const { return static_cast<int>(ranks.size()); }
  int size(int machine) const { return static_cast<int>(ranks[static_cast<std::size_t>(machine)].size()); }
};

/// The collectives of a group on several machines: through memory within a machine, by messages between them.
///
/// The first ranks of each machine, as many as the smallest has, are its carriers. What a machine has to send is split
/// among them, and carrier i sends its part to the carriers i of the other machines: so all of them drive the network,
/// and of M machines each sends
///
///   all_reduce      2 (M-1)/M of a rank's buffer, and as much comes. Each carrier sums its part of a piece over the
///                   machine's slots; of that each machine gets and sums its share, and sends the sum to all. Small
///                   ones go whole, in one round instead of two
///   reduce_scatter  (M-1)/M of a rank's larger buffer: to each machine its rows, summed over this machine's ranks
///   all_gather      (M-1)/M of a rank's larger buffer: this machine's rows to each
///   broadcast       the root's machine 2 (M-1)/M of the buffer, of two machines once
///
/// whatever number of ranks it has. Pieces follow each other, so memory is read and written while others travel. Sums
/// are taken over the ranks of a machine in their order, then over the machines in theirs: the same bits on every rank
/// and in every run on these machines.
///
/// At an operation's start the carriers that have a part of it greet each other: the call goes before the data of the
/// first message, or alone before more than kGreetedBytes. The first carriers always do, so of machines that disagree
/// these at least get InternalError with what both called, and the others soon are ended by them.
class HierarchicalCollectives : public SlotRing {
 public:
  struct Options {
    int num_slots = 32;
    int64_t slot_bytes = 128 << 10;
    /// All-reduces and broadcasts of no more bytes take one round.
    int64_t direct_bytes = 8 << 10;
  };
  /// Pieces that make messages of 32 KiB, and 4 MiB of them on their way. MPI sends more than 64 KiB over TCP only once
  /// the other side has asked for it, behind whatever else is on the way; 4 MiB are 32 ms at 1 Gbit/s.
  static Options options_for(const GroupMachines& machines);
  /// Starts a send or a recv whose peer is a rank of the group. Messages of one sender and tag arrive in their order. A
  /// recv fails if it gets less than it asks for, unless it may be shorter.
  using StartMessage = std::function<std::shared_ptr<Flight>(const Operation& message, bool may_be_shorter)>;
  /// Of a greeting: the call, and data behind it.
  static constexpr std::size_t kCallBytes = sizeof(Operation), kGreetedBytes = 8 << 10;

  /// False for all_to_all: each of its rows is for one rank, so machines have nothing to sum or to share.
  static bool takes(const Operation& operation);
  /// Of the segment of this machine's ranks; it must be zero when the first of them starts something.
  static std::size_t segment_bytes(const GroupMachines& machines, const Options& options);

  /// `keep` owns the memory at `base`. `bells` are the doorbells of the group's ranks on this machine.
  HierarchicalCollectives(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                          std::shared_ptr<void> keep, std::byte* base, const std::vector<Doorbell*>& bells,
                          GroupMachines machines, StartMessage start_message, const Options& options);

 protected:
  int64_t piece_elements(const Operation& operation) const override;
  bool combines(const Operation&) const override { return true; }
  void fill(const Piece& piece) override;
  bool combine(const Piece& piece) override;
  void drain(const Piece& piece) override;
  std::string missing_elsewhere(int64_t step) const override;

 private:
  struct Greeting {
    Operation call;  // its pointers mean nothing to the others
    std::array<std::byte, kGreetedBytes> data;
  };
  // With another machine. In each direction the first message that fits goes with the greeting.
  struct Greetings {
    Greeting sent, received;
    std::size_t sent_bytes = 0, received_bytes = 0;  // of data
    std::byte* to = nullptr;                         // where those received go
    std::shared_ptr<Flight> expected;                // null once it has come
  };
  // What a carrier has on the network for one slot.
  struct Exchange {
    int round = 0;  // 0: none
    std::vector<std::shared_ptr<Flight>> open;
    std::vector<std::byte> received;   // summands, by machine
    std::vector<Greetings> greetings;  // by machine
  };
  Exchange& exchange(int64_t step) { return exchanges_[static_cast<std::size_t>(step % sizes().num_slots)]; }

  bool is_direct(const Operation& operation) const;
  // In the round that begins an operation: alike on the carriers of one seat, if they agree on the call.
  bool greets(const Piece& piece) const;
  // True if this message is the first that fits.
  bool goes_with_greeting(Operation::Kind kind, const Piece& piece, int machine, std::byte* data, int64_t length);
  void start_greetings(const Piece& piece);
  bool greetings_have_come(const Piece& piece);
  int carrier_of(int machine) const;  // that this one exchanges with
  void message(Operation::Kind kind, const Piece& piece, int machine, std::byte* data, int64_t length);
  template <typename Visit>
  void for_others(const Visit& visit) const {
    // Each begins with the machine behind its own, so that they do not all send to one.
    for (int i = 1; i < machines_.count(); ++i) visit((machines_.own + i) % machines_.count());
  }

  void start_round(const Piece& piece);
  bool round_has_ended(const Piece& piece);
  bool finish_round(const Piece& piece);  // true if another one follows
  void start_all_reduce(const Piece& piece);
  void start_reduce_scatter(const Piece& piece);
  void start_all_gather(const Piece& piece);
  void start_broadcast(const Piece& piece);
  void sum_slots(const Piece& piece, int64_t begin, int64_t length);
  void sum_machines(const Piece& piece, Part part);

  Part carried(int64_t length) const { return part_of(length, machines_.num_carriers, seat()); }
  Part share(Part of, int machine) const;
  Part exchanged(const Piece& piece) const;
  std::byte* own_element(const Piece& piece, int64_t element) const;
  int64_t gathered_begin(int64_t length, int machine, int carrier) const;

  GroupMachines machines_;
  std::vector<int> first_row_;  // by machine: how many ranks lie on those before it
  StartMessage start_message_;
  int64_t direct_bytes_;
  std::vector<Exchange> exchanges_;  // by slot
};

}  // namespace triptych::parallel
