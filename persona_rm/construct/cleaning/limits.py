"""What the search for personal identifiers cannot detect; the data card lists it."""

NOT_CAUGHT = (
    "names of people, places and employers in running text, street addresses, postcodes, dates of birth",
    "the identity of an author by a combination of facts: age, job, illness, town and date",
    "accounts named in words, without @ or u/",
    "telephone numbers of 7 digits, and national ones of countries that write no leading zero, unless a word says so",
    "numbers in words, digits inside ordinary links, nine digits in a row without a word that says what they are",
    "identifiers without a check digit (passport, driving licence, plates), and of countries outside the table",
    "national numbers of plain digits without a word that says what they are (Australia, Netherlands, Portugal)",
    "e-mail addresses spelled with another host than a known provider and a plain 'at', without a word such as mail",
    "coordinates as a bare pair with fewer than five decimals, without a word that says so, or in another grid",
    "keys of services outside the table, passwords, wallets whose check does not hold",
    "vehicle numbers from outside North America and China, without a word that says so",
    "telephone numbers of ten bare digits that are also a valid ISBN-10 or stand in a formula",
    "identifiers that are disguised by look-alike letters or reversed, stand in pictures, or are a personal domain",
)
