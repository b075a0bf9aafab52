package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter implements AutoCloseable {
    public static class Options {
        public Options() {}

        public native Options setNumThreads(int numThreads);

        public native Options setUseXNNPACK(boolean useXNNPACK);
    }

    public Interpreter(ByteBuffer model, Options options) {}

    public native int getInputTensorCount();

    public native int getOutputTensorCount();

    public native Tensor getInputTensor(int index);

    public native Tensor getOutputTensor(int index);

    public native Tensor getInputTensorFromSignature(String name, String signatureKey);

    public native Tensor getOutputTensorFromSignature(String name, String signatureKey);

    public native int getInputIndex(String name);

    public native int getOutputIndex(String name);

    public native void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs);

    public native void runSignature(
            Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey);

    @Override
    public native void close();
}
