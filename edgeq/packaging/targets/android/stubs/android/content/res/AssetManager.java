package android.content.res;

public final class AssetManager {
    private AssetManager() {}

    public native AssetFileDescriptor openFd(String name) throws java.io.IOException;
}
