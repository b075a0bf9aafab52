{% set what = "From sounds to the features that the model was trained with." %}
{% include "_head.txt" %}
//
// It needs C++11 or newer, allocates nothing, and computes in float.
#ifndef {{ guard }}_SOUNDS_H_
#define {{ guard }}_SOUNDS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "{{ stem }}_package.h"

namespace edgeq {
namespace {{ namespace }} {
namespace internal {

// A sample as a real value from -1 to 1.
inline float ToReal(float sample) { return sample; }
inline float ToReal(std::int8_t sample) { return static_cast<float>(sample) / 128.0f; }
inline float ToReal(std::int16_t sample) { return static_cast<float>(sample) / 32768.0f; }
inline float ToReal(std::int32_t sample) { return static_cast<float>(sample) / 2147483648.0f; }

}  // namespace internal
{% for item in sounds %}
{% set sound = item.sound %}

// The sound of {{ item.input }}.
struct {{ item.struct }} {
  static constexpr std::int32_t kRate = {{ sound.rate }};  // samples per second
  static constexpr std::size_t kWindow = {{ sound.window }};  // samples of a frame
  static constexpr std::size_t kHop = {{ sound.hop }};  // samples from one frame to the next
  static constexpr std::size_t kFft = {{ sound.fft }};  // points of the Fourier transform
  static constexpr std::size_t kFrames = {{ item.frames }};
  static constexpr std::size_t kValues = {{ item.size }};  // of a frame
  static constexpr std::size_t kSamples = {{ item.samples }};  // of all frames
{% if sound.bands %}
  static constexpr std::size_t kBands = {{ sound.bands }};
{% endif %}

  // Memory for the time in which features are computed: make it static.
  struct Scratch {
    float real[kFft];
    float imaginary[kFft];
{% if sound.coefficients %}
    float bands[kBands];
{% endif %}
  };

  // From one frame to kValues features.
  //
  // Samples are float from -1 to 1, or std::int8_t, int16_t or int32_t. After `count` of them, at most kWindow,
  // there is silence.
  template <typename Sample>
  static void Frame(const Sample* samples, std::size_t count, Scratch* scratch, float* features) {
    float* const real = scratch->real;
    float* const imaginary = scratch->imaginary;
    // Small transforms of the odd factor of kFft, then butterflies of radix 2.
    std::size_t place = 0;  // of the first sample: the number of the small transform, its bits reversed
    for (std::size_t leaf = 0; leaf < kLeaves; ++leaf) {
      for (std::size_t k = 0; k < kOdd; ++k) {
        float sum = 0.0f, other = 0.0f;
        for (std::size_t j = 0; j < kOdd; ++j) {
          const std::size_t i = place + j * kLeaves;
          if (i >= kWindow || i >= count) break;
          const float value = internal::ToReal(samples[i]) * kTaper[i];
          const std::size_t turn = j * k % kOdd * kLeaves;
          sum += value * kCosines[turn];
          other -= value * kSines[turn];
        }
        real[leaf * kOdd + k] = sum;
        imaginary[leaf * kOdd + k] = other;
      }
      std::size_t bit = kLeaves >> 1;
      while ((place & bit) != 0) {
        place ^= bit;
        bit >>= 1;
      }
      place |= bit;
    }
    for (std::size_t half = kOdd; half < kFft; half *= 2) {
      const std::size_t stride = kFft / (2 * half);
      for (std::size_t start = 0; start < kFft; start += 2 * half) {
        for (std::size_t k = 0; k < half; ++k) {
          const std::size_t low = start + k, high = low + half;
          const float cosine = kCosines[k * stride], sine = kSines[k * stride];
          const float turned = real[high] * cosine + imaginary[high] * sine;
          const float other = imaginary[high] * cosine - real[high] * sine;
          real[high] = real[low] - turned;
          imaginary[high] = imaginary[low] - other;
          real[low] += turned;
          imaginary[low] += other;
        }
      }
    }
{% set target = "features" if sound.kind == "spectrogram" else "real" %}
    for (std::size_t i = 0; i <= kFft / 2; ++i) {
      const float energy = real[i] * real[i] + imaginary[i] * imaginary[i];
      {{ target }}[i] = {{ "energy" if sound.power == 2 else "std::sqrt(energy)" }};
    }
{% if sound.bands %}
    float* const bands = {{ "scratch->bands" if sound.coefficients else "features" }};
    std::size_t weight = 0;
    for (std::size_t band = 0; band < kBands; ++band) {
      float energy = 0.0f;
      for (std::size_t i = 0; i < kCounts[band]; ++i) {
        energy += real[kStarts[band] + i] * kWeights[weight++];
      }
      bands[band] = std::log(energy + {{ item.floor }});
    }
{% endif %}
{% if sound.coefficients %}
    for (std::size_t i = 0; i < kValues; ++i) {
      float sum = 0.0f;
      for (std::size_t band = 0; band < kBands; ++band) {
        sum += bands[band] * kTransform[band * kValues + i];
      }
      features[i] = sum;
    }
{% endif %}
  }

  // From a sound to kFrames * kValues features, for {{ item.input }}::Fill.
  //
  // A sound with more than kSamples samples is cut at its end; one with fewer is followed by silence. False where
  // `rate` is not kRate: there is no resampling.
  template <typename Sample>
  EDGEQ_CHECK_RESULT static bool Features(const Sample* samples, std::size_t count,
                                          std::int32_t rate, Scratch* scratch, float* features) {
    if (rate != kRate) return false;
    for (std::size_t frame = 0; frame < kFrames; ++frame) {
      const std::size_t start = frame * kHop < count ? frame * kHop : count;
      Frame(samples + start, count - start, scratch, features + frame * kValues);
    }
    return true;
  }

 private:
  static constexpr std::size_t kOdd = {{ item.odd }};
  static constexpr std::size_t kLeaves = kFft / kOdd;
{% for name in item.floats %}
  static const float {{ name }}[];
{% endfor %}
{% for name in item.indices %}
  static const std::uint32_t {{ name }}[];
{% endfor %}
};
{% endfor %}

}  // namespace {{ namespace }}
}  // namespace edgeq

#endif  // {{ guard }}_SOUNDS_H_
