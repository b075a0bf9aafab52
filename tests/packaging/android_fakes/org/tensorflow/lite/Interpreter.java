package org.tensorflow.lite;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** LiteRT as Python has it, behind the signatures of LiteRT as Android has it. */
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

    public Interpreter(ByteBuffer model, Options options) {
        if (!(model instanceof java.nio.MappedByteBuffer)) {
            throw new IllegalArgumentException("not mapped");
        }
        try {
            folder = Files.createTempDirectory("fake-litert").toFile();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        byte[] content = new byte[model.capacity()];
        model.duplicate().get(content);
        write("model.tflite", content);
    }

    public int getInputIndex(String name) {
        return python("input", name);
    }

    public int getOutputIndex(String name) {
        return python("output", name);
    }

    public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
        for (int i = 0; i < inputs.length; i++) {
            write("in-" + i, bytes(inputs[i]));
        }
        python("run");
        for (Map.Entry<Integer, Object> entry : outputs.entrySet()) {
            read("out-" + entry.getKey(), entry.getValue());
        }
    }

    public void runSignature(
            Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey) {
        List<String> names = new ArrayList<>(inputs.keySet());
        List<String> found = new ArrayList<>(outputs.keySet());
        for (int i = 0; i < names.size(); i++) {
            write("in-" + i, bytes(inputs.get(names.get(i))));
        }
        List<String> arguments = new ArrayList<>();
        arguments.add("signature");
        arguments.add(signatureKey);
        arguments.add(String.valueOf(names.size()));
        arguments.addAll(names);
        arguments.addAll(found);
        python(arguments.toArray(new String[0]));
        for (int i = 0; i < found.size(); i++) {
            read("out-" + i, outputs.get(found.get(i)));
        }
    }

    private int python(String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(System.getProperty("fake.python"));
        command.add(System.getProperty("fake.litert"));
        command.add(folder.getPath());
        command.addAll(java.util.Arrays.asList(arguments));
        try {
            return new ProcessBuilder(command).inheritIO().start().waitFor();
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private static byte[] bytes(Object tensor) {
        ByteBuffer buffer = (ByteBuffer) tensor;
        if (!buffer.isDirect() || buffer.order() != ByteOrder.nativeOrder()) {
            throw new IllegalArgumentException("not direct, or in another order");
        }
        byte[] found = new byte[buffer.remaining()];
        buffer.get(found);
        return found;
    }

    private void write(String name, byte[] content) {
        try {
            Files.write(new File(folder, name).toPath(), content);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
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
    }
}
