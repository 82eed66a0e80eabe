"""What the search for personal identifiers cannot detect; the data card lists it."""

NOT_CAUGHT = (
    "names of people, places and employers in running text, street addresses, postcodes, dates of birth",
    "the identity of an author by a combination of facts: age, job, illness, town and date",
    "accounts named in words, without @ or u/",
    "telephone numbers of 7 digits, and national ones of countries that write no leading zero, unless a word says so",
    "numbers in words, digits inside ordinary links, nine digits in a row without a word that says what they are",
    "identifiers without a check digit (passport, driving licence, plates), and of countries outside the table",
    "identifiers that are disguised by look-alike letters or underscores, stand in pictures, or are a personal domain",
)
