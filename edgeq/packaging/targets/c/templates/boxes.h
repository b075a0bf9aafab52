{% set what = "Boxes from the output tensors, and the best of those that overlap." %}
{% include "_head.txt" %}
//
// As edgeq eval computes them: {{ boxes.text }}.
#ifndef {{ guard }}_BOXES_H_
#define {{ guard }}_BOXES_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "{{ stem }}_package.h"

namespace edgeq {
namespace {{ namespace }} {

// Boxes of a sample before any is dropped, classes of each, and boxes that are kept.
constexpr std::size_t kBoxCount = {{ boxes.count }};
constexpr std::size_t kClassCount = {{ boxes.classes }};
constexpr std::size_t kMostBoxes = {{ boxes.most }};

// A found object. The sides are shares of the width and the height of the model's input.
struct Box {
  int index;          // number of its class
  const char* label;  // name of its class, "" if it has none
  float x1, y1, x2, y2;
  float score;
};

// The name of a class, "" if it has none.
inline const char* BoxLabel(int index) {
{% if boxes.labels %}
  static const char* const kLabels[] = {
{% for label in boxes.labels %}
      {{ label }},
{% endfor %}
  };
  if (index >= 0 && index < {{ boxes.labels | length }}) return kLabels[index];
{% else %}
  (void)index;
{% endif %}
  return "";
}

// The output tensors.
struct BoxTensors {
{% for item in outputs %}
  const {{ item.struct }}::Value* {{ item.field }};
{% endfor %}
};

// Memory for the work: {{ "{:,}".format(boxes.count * boxes.classes * 12) }} bytes. Make it static.
struct BoxScratch {
  double scores[kBoxCount * kClassCount];
  std::uint32_t order[kBoxCount * kClassCount];
};

namespace internal {
{% for source in boxes.sources %}

// Value i of output {{ source.shown }}, in real units.
inline double {{ source.function }}(const BoxTensors& tensors, std::size_t i) {
{% if source.blocks %}
{% for block in source.blocks %}
  if (i < {{ block.size }}) {
    const std::size_t turn = i / {{ block.turn }}, rest = i % {{ block.turn }};
{% for part in block.parts %}
{% if not loop.last %}
    if (rest < {{ part.end }})
      return static_cast<double>({{ part.struct }}::Dequantize(tensors.{{ part.field }}[turn * {{ part.run }} + rest - {{ part.start }}]));
{% else %}
    return static_cast<double>({{ part.struct }}::Dequantize(tensors.{{ part.field }}[turn * {{ part.run }} + rest - {{ part.start }}]));
{% endif %}
{% endfor %}
  }
  i -= {{ block.size }};
{% endfor %}
  return 0;
{% else %}
  return static_cast<double>({{ source.struct }}::Dequantize(tensors.{{ source.field }}[i]));
{% endif %}
}
{% endfor %}

inline double BoxValue(const BoxTensors& tensors, std::size_t box, std::size_t column) {
  return {{ boxes.boxes.function }}(tensors, {{ boxes.boxes.offset }} + box * {{ boxes.boxes.row }} + column * {{ boxes.boxes.column }});
}

inline double ScoreValue(const BoxTensors& tensors, std::size_t box, std::size_t column) {
  return {{ boxes.scores.function }}(tensors, {{ boxes.scores.offset }} + box * {{ boxes.scores.row }} + column * {{ boxes.scores.column }});
}

// Left, top, right and bottom as shares.
inline void Corners(const BoxTensors& tensors, std::size_t box, double* corners) {
  double values[4];
  for (std::size_t i = 0; i < 4; ++i) values[i] = BoxValue(tensors, box, i);
{% if boxes.form == "xyxy" %}
  for (std::size_t i = 0; i < 4; ++i) corners[i] = values[i];
{% elif boxes.form == "yxyx" %}
  for (std::size_t i = 0; i < 4; ++i) corners[i] = values[i ^ 1];
{% else %}
  for (std::size_t i = 0; i < 2; ++i) {
    corners[i] = values[i]{{ " - values[i + 2] / 2" if boxes.form == "cxcywh" }};
    corners[i + 2] = corners[i] + values[i + 2];
  }
{% endif %}
{% if boxes.is_pixels %}
  for (std::size_t i = 0; i < 4; i += 2) corners[i] /= {{ boxes.width }};
  for (std::size_t i = 1; i < 4; i += 2) corners[i] /= {{ boxes.height }};
{% endif %}
}

inline double Positive(double value) { return value > 0 ? value : 0; }

// Intersection over union.
inline double Overlap(const double* one, const double* other) {
  double shared = 1, own = 1, others = 1;
  for (std::size_t i = 0; i < 2; ++i) {
    const double low = one[i] > other[i] ? one[i] : other[i];
    const double high = one[i + 2] < other[i + 2] ? one[i + 2] : other[i + 2];
    shared *= Positive(high - low);
    own *= Positive(one[i + 2] - one[i]);
    others *= Positive(other[i + 2] - other[i]);
  }
  const double united = own + others - shared;
  return united > 0 ? shared / united : 0;
}
{% if boxes.kind == "sigmoid" or (boxes.objectness and boxes.kind != "probability") %}

inline double Sigmoid(double value) { return 0.5 * (1 + std::tanh(value / 2)); }
{% endif %}

// The probabilities of a box.
inline void Scores(const BoxTensors& tensors, std::size_t box, double* scores) {
{% if boxes.objectness %}
  const double object = {{ "ScoreValue(tensors, box, 0)" if boxes.kind == "probability" else "Sigmoid(ScoreValue(tensors, box, 0))" }};
{% endif %}
{% if boxes.kind == "softmax" %}
  double largest = ScoreValue(tensors, box, {{ boxes.behind }}), sum = 0;
  for (std::size_t i = {{ boxes.behind }}; i < {{ boxes.columns }}; ++i) {
    const double value = ScoreValue(tensors, box, i);
    if (value > largest) largest = value;
  }
  for (std::size_t i = {{ boxes.behind }}; i < {{ boxes.columns }}; ++i) {
    sum += std::exp(ScoreValue(tensors, box, i) - largest);
  }
{% endif %}
  for (std::size_t i = 0; i < kClassCount; ++i) {
    const double value = ScoreValue(tensors, box, i + {{ boxes.skipped }});
{% if boxes.kind == "softmax" %}
    const double probability = std::exp(value - largest) / sum;
{% elif boxes.kind == "sigmoid" %}
    const double probability = Sigmoid(value);
{% else %}
    const double probability = value;
{% endif %}
    scores[i] = {{ "object * probability" if boxes.objectness else "probability" }};
  }
}

}  // namespace internal

// The boxes of a sample, the best first; returns how many there are in `found`, which has room for
// kMostBoxes.
inline std::size_t FindBoxes(const BoxTensors& tensors, BoxScratch* scratch, Box* found) {
  std::size_t count = 0, kept = 0;
  for (std::size_t box = 0; box < kBoxCount; ++box) {
    internal::Scores(tensors, box, scratch->scores + box * kClassCount);
  }
  for (std::size_t i = 0; i < kBoxCount * kClassCount; ++i) {
    if (scratch->scores[i] >= {{ boxes.least }}) scratch->order[count++] = static_cast<std::uint32_t>(i);
  }
  const double* scores = scratch->scores;
  std::sort(scratch->order, scratch->order + count, [scores](std::uint32_t one, std::uint32_t other) {
    return scores[one] > scores[other] || (scores[one] == scores[other] && one < other);
  });
  for (std::size_t i = 0; i < count && kept < kMostBoxes; ++i) {
    const std::uint32_t place = scratch->order[i];
    double corners[4];
    internal::Corners(tensors, place / kClassCount, corners);
{% if boxes.kind != "listed" %}
    bool is_best = true;
    for (std::size_t k = 0; k < kept && is_best; ++k) {
      const std::uint32_t other = scratch->order[k];
      if (other % kClassCount != place % kClassCount) continue;
      double theirs[4];
      internal::Corners(tensors, other / kClassCount, theirs);
      is_best = internal::Overlap(theirs, corners) <= {{ boxes.iou }};
    }
    if (!is_best) continue;
{% endif %}
    scratch->order[kept] = place;  // those before i are done
    Box& made = found[kept++];
{% if boxes.kind == "listed" %}
    made.index = static_cast<int>(std::rint(internal::ScoreValue(tensors, place, 1)));
{% else %}
    made.index = static_cast<int>(place % kClassCount);
{% endif %}
    made.label = BoxLabel(made.index);
    made.x1 = static_cast<float>(corners[0]);
    made.y1 = static_cast<float>(corners[1]);
    made.x2 = static_cast<float>(corners[2]);
    made.y2 = static_cast<float>(corners[3]);
    made.score = static_cast<float>(scores[place]);
  }
  return kept;
}
{% if letterbox %}

namespace internal {

// From a share of the input to one of the region, clipped to it.
inline float InRegion(float share, std::int32_t whole, std::int32_t start, std::int32_t size) {
  const double found = (static_cast<double>(share) * whole - start) / size;
  return static_cast<float>(found < 0 ? 0 : found > 1 ? 1 : found);
}

}  // namespace internal

// A box with sides as shares of the width and the height of a picture, clipped to it.
inline Box InPicture(Box box, std::int32_t height, std::int32_t width) {
  const Region region = PictureRegion(height, width);
  box.x1 = internal::InRegion(box.x1, {{ letterbox.width }}, region.left, region.width);
  box.y1 = internal::InRegion(box.y1, {{ letterbox.height }}, region.top, region.height);
  box.x2 = internal::InRegion(box.x2, {{ letterbox.width }}, region.left, region.width);
  box.y2 = internal::InRegion(box.y2, {{ letterbox.height }}, region.top, region.height);
  return box;
}
{% endif %}

}  // namespace {{ namespace }}
}  // namespace edgeq

#endif  // {{ guard }}_BOXES_H_
