"""What the search for personal identifiers cannot see: the data card says it."""

NOT_CAUGHT = (
    "names of people, places and employers in running text, street addresses, postcodes, dates of birth",
    "who somebody is by what they tell together: age, job, illness, town and date",
    "accounts named in words, without @ or u/",
    "telephone numbers of 7 digits, and national ones of countries that write no leading zero, unless a word says so",
    "numbers in words, digits inside ordinary links, nine digits in a row without a word that says what they are",
    "identifiers without a check digit (passport, driving licence, plates), and of countries outside the table",
    "what is disguised by look-alike letters or underscores, stands in pictures, or is a domain of somebody's own",
)
