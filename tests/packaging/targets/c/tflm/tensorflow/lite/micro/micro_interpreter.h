#ifndef STUB_MICRO_INTERPRETER_H_
#define STUB_MICRO_INTERPRETER_H_
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

enum TfLiteType { kTfLiteNoType = 0 };

struct TfLiteIntArray {
  int size;
  int data[8];
};

struct TfLiteTensor {
  struct { float scale; std::int32_t zero_point; } params;
  union { char* raw; } data;
  TfLiteIntArray* dims;
  TfLiteType type;
};

STUB_BEGIN
class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver&, std::uint8_t* arena, std::size_t size)
      : model_(model), size_(size), is_aligned_(reinterpret_cast<std::uintptr_t>(arena) % 16 == 0) {
    for (int i = 0; i < kMost; ++i) {
      inputs_[i].data.raw = static_cast<char*>(std::malloc(kBytes));
      outputs_[i].data.raw = static_cast<char*>(std::malloc(kBytes));
    }
    file_ = std::fopen(std::getenv("STUB_OUTPUTS"), "rb");
    // Of each tensor: type, scale, zero point, rank, sizes.
    std::FILE* tensors = std::fopen(std::getenv("STUB_TENSORS"), "r");
    Read(tensors, &input_count_, inputs_);
    Read(tensors, &output_count_, outputs_);
    std::fclose(tensors);
  }
  TfLiteStatus AllocateTensors() {
    return model_ != nullptr && is_aligned_ && file_ != nullptr ? kTfLiteOk : kTfLiteError;
  }
  TfLiteStatus Reset() { return kTfLiteOk; }
  TfLiteStatus Invoke() {
    std::uint32_t count = 0, bytes = 0;
    if (std::fread(&count, 4, 1, file_) != 1) return kTfLiteError;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (std::fread(&bytes, 4, 1, file_) != 1 || bytes > kBytes) return kTfLiteError;
      if (std::fread(outputs_[i].data.raw, 1, bytes, file_) != bytes) return kTfLiteError;
    }
    return kTfLiteOk;
  }
  TfLiteTensor* input(std::size_t index) { return &inputs_[index]; }
  TfLiteTensor* output(std::size_t index) { return &outputs_[index]; }
  std::size_t inputs_size() const { return input_count_; }
  std::size_t outputs_size() const { return output_count_; }
  std::size_t arena_used_bytes() const { return size_ / 2; }

 private:
  static void Read(std::FILE* file, std::size_t* count, TfLiteTensor* tensors) {
    if (std::fscanf(file, "%zu", count) != 1) std::abort();
    for (std::size_t i = 0; i < *count; ++i) {
      int type;
      TfLiteTensor& tensor = tensors[i];
      tensor.dims = static_cast<TfLiteIntArray*>(std::malloc(sizeof(TfLiteIntArray)));
      if (std::fscanf(file, "%d %g %d %d", &type, &tensor.params.scale, &tensor.params.zero_point,
                      &tensor.dims->size) != 4) std::abort();
      tensor.type = static_cast<TfLiteType>(type);
      for (int k = 0; k < tensor.dims->size; ++k) {
        if (std::fscanf(file, "%d", &tensor.dims->data[k]) != 1) std::abort();
      }
    }
  }
  static constexpr int kMost = 4;
  std::size_t input_count_ = 0, output_count_ = 0;
  static constexpr std::size_t kBytes = 1 << 20;
  const Model* model_;
  std::size_t size_;
  bool is_aligned_;
  TfLiteTensor inputs_[kMost], outputs_[kMost];
  std::FILE* file_ = nullptr;
};
STUB_END
#endif
