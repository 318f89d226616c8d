import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;

/** Marks a case that takes seconds: it runs in one mode only. */
@Retention(RetentionPolicy.RUNTIME)
@interface Once {}
