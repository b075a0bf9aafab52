package android.app;

import android.content.Context;

public class Instrumentation {
    public Context getContext() {
        return new Context();
    }

    public Context getTargetContext() {
        return new Context();
    }
}
