package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

/** The model inside an APK, at the place that the test has found; other assets in a folder. */
public final class AssetManager {
    public AssetFileDescriptor openFd(String name) throws IOException {
        String[] place = System.getProperty("fake.model").split(":");
        if (!name.equals(place[0])) {
            throw new FileNotFoundException(name);
        }
        File apk = new File(System.getProperty("fake.apk"));
        return new AssetFileDescriptor(apk, Long.parseLong(place[1]), Long.parseLong(place[2]));
    }

    public InputStream open(String name) throws IOException {
        return new FileInputStream(new File(System.getProperty("fake.assets"), name));
    }
}
