{% set what = "The model, as an array in flash." %}
{% include "_head.txt" %}
#ifndef {{ guard }}_MODEL_H_
#define {{ guard }}_MODEL_H_

#include <cstddef>

namespace edgeq {
namespace {{ namespace }} {

constexpr std::size_t kModelBytes = {{ model_bytes }};
alignas(16) extern const unsigned char kModel[kModelBytes];

// SHA-256 of these bytes; the package's manifest has the same.
constexpr char kModelSha256[] = "{{ sha256 }}";

}  // namespace {{ namespace }}
}  // namespace edgeq

#endif  // {{ guard }}_MODEL_H_
