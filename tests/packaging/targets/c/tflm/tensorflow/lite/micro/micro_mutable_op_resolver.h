#ifndef STUB_MICRO_MUTABLE_OP_RESOLVER_H_
#define STUB_MICRO_MUTABLE_OP_RESOLVER_H_
#include "tensorflow/lite/schema/schema_generated.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

// As micro_mutable_op_resolver.h names them.
#define STUB_METHODS(M) \
  M(AddAbs) M(AddAdd) M(AddAddN) M(AddArgMax) M(AddArgMin) M(AddAssignVariable) \
  M(AddAveragePool2D) M(AddBatchMatMul) M(AddBatchToSpaceNd) M(AddBroadcastArgs) \
  M(AddBroadcastTo) M(AddCallOnce) M(AddCast) M(AddCeil) M(AddConcatenation) M(AddConv2D) \
  M(AddCos) M(AddCumSum) M(AddDepthToSpace) M(AddDepthwiseConv2D) M(AddDequantize) \
  M(AddDetectionPostprocess) M(AddDiv) M(AddDynamicUpdateSlice) M(AddElu) M(AddEmbeddingLookup) \
  M(AddEqual) M(AddExp) M(AddExpandDims) M(AddFill) M(AddFloor) M(AddFloorDiv) M(AddFloorMod) \
  M(AddFullyConnected) M(AddGather) M(AddGatherNd) M(AddGreater) M(AddGreaterEqual) \
  M(AddHardSwish) M(AddIf) M(AddL2Normalization) M(AddL2Pool2D) M(AddLeakyRelu) M(AddLess) \
  M(AddLessEqual) M(AddLog) M(AddLogSoftmax) M(AddLogicalAnd) M(AddLogicalNot) M(AddLogicalOr) \
  M(AddLogistic) M(AddMaxPool2D) M(AddMaximum) M(AddMean) M(AddMinimum) M(AddMirrorPad) M(AddMul) \
  M(AddNeg) M(AddNotEqual) M(AddPack) M(AddPad) M(AddPadV2) M(AddPrelu) M(AddQuantize) \
  M(AddReadVariable) M(AddReduceAll) M(AddReduceMax) M(AddReduceMin) M(AddRelu) M(AddRelu6) \
  M(AddReshape) M(AddResizeBilinear) M(AddResizeNearestNeighbor) M(AddReverseV2) M(AddRound) \
  M(AddRsqrt) M(AddSelectV2) M(AddShape) M(AddSin) M(AddSlice) M(AddSoftmax) \
  M(AddSpaceToBatchNd) M(AddSpaceToDepth) M(AddSplit) M(AddSplitV) M(AddSqrt) M(AddSquare) \
  M(AddSquaredDifference) M(AddSqueeze) M(AddStridedSlice) M(AddSub) M(AddSum) M(AddSvdf) \
  M(AddTanh) M(AddTranspose) M(AddTransposeConv) M(AddUnidirectionalSequenceLSTM) M(AddUnpack) \
  M(AddVarHandle) M(AddWhile) M(AddZerosLike)

STUB_BEGIN
class MicroOpResolver {};

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
#define STUB_METHOD(name) \
  TfLiteStatus name() { return count_++ < tOpCount ? kTfLiteOk : kTfLiteError; }
  STUB_METHODS(STUB_METHOD)
#undef STUB_METHOD

 private:
  unsigned int count_ = 0;
};
STUB_END
#endif
