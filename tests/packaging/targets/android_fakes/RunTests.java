import java.lang.reflect.Method;

/** Runs the tests of a class, as JUnit on a device would. */
public final class RunTests {
    public static void main(String[] arguments) throws Exception {
        Class<?> type = Class.forName(arguments[0]);
        int count = 0;
        for (Method method : type.getMethods()) {
            if (method.isAnnotationPresent(org.junit.Test.class)) {
                method.invoke(type.getConstructor().newInstance());
                count++;
            }
        }
        System.out.println(count + " passed");
    }
}
