{% set what = "Does this compiler compute what the desktop did? Exit code 0: yes." %}
{% include "_head.txt" %}
//
// Without options, it checks the numbers around the model; with -DEDGEQ_RUN_MODEL, the model too,
// which needs TensorFlow Lite for Microcontrollers. With -DEDGEQ_NO_MAIN, call
// edgeq::{{ namespace }}::GoldenTest() from your own main(): it returns how many checks failed.
#include <cmath>
#include <cstdio>
#include <cstring>

{% if boxes %}
#include "{{ stem }}_boxes.h"
{% endif %}
#include "{{ stem }}_golden.h"
#include "{{ stem }}_package.h"
{% if sounds %}
#include "{{ stem }}_sounds.h"
{% endif %}
#ifdef EDGEQ_RUN_MODEL
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#endif

namespace {

namespace package = ::edgeq::{{ namespace }};

template <typename Value>
int CheckEqual(const char* what, long index, const Value* wanted, const Value* given,
               std::size_t size) {
  if (std::memcmp(wanted, given, size * sizeof(Value)) == 0) return 0;
  std::printf("FAILED: sample %ld, %s\n", index, what);
  return 1;
}

template <typename Value>
int CheckNear(const char* what, long index, const Value* wanted, const void* given,
              std::size_t size, double tolerance) {
  const Value* values = static_cast<const Value*>(given);
  double furthest = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const double apart = std::fabs(static_cast<double>(values[i]) - static_cast<double>(wanted[i]));
    if (!(apart <= furthest) && !std::isnan(furthest)) furthest = apart;
  }
  if (furthest <= tolerance) return 0;
  std::printf("FAILED: sample %ld, %s: %g away, %g are accepted\n", index, what, furthest,
              tolerance);
  return 1;
}

