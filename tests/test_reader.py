import pytest

from repairsolver.errors import PropertyError
from repairsolver.property.reader import Atom, Form, Source, head, read_forms, show


def forms(text: str) -> tuple[Form, ...]:
    return read_forms(Source(text, "file"))


def test_forms_have_their_items_and_offsets() -> None:
    (form,) = forms("; comment (\n(a (b 1.5) X[0, 3])")
    assert form.offset == 12
    assert form.items == (Atom("a", 13), Form((Atom("b", 16), Atom("1.5", 18)), 15), Atom("X[0, 3]", 23))
    assert head(form) == "a"
    assert head(Form((), 0)) == ""


def test_byte_order_mark_and_windows_line_ends_are_space() -> None:
    assert [head(form) for form in forms("\ufeff(a)\r\n(b)\r\n")] == ["a", "b"]


def test_position_counts_lines_and_columns_from_one() -> None:
    source = Source("ab\ncd", "file")
    assert source.position(0) == "file:1:1"
    assert source.position(4) == "file:2:2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(a\n  (b)", r"file:1:1: this `\(` is never closed \(1 still open"),
        ("(a))", r"file:1:4: this `\)` closes nothing"),
        ("(a)\n stray", r"file:2:2: expected `\(` to start a command; got `stray`"),
        ("(a X[0)", r"file:1:5: unexpected character '\['"),
        ('(a "open)', "file:1:4: unexpected character '\"'"),
    ],
)
def test_malformed_text_is_refused_with_line_and_column(text: str, message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        forms(text)


def test_long_expressions_are_shown_shortened() -> None:
    (short, long) = forms("(a (b c)) (a " + "(word " * 50_000 + ")" * 50_000 + ")")
    assert show(short) == "(a (b c))"
    assert show(long).endswith(" ...")
    assert len(show(long)) < 80
