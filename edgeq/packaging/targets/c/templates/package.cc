{% set what = "The names of the classes." %}
{% include "_head.txt" %}
#include "{{ name }}.h"

namespace {{ namespace }} {
{% for item in outputs if item.labels %}

const char* const {{ item.struct }}::kLabels[] = {
{% for label in item.labels %}
    {{ label }},
{% endfor %}
};
{% endfor %}

}  // namespace {{ namespace }}