// Another model with the same tensors would pass as this one, if its answers were not looked at.
int CheckModel() {
  std::uint32_t crc = 0xffffffffu;
  for (std::size_t i = 0; i < package::kModelBytes; ++i) {
    crc ^= package::kModel[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  if ((crc ^ 0xffffffffu) == package::golden::kModelCrc32) return 0;
  std::printf("FAILED: kModel is not the model that the samples are of\n");
  return 1;
}

{% if boxes %}
// Six numbers for each box: class (-1: there are no more), left, top, right, bottom, score.
int CheckBoxes(long index, const double* wanted, const package::Box* found, std::size_t count) {
  for (std::size_t i = 0; i < package::kMostBoxes; ++i) {
    const double* row = wanted + 6 * i;
    if ((row[0] >= 0) != (i < count)) {
      std::printf("FAILED: sample %ld, number of boxes\n", index);
      return 1;
    }
    if (i >= count) return 0;
    const double given[] = {static_cast<double>(found[i].index), found[i].x1, found[i].y1,
                            found[i].x2, found[i].y2, found[i].score};
    for (std::size_t k = 0; k < 6; ++k) {
      if (std::fabs(given[k] - row[k]) <= 1e-5) continue;
      std::printf("FAILED: sample %ld, box %lu\n", index, static_cast<unsigned long>(i));
      return 1;
    }
  }
  return 0;
}

{% endif %}
int CheckNumbers() {
  int failed = 0;
  for (std::size_t sample = 0; sample < package::golden::kCount; ++sample) {
    const long index = package::golden::kIndices[sample];
{% for item in inputs %}
    {
      using Tensor = package::{{ item.struct }};
      static Tensor::Value tensor[Tensor::kSize];
      if (!Tensor::Fill(package::golden::kRaw{{ item.struct }}[sample], tensor)) ++failed;
      failed += CheckEqual("{{ item.struct }}", index, package::golden::k{{ item.struct }}[sample], tensor,
                           Tensor::kSize);
    }
{% endfor %}
{% for item in sounds %}
    if (sample < package::golden::kSoundCount{{ item.struct }}) {
      using Sound = package::{{ item.struct }};
      static Sound::Scratch scratch;
      static float features[Sound::kFrames * Sound::kValues];
      if (!Sound::Features(package::golden::k{{ item.struct }}[sample], Sound::kSamples, Sound::kRate,
                           &scratch, features)) {
        ++failed;
      }
      failed += CheckNear("features of {{ item.struct }}", index, package::golden::kRaw{{ item.input }}[sample],
                          features, Sound::kFrames * Sound::kValues,
                          package::golden::kTolerance{{ item.struct }});
    }
{% endfor %}
{% for item in outputs %}
    {
      using Tensor = package::{{ item.struct }};
      for (std::size_t i = 0; i < Tensor::kSize; ++i) {
        const float wanted = static_cast<float>(package::golden::kReal{{ item.struct }}[sample][i]);
        const float given = Tensor::Dequantize(package::golden::k{{ item.struct }}[sample][i]);
        failed += CheckEqual("{{ item.struct }}", index, &wanted, &given, 1);
      }
    }
{% endfor %}
{% if boxes %}
    {
      static package::BoxScratch scratch;
      static package::Box found[package::kMostBoxes];
      const package::BoxTensors tensors = {
{%- for item in outputs %}package::golden::k{{ item.struct }}[sample]{{ ", " if not loop.last }}{% endfor -%}
      };
      const std::size_t count = package::FindBoxes(tensors, &scratch, found);
      failed += CheckBoxes(index, package::golden::kBoxes[sample], found, count);
{% if letterbox %}
      const std::int32_t* size = package::golden::kPictureSizes[sample];
      for (std::size_t i = 0; i < count; ++i) found[i] = package::InPicture(found[i], size[0], size[1]);
      failed += CheckBoxes(index, package::golden::kBoxesInPicture[sample], found, count);
{% endif %}
    }
{% endif %}
{% if letterbox %}
    {
      const std::int32_t* size = package::golden::kPictureSizes[sample];
      const package::Region found = package::PictureRegion(size[0], size[1]);
      const std::int32_t given[] = {found.top, found.left, found.height, found.width};
      failed += CheckEqual("region of the picture", index, package::golden::kPictureRegions[sample],
                           given, 4);
    }
{% endif %}
  }
  return failed;
}

#ifdef EDGEQ_RUN_MODEL

}  // namespace

// Newer releases keep their classes in tflite::micro, older ones in tflite.
namespace tflite {
namespace micro {}
}  // namespace tflite

namespace {

using namespace tflite;
using namespace tflite::micro;

alignas(16) std::uint8_t arena[package::kArenaBytes];

int RunModel() {
  MicroMutableOpResolver<package::kOperatorCount> resolver;
  if (!package::RegisterOperators(resolver)) return 1;
  MicroInterpreter interpreter(GetModel(package::kModel), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    std::printf("FAILED: the model could not be allocated in %lu bytes\n",
                static_cast<unsigned long>(sizeof(arena)));
    return 1;
  }
  if (!package::IsModel(interpreter)) {
    std::printf("FAILED: the inputs and outputs are not those of this package\n");
    return 1;
  }
  std::printf("The arena is used up to %lu of %lu bytes.\n",
              static_cast<unsigned long>(interpreter.arena_used_bytes()),
              static_cast<unsigned long>(sizeof(arena)));
  int failed = 0;
  for (std::size_t sample = 0; sample < package::golden::kCount; ++sample) {
    const long index = package::golden::kIndices[sample];
    interpreter.Reset();
{% for item in inputs %}
    std::memcpy(interpreter.input(package::{{ item.struct }}::kIndex)->data.raw,
                package::golden::k{{ item.struct }}[sample],
                sizeof(package::golden::k{{ item.struct }}[sample]));
{% endfor %}
    if (interpreter.Invoke() != kTfLiteOk) return failed + 1;
{% for item in outputs %}
    {
      using Tensor = package::{{ item.struct }};
      failed += CheckNear("{{ item.struct }}", index, package::golden::k{{ item.struct }}[sample],
                          interpreter.output(Tensor::kIndex)->data.raw, Tensor::kSize,
                          package::golden::kTolerance{{ item.struct }});
    }
{% endfor %}
  }
  return failed;
}

#endif  // EDGEQ_RUN_MODEL

}  // namespace

int edgeq::{{ namespace }}::GoldenTest() {
  int failed = CheckModel() + CheckNumbers();
#ifdef EDGEQ_RUN_MODEL
  failed += RunModel();
#endif
  std::printf("%s %s: %lu samples, %d checks failed\n", "{{ name }}", package::kVersion,
              static_cast<unsigned long>(package::golden::kCount), failed);
  return failed;
}

// These bring their own main().
#if !defined(EDGEQ_NO_MAIN) && !defined(ARDUINO) && !defined(ESP_PLATFORM) && !defined(__ZEPHYR__)
int main() { return edgeq::{{ namespace }}::GoldenTest() == 0 ? 0 : 1; }
#endif
