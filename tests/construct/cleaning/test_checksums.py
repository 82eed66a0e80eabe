"""Check digits on published examples, and that one changed digit is noticed."""

import pytest

from persona_rm.construct.cleaning import checksums as c

CASES = [
    (c.luhn, "4111111111111111"),
    (c.verhoeff, "2363"),
    (c.ean, "9780306406157"),
    (c.mod_11_10, "86095742719"),
    (c.cpf, "11144477735"),
    (c.iban, "gb29nwbk60161331926819"),
    (c.iban, "fr1420041010050500013m02606"),
    (c.codice_fiscale, "rssmra85t10a562s"),
    (c.card, "378282246310005"),
    (c.card, "5555555555554444"),
]


@pytest.mark.parametrize(("check", "number"), CASES)
def test_examples(check, number):
    assert check(number)
    last = number[-1]
    other = chr(ord(last) + 1) if last not in "9z" else chr(ord(last) - 1)
    assert not check(number[:-1] + other)


def test_a_luhn_number_of_no_scheme_is_no_card():
    assert c.luhn("0000000000000000")
    assert not c.card("0000000000000000")
