"""Message bodies that must come through unchanged."""

SPECIAL = [
    "plain",
    " spaces  around ",
    "a&b=c+d%20e%",
    "msgBody=x&queueName=y",
    "line\nbreak\r\nand\ttab",
    "quotes \" ' \\ / <xml/> {\"json\": [1]}",
    "h\u00e9llo w\u00f6rld \u4e16\u754c \u041f\u0440\u0438\u0432\u0435\u0442",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "@at the start",
    "@",
    "#?;,:$!*()[]~`^|",
    "%E4%B8%96 not decoded twice %2B",
    "\u0001\u007f\u2028\ufeff",
]
