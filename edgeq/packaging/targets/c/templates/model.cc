{% set what = "The model, as an array in flash." %}
{% include "_head.txt" %}
#include "{{ stem }}_model.h"

namespace edgeq {
namespace {{ namespace }} {

// The runtime reads it in place, and needs it aligned.
alignas(16) const unsigned char kModel[] = {
{{ model_text }}
};

static_assert(sizeof(kModel) == kModelBytes, "the array is incomplete");

}  // namespace {{ namespace }}
}  // namespace edgeq
