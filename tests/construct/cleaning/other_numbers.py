"""Numbers that identify no user: books, products, formulas, hashes, amounts. Cleaning leaves them."""

from persona_rm.construct.cleaning import checksums
from tests.construct.cleaning.planted_ids import ending, number


def isbn10(r):
    body = number(r, 9, "0123456789")
    return next(body + c for c in "0123456789x" if checksums.isbn10(body + c)).upper()


def hyphenated_isbn(r):
    return r.choice(["{}-{}-{}-{}", "{} {} {} {}"]).format(*(lambda s: (s[0], s[1:4], s[4:9], s[9]))(isbn10(r)))


def isbn13(r):
    return ending(checksums.ean, "978" + number(r, 9, "0123456789"))


def upc(r):
    return ending(checksums.upc, "0" + number(r, 10, "0123456789"))


def barcode(r):
    return r.choice(["UPC {}", "barcode: {}", "EAN {}"]).format(ending(checksums.ean, number(r, 12)))


def product(r):
    a, b = r.randint(10_000, 99_999), r.randint(10_000, 99_999)
    return r.choice(
        [
            rf"${a} \cdot {b} = {a * b}$",
            rf"$\frac{{{a * b}}}{{{a}}} = {b}$",
            f"{a} * {b} = {a * b}",
            rf"${a * b} \times 10^{{23}}$",
            f"{a} \u00d7 {b} = {a * b}",
        ]
    )


def digest(r):
    return r.randbytes(r.choice([16, 20, 32])).hex()


def decimals(r):
    return (
        f"{r.random():.4f}, {r.random():.4f} and {r.uniform(0, 9):.5f}, {r.uniform(0, 9):.5f}, {r.uniform(0, 9):.5f}"
    )


def amount(r):
    return r.choice(["${:,.2f}", "{:,} people", "{:,} EUR"]).format(r.randint(1000, 10**9))


def version(r):
    return f"version {r.randint(1, 99)}.{r.randint(0, 99)}.{r.randint(0, 9999)}.{r.randint(0, 99)}"


def day(r):
    date = f"{r.randint(1900, 2030)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
    return f"{date} {r.randint(0, 23):02}:{r.randint(0, 59):02}"


NEGATIVES = (isbn10, hyphenated_isbn, isbn13, upc, barcode, product, digest, decimals, amount, version, day)
"""Numbers that identify no user; they stay."""
