{% set what = "The names of the classes, and constants as they are defined before C++17." %}
{% include "_head.txt" %}
#include "{{ stem }}_package.h"
{% if sounds %}
#include "{{ stem }}_sounds.h"
{% endif %}

namespace edgeq {
namespace {{ namespace }} {
#if __cplusplus < 201703L
{% for item in inputs + outputs %}

constexpr char {{ item.struct }}::kName[];
constexpr std::size_t {{ item.struct }}::kIndex;
constexpr int {{ item.struct }}::kRank;
constexpr int {{ item.struct }}::kShape[];
constexpr std::size_t {{ item.struct }}::kSize;
constexpr bool {{ item.struct }}::kIsQuantized;
{% if item.scale %}
constexpr float {{ item.struct }}::kScale;
constexpr std::int32_t {{ item.struct }}::kZeroPoint;
{% endif %}
{% if item.mean | default([]) | length > 1 %}
constexpr float {{ item.struct }}::kMean[];
{% endif %}
{% if item.std | default([]) | length > 1 %}
constexpr float {{ item.struct }}::kStd[];
{% endif %}
{% if item.labels is defined and item.labels %}
constexpr std::size_t {{ item.struct }}::kLabelCount;
{% endif %}
{% endfor %}

#endif  // before C++17
{% for item in outputs if item.labels %}

const char* const {{ item.struct }}::kLabels[] = {
{% for label in item.labels %}
    {{ label }},
{% endfor %}
};
{% endfor %}
{% for item in sounds %}
{% for type, tables in (("float", item.floats), ("std::uint32_t", item.indices)) %}
{% for name, text in tables.items() %}

const {{ type }} {{ item.struct }}::{{ name }}[] = {
{{ text }}
};
{% endfor %}
{% endfor %}
{% endfor %}

}  // namespace {{ namespace }}
}  // namespace edgeq
