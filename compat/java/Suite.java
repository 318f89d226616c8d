import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Finds the cases in the classes of cases, runs each against a server, and counts.
 *
 * <pre>java Suite --endpoint URL --key ID:SECRET [--label NAME] [--only PART]</pre>
 *
 * A case is a static method, named after what it shows, whose only parameter is a World. The last line and the file
 * `result` in the working directory say how many passed.
 */
final class Suite {
    private static final List<Class<?>> CLASSES =
            List.of(
                    AccountCases.class,
                    QueueCases.class,
                    MessageCases.class,
                    WaitingCases.class,
                    TopicCases.class,
                    SubscriptionCases.class,
                    PublishCases.class,
                    PushCases.class);
    private static final List<World.Mode> MODES =
            List.of(
                    new World.Mode("POST", "sha1"),
                    new World.Mode("POST", "sha256"),
                    new World.Mode("GET", "sha1"),
                    new World.Mode("GET", "sha256"));

    private final Map<String, String> options = new HashMap<>(Map.of("label", "java", "only", ""));
    private final List<String> failures = new ArrayList<>();
    private int passed;

    public static void main(String[] arguments) throws Exception {
        Suite suite = new Suite();
        for (int at = 0; at < arguments.length; at += 2) {
            suite.options.put(arguments[at].substring("--".length()), arguments[at + 1]);
        }
        // The SDK's connections keep threads alive for minutes.
        System.exit(suite.run() ? 0 : 1);
    }

    private boolean run() throws Exception {
        for (Class<?> cases : CLASSES) {
            for (Method found : casesOf(cases)) {
                if (!found.getName().contains(options.get("only"))) {
                    continue;
                }
                // The data plane must be right in every mode; one mode is enough for what waits for long.
                boolean once = found.isAnnotationPresent(Once.class);
                for (World.Mode mode : once ? MODES.subList(0, 1) : MODES) {
                    run(found, mode);
                }
            }
        }
        failures.forEach(title -> System.out.println("failed: " + title));
        String line = passed + " passed, " + failures.size() + " failed";
        System.out.println(options.get("label") + ": " + line);
        Files.writeString(Path.of("result"), line + "\n");
        return failures.isEmpty() && passed > 0;
    }

    /** In alphabetical order, for Java promises none. */
    private static List<Method> casesOf(Class<?> cases) {
        List<Method> found = new ArrayList<>(Arrays.asList(cases.getDeclaredMethods()));
        found.removeIf(method -> !Modifier.isStatic(method.getModifiers())
                || !Arrays.equals(method.getParameterTypes(), new Class<?>[] {World.class})
                || method.isSynthetic());
        found.sort(Comparator.comparing(Method::getName));
        return found;
    }

    private void run(Method found, World.Mode mode) {
        String label = options.get("label");
        String title = String.format("%s %s [%s %s]", label, found.getName(), mode.method(), mode.algorithm());
        World world = new World(options.get("endpoint"), options.get("key"), label, mode);
        try {
            found.invoke(null, world);
            world.close();
            passed += 1;
        } catch (Exception error) {
            Throwable cause = error instanceof InvocationTargetException ? error.getCause() : error;
            failures.add(title);
            System.out.println("FAILED " + title);
            cause.printStackTrace(System.out);
        } finally {
            world.closeReceivers();
        }
    }
}
