{% set what = "What an application has to know about the model." %}
{% include "_head.txt" %}
//
// It needs C++11 or newer, and no header of TensorFlow. To get the same numbers as on a desktop, bit for bit,
// compile with -ffp-contract=off, as CMakeLists.txt does.
#ifndef {{ guard }}_PACKAGE_H_
#define {{ guard }}_PACKAGE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "{{ stem }}_model.h"

// On a function whose result says whether there is anything to run.
#ifndef EDGEQ_CHECK_RESULT
#if defined(__GNUC__)
#define EDGEQ_CHECK_RESULT __attribute__((warn_unused_result))
#else
#define EDGEQ_CHECK_RESULT
#endif
#endif

// The same in the headers of all packages.
#ifndef EDGEQ_SHARED_ARENA_H_
#define EDGEQ_SHARED_ARENA_H_
namespace edgeq {
namespace internal {

constexpr std::size_t Larger(std::size_t one, std::size_t other) { return one > other ? one : other; }

template <typename... Arenas>
struct Shared {
  static constexpr std::size_t kPersistent = 0;
  static constexpr std::size_t kRest = 0;
};

template <typename First, typename... Others>
struct Shared<First, Others...> {
  static constexpr std::size_t kPersistent = First::kPersistent + Shared<Others...>::kPersistent;
  static constexpr std::size_t kRest =
      Larger(First::kBytes - First::kPersistent, Shared<Others...>::kRest);
};

}  // namespace internal

// An arena for interpreters that share one tflite::MicroAllocator and never run at the same time:
// what stays of each, and the largest of the rest. Arenas are the structs `Arena` of the packages.
template <typename... Arenas>
constexpr std::size_t SharedArenaBytes() {
  return internal::Shared<Arenas...>::kPersistent + internal::Shared<Arenas...>::kRest;
}

}  // namespace edgeq
#endif  // EDGEQ_SHARED_ARENA_H_

