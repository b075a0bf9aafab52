#ifndef LINKED_MICRO_INTERPRETER_H_
#define LINKED_MICRO_INTERPRETER_H_
#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

struct TfLiteIntArray {
  int size;
  int data[8];
};

struct TfLiteTensor {
  char quantization[16];
  struct { float scale; std::int32_t zero_point; } params;
  union { char* raw; } data;
  TfLiteIntArray* dims;
  std::size_t bytes;
  std::int32_t type;
};

namespace tflite {
namespace micro {

class MicroResourceVariables;
class MicroProfilerInterface;

enum class MemoryPlannerType;

class MicroAllocator {
 public:
  static MicroAllocator* Create(std::uint8_t* arena, std::size_t size, MemoryPlannerType);
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, MicroAllocator*, MicroResourceVariables*,
                   MicroProfilerInterface*);
  MicroInterpreter(const Model*, const MicroOpResolver&, std::uint8_t* arena, std::size_t size,
                   MicroResourceVariables*, MicroProfilerInterface*, bool);
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, std::uint8_t* arena,
                   std::size_t size)
      : MicroInterpreter(model, resolver, arena, size, nullptr, nullptr, false) {}
  ~MicroInterpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteStatus Reset();
  TfLiteTensor* input(std::size_t index);
  TfLiteTensor* output(std::size_t index);
  // Inline there, so there is no symbol.
  std::size_t inputs_size() const { return 1; }
  std::size_t outputs_size() const { return 1; }
  std::size_t arena_used_bytes() const { return 0; }

 private:
  char storage_[1 << 16];
};

}  // namespace micro
}  // namespace tflite
#endif
