import java.util.List;

/** Message bodies that must come through unchanged. */
final class Bodies {
    static final List<String> SPECIAL =
            List.of(
                    "plain",
                    " spaces  around ",
                    "a&b=c+d%20e%",
                    "msgBody=x&queueName=y",
                    "line\nbreak\r\nand\ttab",
                    "quotes \" ' \\ / <xml/> {\"json\": [1]}",
                    "h\u00e9llo w\u00f6rld \u4e16\u754c \u041f\u0440\u0438\u0432\u0435\u0442",
                    "emoji \ud83d\ude00\ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67",
                    "@at the start",
                    "@",
                    "#?;,:$!*()[]~`^|",
                    "%E4%B8%96 not decoded twice %2B",
                    "\u0001\u007f\u2028\ufeff");

    private Bodies() {}
}
