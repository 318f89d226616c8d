import com.qcloud.cmq.CMQClientException;
import com.qcloud.cmq.CMQServerException;
import com.qcloud.cmq.Queue;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What the cases say about answers: they are equal, refused, or come true in a while. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class Expect {
    static final String NO_MESSAGE = "(10200)no message";
    static final String FAILED = "(10030)authentication failed";

    private static final int POLL_MS = 20;
    /** The exception keeps code and message to itself; only its text has both. */
    private static final Pattern REFUSAL = Pattern.compile("code:(\\d+), message:(.*)", Pattern.DOTALL);

    /** Something that asks the server. */
    interface Call {
        void run() throws Exception;
    }

    /** Something that may come true. */
    interface Condition {
        boolean holds() throws Exception;
    }

    static void equal(Object found, Object wanted) {
        holds(Objects.equals(found, wanted), "found " + found + ", wanted " + wanted);
    }

    static void holds(boolean condition, Object said) {
        if (!condition) {
            throw new AssertionError(said);
        }
    }

    /** Asserts that the call is refused with this code and message. */
    static void refused(int code, String message, Call call) throws Exception {
        equal(refusedCode(code, call), message);
    }

    /** Asserts that the call is refused with this code, and gives back the message. */
    static String refusedCode(int code, Call call) throws Exception {
        try {
            call.run();
        } catch (CMQServerException refusal) {
            Matcher parts = REFUSAL.matcher(refusal.toString());
            holds(parts.matches(), refusal);
            equal(parts.group(1) + " " + parts.group(2), code + " " + parts.group(2));
            return parts.group(2);
        }
        throw new AssertionError("not refused, expected " + code);
    }

    /** Asserts that the SDK itself refuses, with this message. */
    static void refusedByTheClient(String message, Call call) throws Exception {
        try {
            call.run();
        } catch (CMQClientException refusal) {
            equal(refusal.getMessage(), message);
            return;
        }
        throw new AssertionError("not refused, expected " + message);
    }

    /** Asserts that there is no message, and that the server says so at once. */
    static void nothingIn(Queue queue) throws Exception {
        nothingIn(queue, 0);
    }

    static void nothingIn(Queue queue, int wait) throws Exception {
        refused(7000, NO_MESSAGE, () -> queue.receiveMessage(wait));
    }

    /** Asks again and again until the condition holds. */
    static void eventually(String what, Condition condition) throws Exception {
        eventually(what, 10, condition);
    }

    static void eventually(String what, int seconds, Condition condition) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.holds()) {
            holds(System.nanoTime() < end, "not within " + seconds + " s: " + what);
            Thread.sleep(POLL_MS);
        }
    }

    private Expect() {}
}
