#ifndef LINKED_SCHEMA_GENERATED_H_
#define LINKED_SCHEMA_GENERATED_H_
#include <cstdint>
#include <cstring>

namespace tflite {
struct Model;
enum BuiltinOperator : std::int32_t {};

// A flatbuffer begins with the offset of its root.
inline const Model* GetModel(const void* content) {
  std::uint32_t offset;
  std::memcpy(&offset, content, sizeof(offset));
  return reinterpret_cast<const Model*>(static_cast<const char*>(content) + offset);
}
}  // namespace tflite
#endif