namespace edgeq {
namespace {{ namespace }} {

constexpr char kVersion[] = "{{ version }}";

// ---------------------------------------------------------------- memory and operators

// The smallest arena with which tflite-micro {{ runtime }}
// ran the model on a 64-bit machine with its reference kernels.
constexpr std::size_t kArenaBytesMeasured = {{ arena_measured }};

// An eighth more, at least 1 KiB, in whole KiB: optimised kernels need additional scratch memory.
// Print MicroInterpreter::arena_used_bytes() on the board before making it smaller.
constexpr std::size_t kArenaBytes = {{ arena_bytes }};

// The part of it that stays allocated as long as the interpreter exists.
constexpr std::size_t kArenaBytesPersistent = {{ arena_persistent }};

// For edgeq::SharedArenaBytes.
struct Arena {
  static constexpr std::size_t kBytes = kArenaBytes;
  static constexpr std::size_t kPersistent = kArenaBytesPersistent;
};

// For MicroMutableOpResolver<kOperatorCount>.
constexpr unsigned int kOperatorCount = {{ methods | length }};

// Adds {{ operators | join(", ") | wordwrap(90, break_long_words=false, wrapstring="\n// ") }}.
// False when the resolver is too small or has one of them already.
template <typename Resolver>
bool RegisterOperators(Resolver& resolver) {
  bool added = true;
{% for method in methods %}
  added = static_cast<int>(resolver.{{ method }}()) == 0 && added;
{% endfor %}
  return added;
}

// ---------------------------------------------------------------- numbers

namespace internal {

static_assert(std::numeric_limits<float>::is_iec559, "float must be IEEE 754 single precision");

// round(real / scale) + zero_point, half away from zero as the QUANTIZE kernel does, saturated.
// NaN becomes the lowest value.
template <typename Value>
inline Value Quantize(float real, float scale, std::int32_t zero_point) {
  float scaled = real / scale;
  // Adding 0.5 would round 0.49999997 up; adding the number before 0.5 is exact for all.
  scaled += std::copysign(0.49999997f, scaled);
  scaled = std::trunc(scaled) + static_cast<float>(zero_point);
  constexpr Value kLowest = (std::numeric_limits<Value>::min)();
  constexpr Value kHighest = (std::numeric_limits<Value>::max)();
  if (!(scaled > static_cast<float>(kLowest))) return kLowest;
  if (scaled >= static_cast<float>(kHighest)) return kHighest;
  return static_cast<Value>(scaled);
}

template <typename Value>
inline float Dequantize(Value value, float scale, std::int32_t zero_point) {
  return static_cast<float>(static_cast<std::int32_t>(value) - zero_point) * scale;
}

// By its bits: compilers may take for granted that there is no other value.
inline bool IsFinite(float real) {
  std::uint32_t bits;
  std::memcpy(&bits, &real, sizeof bits);
  return (bits & 0x7f800000u) != 0x7f800000u;
}

// False where the tensor's type has no such value.
template <typename Value, typename Raw>
inline bool Convert(Raw raw, Value* value) {
  if (std::numeric_limits<Raw>::is_integer) {
    *value = static_cast<Value>(raw);
    return static_cast<Raw>(*value) == raw && (*value > 0 || *value == 0) == (raw > 0 || raw == 0);
  }
  const double real = static_cast<double>(raw);
  const double lowest = static_cast<double>((std::numeric_limits<Value>::min)());
  const double highest = static_cast<double>((std::numeric_limits<Value>::max)());
  if (!IsFinite(static_cast<float>(raw)) || real < lowest || real >= highest + 1) return false;
  *value = static_cast<Value>(real);
  return static_cast<double>(*value) == real;
}

// Whether a tensor of an interpreter has a type (as TfLiteType numbers them), shape and scale.
template <typename Tensor>
inline bool IsLike(const Tensor* tensor, int type, int rank, const int* shape, float scale,
                   std::int32_t zero_point) {
  if (tensor == nullptr || static_cast<int>(tensor->type) != type) return false;
  if (tensor->dims == nullptr || tensor->dims->size != rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (tensor->dims->data[i] != shape[i]) return false;
  }
  return tensor->params.scale == scale && tensor->params.zero_point == zero_point;
}

}  // namespace internal
{% macro tensor(item) %}
  using Value = {{ item.type }};
  static constexpr char kName[] = {{ item.name }};
  static constexpr std::size_t kIndex = {{ item.place }};
  static constexpr int kRank = {{ item.rank }};
  static constexpr int kShape[] = { {{- item.shape -}} };
  static constexpr std::size_t kSize = {{ item.size }};
  static constexpr bool kIsQuantized = {{ "true" if item.scale else "false" }};
{% if item.scale %}
  static constexpr float kScale = {{ item.scale }};
  static constexpr std::int32_t kZeroPoint = {{ item.zero_point }};
{% endif %}

