#include "training/run_start.h"

#include <algorithm>
#include <system_error>

#include "base/console.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "parallel/agreement.h"
#include "training/held_out.h"
#include "training/resume_rules.h"
#include "training/run_checkpoint.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

// Whether a checkpoint lies in the run's own folder, by whatever path it was named.
bool lies_in(const fs::path& folder, const fs::path& checkpoint) {
  fs::path path = fs::absolute(checkpoint).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // it was named with a '/' at its end
  std::error_code error;
  return fs::equivalent(path.parent_path(), folder, error);
}

// The checkpoint's tokenizer is what the run goes on with; what lies beside the data may be another by now.
std::string note_of_tokenizer(const RunConfig& config, const RunInputs& inputs) {
  RunInputs fresh;
  fresh.dataset = inputs.dataset;
  try {
    open_tokenizer(config, fresh);
  } catch (const Error&) {
    return "";  // none is needed
  }
  if (!inputs.tokenizer || !fresh.tokenizer || fresh.tokenizer->hash() == inputs.tokenizer->hash()) return "";
  return "the tokenizer of the data or config is not the one that the run began with; the checkpoint's is used";
}

// Of an index so large that people would wonder what the run waits for.
void tell_index_checks(uint64_t done_bytes, uint64_t all_bytes) {
  constexpr uint64_t kLong = uint64_t{2} << 30, kStep = uint64_t{1} << 30;
  constexpr uint64_t kWindow = uint64_t{32} << 20;  // of MappedIndex
  if (all_bytes < kLong || (done_bytes % kStep >= kWindow && done_bytes != all_bytes)) return;
  print("checking the index: {} of {}\n", human_bytes(static_cast<double>(done_bytes)),
        human_bytes(static_cast<double>(all_bytes)));
}

// Rows of a token table belong to the pieces of the tokenizer that they were trained with.
std::string note_of_initial_tokenizer(RunInputs& inputs) {
  if (!inputs.initial || !inputs.tokenizer) return "";
  const std::vector<ManifestFile>& files = inputs.initial->manifest().files;
  const bool has_one =
      std::any_of(files.begin(), files.end(), [](const ManifestFile& file) { return file.name == kTokenizerFile; });
  if (!has_one) return "";
  const std::string bytes = inputs.initial->read_file(std::string(kTokenizerFile));
  const std::string where = (inputs.initial->folder() / kTokenizerFile).string();
  if (Tokenizer::from_bytes(bytes, where)->hash() == inputs.tokenizer->hash()) return "";
  return fmt::format(
      "warning: the run's tokenizer is not the one of init.from: rows of a token table that is taken stand for other "
      "pieces. Set data.tokenizer = \"{}\", or leave the table out by [[init.map]]",
      where);
}

}  // namespace

RunStart::RunStart(const RunConfig& config, World& world, const TrainingRequest& request)
    : config_(config), end_(config.training.stop_after > 0 ? config.training.stop_after : config.training.steps) {
  Group& group = world.group();
  const bool is_first = group.rank() == 0;
  open_data_together(config_, world, inputs_, tell_index_checks);
  std::vector<SharedFact> facts_of_sets;
  together(group, [&] {
    if (config_.evaluation.every > 0) facts_of_sets = check_evaluation_sets(config_);
    if (request.resume.empty()) open_tokenizer(config_, inputs_);
  });
  together(group, [&] {
    if (is_first) folder_.emplace(config_.run.dir);
  });
  if (is_first) notes_ = folder_->notes();
  inputs_.checkpoint = find_checkpoint(config_, request.resume, group, notes_);
  if (!inputs_.checkpoint) inputs_.initial = find_initial(config_, group);
  const bool goes_on_here = inputs_.checkpoint && lies_in(checkpoints_of(config_), inputs_.checkpoint->folder());
  together(group, [&] {
    if (request.overwrite && goes_on_here) {
      throw UserError("--overwrite", "replaces the run in run.dir, and --resume goes on with it. Give one of the two");
    }
    use_ = goes_on_here ? FolderUse::kGoOn : request.overwrite ? FolderUse::kOverwrite : FolderUse::kNew;
    if (is_first) folder_->require_usable(use_);
    if (!request.resume.empty()) open_tokenizer(config_, inputs_);
    if (inputs_.checkpoint) judge_checkpoint(request);
    if (std::string note = note_of_initial_tokenizer(inputs_); !note.empty()) notes_.push_back(std::move(note));
  });
  std::vector<SharedFact> facts = facts_of(inputs_);
  facts.insert(facts.end(), facts_of_sets.begin(), facts_of_sets.end());
  require_equal_facts(
      group, inputs_.dataset->path().string(), world.host(), facts,
      "Put the same data, tokenizer and checkpoints before every node: an older copy may be left on one");
}

void RunStart::judge_checkpoint(const TrainingRequest& request) {
  const CheckpointReader& reader = *inputs_.checkpoint;
  const std::string where = reader.folder().string();
  const RunState& state = reader.manifest().run;
  step_ = state.step;
  if (end_ < step_) {
    throw UserError(
        where, fmt::format("is at step {}, beyond the {} where the run is to stop ({}). Raise that, or go "
                           "on from an earlier step",
                           step_, end_, config_.training.stop_after > 0 ? "training.stop_after" : "training.steps"));
  }
  changes_ = judge_changes(where, state.config, config_, request.allow_change, !is_complete());
  require_same_data(reader, inputs_, notes_);
  if (changes_.empty()) {
    notes_.push_back(fmt::format("going on from {}", where));
  } else {
    notes_.push_back(fmt::format("going on from {}; its config was another:", where));
    for (std::string& line : describe_changes(changes_)) notes_.push_back(std::move(line));
  }
  if (std::string note = note_of_tokenizer(config_, inputs_); !note.empty()) notes_.push_back(std::move(note));
}

void RunStart::name_last_save() {
  if (use_ == FolderUse::kGoOn) name_killed_save(checkpoints_of(config_), notes_);
}

void RunStart::begin() {
  std::optional<RunFolder::EarlierConfig> then;
  std::string parent;
  if (inputs_.checkpoint) {
    const RunState& state = inputs_.checkpoint->manifest().run;
    then = RunFolder::EarlierConfig{.config = state.config, .step = state.step, .is_changed = !changes_.empty()};
    if (use_ != FolderUse::kGoOn) parent = fs::absolute(inputs_.checkpoint->folder()).string();
  }
  for (std::string& note : folder_->begin(use_, config_.effective_toml, parent, then)) {
    notes_.push_back(std::move(note));
  }
}

}  // namespace triptych::training
