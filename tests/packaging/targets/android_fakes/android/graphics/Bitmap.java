package android.graphics;

/** Colours in rows; only the whole picture can be read. */
public final class Bitmap {
    private final int[] colors;
    private final int width;

    public Bitmap(int[] colors, int width) {
        this.colors = colors;
        this.width = width;
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return colors.length / width;
    }

    public void getPixels(
            int[] pixels, int offset, int stride, int x, int y, int width, int height) {
        if (offset != 0 || stride != this.width || x != 0 || y != 0) {
            throw new IllegalArgumentException();
        }
        System.arraycopy(colors, 0, pixels, 0, width * height);
    }
}
