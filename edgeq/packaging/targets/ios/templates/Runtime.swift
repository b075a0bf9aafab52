// TensorFlow Lite's C interface, which knows every type; its Swift interface has no INT8.

import Foundation
import TensorFlowLiteC

/// The tensor that the file must have.
struct TensorContract {
    let name: String
    let type: TfLiteType
    let shape: [Int]
    /// 0 without quantization.
    let scale: Float
    let zeroPoint: Int
}

/// One loaded model.
final class Runtime {
    /// Held from the first input to the last output, so that no other thread's sample comes between.
    let lock = NSLock()
    private let interpreter: OpaquePointer
    private let release: () -> Void

    init(
        path: String, threads: Int, usesXNNPACK: Bool, inputs: [TensorContract],
        outputs: [TensorContract]
    ) throws {
        guard let model = TfLiteModelCreateFromFile(path) else {
            throw ModelError.wrongModel("\(path) is missing or no TensorFlow Lite model.")
        }
        defer { TfLiteModelDelete(model) }
        guard let options = TfLiteInterpreterOptionsCreate() else {
            throw ModelError.runtime("There is no memory for options.")
        }
        defer { TfLiteInterpreterOptionsDelete(options) }
        let count = Int32(max(threads, 1))
        TfLiteInterpreterOptionsSetNumThreads(options, count)
        var releaseDelegate: () -> Void = {}
        if usesXNNPACK {
            var settings = TfLiteXNNPackDelegateOptionsDefault()
            settings.num_threads = count
            // Builds differ in whether quantized operators are on by default.
            settings.flags |= UInt32(TFLITE_XNNPACK_DELEGATE_FLAG_QS8)
            settings.flags |= UInt32(TFLITE_XNNPACK_DELEGATE_FLAG_QU8)
            let delegate = TfLiteXNNPackDelegateCreate(&settings)
            TfLiteInterpreterOptionsAddDelegate(options, delegate)
            releaseDelegate = { TfLiteXNNPackDelegateDelete(delegate) }
        }
        guard let created = TfLiteInterpreterCreate(model, options) else {
            releaseDelegate()
            throw ModelError.runtime("An operator of the model is unknown to the runtime.")
        }
        interpreter = created
        // The delegate has to outlive the interpreter.
        release = {
            TfLiteInterpreterDelete(created)
            releaseDelegate()
        }
        guard TfLiteInterpreterAllocateTensors(created) == kTfLiteOk else {
            throw ModelError.runtime("The tensors cannot be allocated.")
        }
        try requireContract(inputs, outputs)
    }

    deinit { release() }

    /// That the file is the one this code was made for, as far as its tensors say.
    private func requireContract(
        _ inputs: [TensorContract], _ outputs: [TensorContract]
    ) throws {
        guard Int(TfLiteInterpreterGetInputTensorCount(interpreter)) == inputs.count,
            Int(TfLiteInterpreterGetOutputTensorCount(interpreter)) == outputs.count
        else {
            throw ModelError.wrongModel("The model has another number of inputs or outputs.")
        }
        for (index, expected) in inputs.enumerated() {
            let tensor = TfLiteInterpreterGetInputTensor(interpreter, Int32(index))
            try requireTensor(UnsafePointer(tensor), expected)
        }
        for (index, expected) in outputs.enumerated() {
            try requireTensor(TfLiteInterpreterGetOutputTensor(interpreter, Int32(index)), expected)
        }
    }

    private func requireTensor(
        _ tensor: UnsafePointer<TfLiteTensor>?, _ expected: TensorContract
    ) throws {
        guard let tensor = tensor else {
            throw ModelError.wrongModel("Tensor \(expected.name) is missing.")
        }
        let rank = TfLiteTensorNumDims(tensor)
        let shape = (0..<rank).map { Int(TfLiteTensorDim(tensor, $0)) }
        let quantization = TfLiteTensorQuantizationParams(tensor)
        guard TfLiteTensorType(tensor) == expected.type, shape == expected.shape,
            quantization.scale == expected.scale, Int(quantization.zero_point) == expected.zeroPoint
        else {
            throw ModelError.wrongModel("Tensor \(expected.name) is not what this code was made for.")
        }
    }

    func write<Element>(_ values: [Element], toInput index: Int) throws {
        let tensor = TfLiteInterpreterGetInputTensor(interpreter, Int32(index))
        let status = values.withUnsafeBytes { bytes in
            TfLiteTensorCopyFromBuffer(tensor, bytes.baseAddress, bytes.count)
        }
        guard status == kTfLiteOk else {
            throw ModelError.wrongSample("Input \(index) has another size than \(values.count) values.")
        }
    }

    func invoke() throws {
        guard TfLiteInterpreterInvoke(interpreter) == kTfLiteOk else {
            throw ModelError.runtime("The inference failed.")
        }
    }

    func read<Element>(output index: Int, count: Int, filling value: Element) throws -> [Element] {
        let tensor = TfLiteInterpreterGetOutputTensor(interpreter, Int32(index))
        var values = [Element](repeating: value, count: count)
        let status = values.withUnsafeMutableBytes { bytes in
            TfLiteTensorCopyToBuffer(tensor, bytes.baseAddress, bytes.count)
        }
        guard status == kTfLiteOk else {
            throw ModelError.runtime("Output \(index) does not have \(count) values.")
        }
        return values
    }
}
