#include "data/captions.h"

#include "data/dataset.h"

namespace triptych::data {

CaptionSource dataset_captions(std::shared_ptr<const Dataset> dataset) {
  struct State {
    uint64_t next_sample = 0;
    std::size_t next_caption = 0;
    SampleBuffer buffer;
  };
  return [dataset = std::move(dataset), state = std::make_shared<State>()](std::string& caption) {
    while (state->next_caption >= state->buffer.num_captions()) {
      if (state->next_sample >= dataset->size()) return false;
      dataset->read(state->next_sample++, state->buffer, SampleParts::kCaptions);
      state->next_caption = 0;
    }
    caption = state->buffer.caption(state->next_caption++);
    return true;
  };
}

}  // namespace triptych::data
