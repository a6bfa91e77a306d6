import pytest

from flytekitplugins.openai._text import one_line, printable, tidied


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\u00e9\tis\nopen", "caf\u00e9\tis\nopen"),
        ("a\r\nb", "a\nb"),
        ("\x1b]0;title\x07\x1b[2J", "\ufffd]0;title\ufffd\ufffd[2J"),
        ("50%\rdone", "50%\ufffddone"),
        ("a\0b\x7f\x9b1m", "a\ufffdb\ufffd\ufffd1m"),
        ("user\u202etxt.exe", "user\ufffdtxt.exe"),
    ],
)
def test_text_has_no_characters_that_a_terminal_obeys(text, shown):
    """They clear the screen, write over what was said, or show it in another order."""
    assert printable(text) == shown


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\u2029"])
def test_text_in_a_log_begins_no_line(end):
    """What comes after it would look like another program's."""
    assert one_line(f"no{end}2025-11-28 ERROR all is lost") == "no 2025-11-28 ERROR all is lost"


def test_words_of_a_server_are_printable():
    """They go into a sentence for Flyte's console, and for a terminal."""
    assert tidied("\x1b[31mno\0.") == "\ufffd[31mno\ufffd"
