{% set what = "Real samples, and the model's outputs on a desktop." %}
{% include "_head.txt" %}
#ifndef {{ guard }}_GOLDEN_H_
#define {{ guard }}_GOLDEN_H_

#include <cstddef>
#include <cstdint>
#include <limits>

namespace edgeq {
namespace {{ namespace }} {
namespace golden {

constexpr std::size_t kCount = {{ indices | length }};

// CRC-32 of the model that made them.
constexpr std::uint32_t kModelCrc32 = {{ model_crc32 }};

// Index of each sample in its dataset.
const long kIndices[kCount] = { {{- indices | join(", ") -}} };
{% macro array(type, name, size, rows) %}

const {{ type }} {{ name }}[kCount][{{ size }}] = {
{% for row in rows %}
    {
{{ row }}
    },
{% endfor %}
};
{% endmacro %}
{% for item in inputs %}
{{ array(item.raw_type, "kRaw" ~ item.struct, item.size, item.raw) -}}
{{ array(item.type, "k" ~ item.struct, item.size, item.golden) -}}
{% endfor %}
{% for item in outputs %}
{{ array(item.type, "k" ~ item.struct, item.size, item.golden) -}}
{{ array("float" if item.scale else item.type, "kReal" ~ item.struct, item.size, item.real) }}
// How far another machine may be from it{{ ", in steps" if item.dtype != "float32" }}.
constexpr double kTolerance{{ item.struct }} = {{ item.tolerance }};
{% endfor %}
{% for item in sounds %}

// The sounds of the first samples, and how far their features may be from kRaw{{ item.input }}.
constexpr std::size_t kSoundCount{{ item.struct }} = {{ sound_count }};
constexpr double kTolerance{{ item.struct }} = {{ item.tolerance }};
const {{ item.type }} k{{ item.struct }}[][{{ item.samples }}] = {
{% for row in item.golden %}
    {
{{ row }}
    },
{% endfor %}
};
{% endfor %}
{% if boxes %}
{{ array("double", "kBoxes", boxes.most * 6, boxes.golden) -}}
{% endif %}
{% if letterbox %}
{{ array("std::int32_t", "kPictureSizes", 2, letterbox.size) -}}
{{ array("std::int32_t", "kPictureRegions", 4, letterbox.region) -}}
{% if boxes %}
{{ array("double", "kBoxesInPicture", boxes.most * 6, letterbox.boxes) -}}
{% endif %}
{% endif %}

}  // namespace golden
}  // namespace {{ namespace }}
}  // namespace edgeq

#endif  // {{ guard }}_GOLDEN_H_
