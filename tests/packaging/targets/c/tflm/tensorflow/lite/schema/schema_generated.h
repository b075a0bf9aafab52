#ifndef STUB_SCHEMA_GENERATED_H_
#define STUB_SCHEMA_GENERATED_H_
#include <cstdint>
#include <cstring>

#ifdef STUB_NAMESPACE_MICRO
#define STUB_BEGIN namespace tflite { namespace micro {
#define STUB_END } }
#else
#define STUB_BEGIN namespace tflite {
#define STUB_END }
#endif

STUB_BEGIN
struct Model {};
inline const Model* GetModel(const void* content) {
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(content) % 16 == 0;
  const bool is_model = std::memcmp(static_cast<const char*>(content) + 4, "TFL3", 4) == 0;
  return is_aligned && is_model ? static_cast<const Model*>(content) : nullptr;
}
STUB_END
#endif
