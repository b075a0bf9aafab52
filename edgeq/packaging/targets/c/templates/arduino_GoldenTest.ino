{% set what = "Does this board compute what the desktop did? The serial monitor says it." %}
{% include "_head.txt" %}
#include <{{ stem }}_package.h>

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
  Serial.print("{{ name }}: checks that failed: ");
  Serial.println(edgeq::{{ namespace }}::GoldenTest());
}

void loop() {}
