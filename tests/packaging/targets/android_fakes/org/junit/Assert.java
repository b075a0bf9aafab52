package org.junit;

import java.util.Arrays;

public class Assert {
    public static void assertTrue(String message, boolean condition) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    public static void assertArrayEquals(String message, byte[] wanted, byte[] found) {
        assertTrue(message + " " + Arrays.toString(found), Arrays.equals(wanted, found));
    }

    public static void assertArrayEquals(String message, long[] wanted, long[] found) {
        assertTrue(message + " " + Arrays.toString(found), Arrays.equals(wanted, found));
    }

    public static void assertArrayEquals(
            String message, float[] wanted, float[] found, float delta) {
        assertTrue(message + " " + Arrays.toString(found), Arrays.equals(wanted, found));
    }
}
