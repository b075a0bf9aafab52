package org.tensorflow.lite;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * LiteRT as Python has it, behind the signatures of LiteRT as Android has it.
 *
 * <p>Tensors keep their bytes, and buffers are copied into them as LiteRT's TensorImpl does.
 */
public final class Interpreter implements AutoCloseable {
    public static class Options {
        public Options setNumThreads(int numThreads) {
            System.out.println("threads " + numThreads);
            return this;
        }

        public Options setUseXNNPACK(boolean useXNNPACK) {
            System.out.println("xnnpack " + useXNNPACK);
            return this;
        }
    }

    private final File folder;
    private final Process python;
    private final BufferedReader told;
    private final Map<String, Map<String, Own>> tensors = new HashMap<>();

    public Interpreter(ByteBuffer model, Options options) {
        if (!model.isDirect() || model.capacity() == 0) {
            throw new IllegalArgumentException("not mapped, and not direct");
        }
        try {
            folder = Files.createTempDirectory("fake-litert").toFile();
            byte[] content = new byte[model.capacity()];
            for (int i = 0; i < content.length; i++) {
                content[i] = model.get(i); // native code does not ask for a position
            }
            Files.write(new File(folder, "model.tflite").toPath(), content);
            python =
                    new ProcessBuilder(
                                    System.getProperty("fake.python"),
                                    System.getProperty("fake.litert"),
                                    folder.getPath())
                            .redirectError(ProcessBuilder.Redirect.INHERIT)
                            .start();
            told = new BufferedReader(new InputStreamReader(python.getInputStream()));
            for (String line = told.readLine(); !line.isEmpty(); line = told.readLine()) {
                String[] parts = line.split("\t");
                tensors.computeIfAbsent(parts[0], kind -> new LinkedHashMap<>())
                        .put(decoded(parts[1]), new Own(parts));
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static final class Own implements Tensor {
        private final DataType type;
        private final int[] shape;
        private final QuantizationParams quantization;
        private ByteBuffer bytes;

        Own(String[] told) {
            type = DataType.valueOf(told[2]);
            String[] sizes = told[3].isEmpty() ? new String[0] : told[3].split(",");
            shape = new int[sizes.length];
            for (int i = 0; i < shape.length; i++) {
                shape[i] = Integer.parseInt(sizes[i]);
            }
            quantization =
                    new QuantizationParams(Float.parseFloat(told[4]), Integer.parseInt(told[5]));
        }

        @Override
        public DataType dataType() {
            return type;
        }

        @Override
        public int[] shape() {
            return shape;
        }

        @Override
        public QuantizationParams quantizationParams() {
            return quantization;
        }

        /** A direct buffer of native order as a whole; any other from its position on. */
        void copyFrom(ByteBuffer source) {
            if (bytes == null) {
                bytes = ByteBuffer.allocate(source.capacity());
            }
            if (bytes.capacity() != source.capacity()) {
                throw new IllegalArgumentException("Cannot copy to a TensorFlowLite tensor");
            }
            bytes.clear();
            if (source.isDirect() && source.order() == ByteOrder.nativeOrder()) {
                ByteBuffer whole = source.duplicate();
                whole.clear();
                bytes.put(whole);
            } else {
                bytes.put(source);
            }
        }
    }

    public int getInputTensorCount() {
        return tensors.get("inputs").size();
    }

    public int getOutputTensorCount() {
        return tensors.get("outputs").size();
    }

    public int getInputIndex(String name) {
        return index("inputs", name);
    }

    public int getOutputIndex(String name) {
        return index("outputs", name);
    }

    public Tensor getInputTensor(int index) {
        return (Tensor) tensors.get("inputs").values().toArray()[index];
    }

    public Tensor getOutputTensor(int index) {
        return (Tensor) tensors.get("outputs").values().toArray()[index];
    }

    public Tensor getInputTensorFromSignature(String name, String signatureKey) {
        return named("inputs of " + coded(signatureKey), name);
    }

    public Tensor getOutputTensorFromSignature(String name, String signatureKey) {
        return named("outputs of " + coded(signatureKey), name);
    }

    public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
        for (int i = 0; i < inputs.length; i++) {
            ((Own) getInputTensor(i)).copyFrom((ByteBuffer) inputs[i]);
        }
        run("inputs", "-");
        for (Map.Entry<Integer, Object> entry : outputs.entrySet()) {
            read("out-" + entry.getKey(), entry.getValue());
        }
    }

    public void runSignature(
            Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey) {
        String code = coded(signatureKey);
        for (Map.Entry<String, Object> entry : inputs.entrySet()) {
            named("inputs of " + code, entry.getKey()).copyFrom((ByteBuffer) entry.getValue());
        }
        run("inputs of " + code, code);
        for (Map.Entry<String, Object> entry : outputs.entrySet()) {
            read("out-" + index("outputs of " + code, entry.getKey()), entry.getValue());
        }
    }

    private void run(String kind, String command) {
        try {
            int place = 0;
            for (Own tensor : tensors.get(kind).values()) {
                Files.write(new File(folder, "in-" + place++).toPath(), tensor.bytes.array());
            }
            OutputStream asked = python.getOutputStream();
            asked.write((command + "\n").getBytes(StandardCharsets.UTF_8));
            asked.flush();
            if (!"done".equals(told.readLine())) {
                throw new IllegalStateException("the inference failed");
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private int index(String kind, String name) {
        named(kind, name);
        return new java.util.ArrayList<>(tensors.get(kind).keySet()).indexOf(name);
    }

    private Own named(String kind, String name) {
        Own found = tensors.getOrDefault(kind, new HashMap<>()).get(name);
        if (found == null) {
            throw new IllegalArgumentException("'" + name + "' is not a valid name");
        }
        return found;
    }

    private static String coded(String text) {
        StringBuilder found = new StringBuilder();
        for (byte unit : text.getBytes(StandardCharsets.UTF_8)) {
            found.append(String.format("%02x", unit));
        }
        return found.toString();
    }

    private static String decoded(String code) {
        byte[] found = new byte[code.length() / 2];
        for (int i = 0; i < found.length; i++) {
            found[i] = (byte) Integer.parseInt(code.substring(2 * i, 2 * i + 2), 16);
        }
        return new String(found, StandardCharsets.UTF_8);
    }

    private void read(String name, Object tensor) {
        ByteBuffer buffer = (ByteBuffer) tensor;
        try {
            buffer.put(Files.readAllBytes(new File(folder, name).toPath()));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        if (buffer.hasRemaining()) {
            throw new IllegalArgumentException(name + " is too short");
        }
    }

    @Override
    public void close() {
        System.out.println("closed");
        python.destroy();
    }
}