  // Whether a tensor of an interpreter has this type, shape, scale and zero point.
  template <typename Tensor>
  static bool IsLike(const Tensor* tensor) {
    return internal::IsLike(tensor, {{ item.type_number }}, kRank, kShape, {{ "kScale, kZeroPoint" if item.scale else "0.0f, 0" }});
  }
{% endmacro %}
{% for item in inputs %}

// ---------------------------------------------------------------- input {{ item.place }}

struct {{ item.struct }} {
{{ tensor(item) -}}
{% if item.mean | length > 1 %}
  static constexpr float kMean[] = { {{- item.mean | join(", ") -}} };
{% endif %}
{% if item.std | length > 1 %}
  static constexpr float kStd[] = { {{- item.std | join(", ") -}} };
{% endif %}

{% if item.scale %}
  static Value Quantize(float real) {
    return internal::Quantize<Value>(real, kScale, kZeroPoint);
  }
{% else %}
  static Value Quantize(float real) { return static_cast<Value>(real); }
{% endif %}

{% if item.is_real %}
{% set steps = item.scale_raw or item.offset_raw or item.mean or item.std %}
  // From a raw value of a channel to a real one, in the order and the precision of the training.
  static float Preprocess(float raw{{ ", std::size_t channel" if item.is_per_channel }}) {
{% if steps %}
    float real = raw;
{% if item.scale_raw %}
    real *= {{ item.scale_raw }};
{% endif %}
{% if item.offset_raw %}
    real += {{ item.offset_raw }};
{% endif %}
{% if item.mean %}
    real -= {{ "kMean[channel]" if item.mean | length > 1 else item.mean[0] }};
{% endif %}
{% if item.std %}
    real /= {{ "kStd[channel]" if item.std | length > 1 else item.std[0] }};
{% endif %}
    return real;
{% else %}
    return raw;
{% endif %}
  }

{% endif %}
{% if item.is_reversed %}
  // From kSize raw values, pixels in the order RGB, to the tensor.
{% elif item.is_gray %}
  // From kSize raw values, grey pixels (19595 R + 38470 G + 7471 B + 32768) >> 16, to the tensor.
{% else %}
  // From kSize raw values to the tensor.
{% endif %}
  // False where {{ "one is NaN or infinite" if item.is_real else "the tensor has no such value" }}: there is nothing to run then.
{% if item.is_letterboxed %}
  // Resize the image before so that it keeps its proportions and is in the middle, and fill the rest with
  // the grey value {{ item.pad }}, as for training: there is no resizing here.
{% elif item.is_image %}
  // Resize the image before, as it was resized for training: there is no resizing here.
{% endif %}
  template <typename Raw>
  EDGEQ_CHECK_RESULT static bool Fill(const Raw* raw, Value* tensor) {
    bool is_sound = true;
    for (std::size_t i = 0; i < kSize; ++i) {
{% if item.is_reversed %}
      const Raw value = raw[i - i % 3 + 2 - i % 3];
{% else %}
      const Raw value = raw[i];
{% endif %}
{% if item.is_real %}
      const float real = Preprocess(static_cast<float>(value){{ ", i %% %d" | format(item.channels) if item.is_per_channel }});
      is_sound = internal::IsFinite(real) && is_sound;
      tensor[i] = Quantize(real);
{% else %}
      is_sound = internal::Convert(value, &tensor[i]) && is_sound;
{% endif %}
    }
    return is_sound;
  }
};
{% endfor %}
{% for item in outputs %}

// ---------------------------------------------------------------- output {{ item.place }}

struct {{ item.struct }} {
{{ tensor(item) -}}
{% if item.labels %}
  static constexpr std::size_t kLabelCount = {{ item.labels | length }};
  static const char* const kLabels[kLabelCount];
{% endif %}

{% if item.scale %}
  static float Dequantize(Value value) {
    return internal::Dequantize(value, kScale, kZeroPoint);
  }
{% else %}
  static float Dequantize(Value value) { return static_cast<float>(value); }
{% endif %}
};
{% endfor %}

{% if letterbox %}
// ---------------------------------------------------------------- the picture in the input

// A part of the letterboxed input, in pixels.
struct Region {
  std::int32_t top, left, height, width;
};

// Where a picture with this height and width is in the input of {{ letterbox.height }} x {{ letterbox.width }} pixels. Of a mask with that
// size, only this region belongs to the picture.
inline Region PictureRegion(std::int32_t height, std::int32_t width) {
  const std::int64_t rows = {{ letterbox.height }}, columns = {{ letterbox.width }}, high = height, wide = width;
  std::int64_t inner_rows = rows, inner_columns = columns;
  if (rows * wide <= columns * high) {
    inner_columns = (2 * wide * rows + high) / (2 * high);
    if (inner_columns < 1) inner_columns = 1;
  } else {
    inner_rows = (2 * high * columns + wide) / (2 * wide);
    if (inner_rows < 1) inner_rows = 1;
  }
  return Region{static_cast<std::int32_t>((rows - inner_rows) / 2),
                static_cast<std::int32_t>((columns - inner_columns) / 2),
                static_cast<std::int32_t>(inner_rows), static_cast<std::int32_t>(inner_columns)};
}

{% endif %}
// ---------------------------------------------------------------- the model itself

// Whether an interpreter, once its tensors are allocated, has the inputs and outputs that this header
// was written for. With other scales, the same bytes would mean other numbers.
template <typename Interpreter>
EDGEQ_CHECK_RESULT bool IsModel(Interpreter& interpreter) {
  return interpreter.inputs_size() == {{ inputs | length }} && interpreter.outputs_size() == {{ outputs | length }}
{%- for item in inputs %} &&
         {{ item.struct }}::IsLike(interpreter.input({{ item.struct }}::kIndex))
{%- endfor %}
{%- for item in outputs %} &&
         {{ item.struct }}::IsLike(interpreter.output({{ item.struct }}::kIndex))
{%- endfor %};
}

// How many checks of {{ stem }}_golden_test.cc fail, where that is compiled.
int GoldenTest();

}  // namespace {{ namespace }}
}  // namespace edgeq

#endif  // {{ guard }}_PACKAGE_H_
