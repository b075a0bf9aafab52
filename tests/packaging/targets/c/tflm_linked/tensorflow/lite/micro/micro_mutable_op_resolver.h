#ifndef LINKED_MICRO_MUTABLE_OP_RESOLVER_H_
#define LINKED_MICRO_MUTABLE_OP_RESOLVER_H_
#include <cstdint>
#include <set>

#include "tensorflow/lite/schema/schema_generated.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

namespace tflite {

// The runtime's own, with all operators; its first word is its table of virtual functions.
class PythonOpsResolver {
 public:
  PythonOpsResolver();

 private:
  char storage_[1 << 20];
};

namespace micro {

struct TFLMRegistration;

class MicroOpResolver {
 public:
  virtual const TFLMRegistration* FindOp(BuiltinOperator op) const = 0;
  virtual const TFLMRegistration* FindOp(const char* op) const = 0;
  virtual void* GetOpDataParser(BuiltinOperator op) const = 0;
  virtual ~MicroOpResolver() {}
};

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  const TFLMRegistration* FindOp(BuiltinOperator op) const override {
    return codes_.count(op) ? All()->FindOp(op) : nullptr;
  }
  const TFLMRegistration* FindOp(const char*) const override { return nullptr; }
  void* GetOpDataParser(BuiltinOperator op) const override {
    return codes_.count(op) ? All()->GetOpDataParser(op) : nullptr;
  }
#define METHOD(name, code)                                     \
  TfLiteStatus name() {                                        \
    codes_.insert(code);                                       \
    return codes_.size() <= tOpCount ? kTfLiteOk : kTfLiteError; \
  }
#include "codes.inc"
#undef METHOD

 private:
  static const MicroOpResolver* All() {
    static const PythonOpsResolver* all = new PythonOpsResolver();
    return reinterpret_cast<const MicroOpResolver*>(all);
  }
  std::set<std::int32_t> codes_;
};

}  // namespace micro
}  // namespace tflite
#endif
