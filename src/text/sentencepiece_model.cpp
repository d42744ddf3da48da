#include "text/sentencepiece_model.h"

#include <exception>
#include <vector>

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "text/own_model.h"
#include "text/sentencepiece_check.h"

namespace triptych::text {
namespace {

constexpr std::string_view kSpace = "\u2581";  // how pieces write a space

class SentencePieceModel : public TokenModel {
 public:
  SentencePieceModel(const std::string& bytes, std::string_view where, bool is_own) : where_(where), is_own_(is_own) {
    std::string failure;
    try {
      const auto status = processor_.LoadFromSerializedProto(bytes);
      if (!status.ok()) failure = status.ToString();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (!failure.empty()) {
      throw WorldError(where,
                       fmt::format("a tokenizer must be a SentencePiece model that SentencePiece takes; of these "
                                   "{} bytes it says: {:.500}. Get the file again.",
                                   bytes.size(), failure));
    }
    find_special();
  }

  std::string kind() const override { return is_own_ ? "SentencePiece, trained by triptych" : "SentencePiece"; }
  int64_t size() const override { return processor_.GetPieceSize(); }
  const SpecialTokens& special() const override { return special_; }
  const std::vector<int32_t>& before() const override { return before_; }
  const std::vector<int32_t>& after() const override { return after_; }

  void append_pieces(std::string_view text, std::vector<int32_t>& ids) const override {
    std::vector<int> pieces;
    check(processor_.Encode({text.data(), text.size()}, &pieces));
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  }

  bool shows(int32_t id) const override { return !processor_.IsControl(id) && id != processor_.pad_id(); }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    check(processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &text));
    return text;
  }

  std::string normalized(std::string_view text) const override {
    std::vector<std::string> pieces;
    check(processor_.Encode({text.data(), text.size()}, &pieces));
    std::string result;
    for (const std::string& piece : pieces) {
      for (std::size_t i = 0; i < piece.size();) {
        const bool is_space = std::string_view(piece).substr(i).starts_with(kSpace);
        result += is_space ? ' ' : piece[i];
        i += is_space ? kSpace.size() : 1;
      }
    }
    return result.starts_with(' ') ? result.substr(1) : result;  // one is put before every text
  }

  std::string piece(int32_t id) const override { return processor_.IdToPiece(id); }

  ShownPiece shown(int32_t id) const override {
    ShownPiece result{.text = piece(id)};
    if (processor_.IsByte(id)) {  // "<0xE3>"
      result.text = std::string(1, static_cast<char>(std::stoi(result.text.substr(3, 2), nullptr, 16)));
      return result;
    }
    result.begins_word = result.text.starts_with(kSpace);
    if (result.begins_word) {
      result.text.erase(0, kSpace.size());
    } else if (result.text.ends_with(kSpace)) {
      result.ends_word = true;
      result.text.resize(result.text.size() - kSpace.size());
    }
    return result;
  }

  const sentencepiece::SentencePieceProcessor& processor() const { return processor_; }

 private:
  void find_special() {
    const auto id_or_none = [](int id) { return id >= 0 ? std::optional<int32_t>(id) : std::nullopt; };
    special_.unknown = id_or_none(processor_.unk_id());
    special_.begin = id_or_none(processor_.bos_id());
    special_.end = id_or_none(processor_.eos_id());
    special_.pad = processor_.pad_id() >= 0 ? processor_.pad_id() : special_.end.value_or(0);
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!processor_.IsControl(id) && !processor_.IsUnknown(id)) continue;
      special_.all.push_back(id);
      const std::string& name = processor_.IdToPiece(id);
      if (name == "[MASK]" || name == "<mask>") special_.mask = id;
    }
    if (special_.begin) before_ = {*special_.begin};
    if (special_.end) after_ = {*special_.end};
  }

  void check(const sentencepiece::util::Status& status) const {
    if (status.ok()) return;
    throw WorldError(where_, fmt::format("the tokenizer failed: {}. Get or train it again.", status.ToString()));
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::string where_;
  bool is_own_;
  SpecialTokens special_;
  std::vector<int32_t> before_, after_;
};

}  // namespace

std::unique_ptr<const TokenModel> read_sentencepiece_model(const std::string& bytes, std::string_view where) {
  const Seal seal = find_seal(bytes);
  if (seal == Seal::kBroken) {
    throw WorldError(where, fmt::format("a tokenizer of `triptych tokenizer train` ends with a checksum; in these {} "
                                        "bytes it does not match. Train it again.",
                                        bytes.size()));
  }
  if (seal == Seal::kNone) {
    check_sentencepiece(bytes, where);
    return std::make_unique<SentencePieceModel>(bytes, where, false);
  }
  auto model = std::make_unique<SentencePieceModel>(bytes, where, true);
  const auto& processor = model->processor();
  if (processor.pad_id() != kOwnPadId || processor.unk_id() != kOwnUnknownId || processor.bos_id() != kOwnBeginId ||
      processor.eos_id() != kOwnEndId) {
    throw UserError(
        where, fmt::format("the ids of padding, unknown, begin and end must be {}, {}, {}, {}; found {}, {}, {}, "
                           "{}. Train the tokenizer with `triptych tokenizer train`.",
                           kOwnPadId, kOwnUnknownId, kOwnBeginId, kOwnEndId, processor.pad_id(), processor.unk_id(),
                           processor.bos_id(), processor.eos_id()));
  }
  return model;
}

}  // namespace triptych::text
