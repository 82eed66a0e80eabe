"""What the search for personal identifiers cannot see: the data card says it."""

NOT_CAUGHT = (
    "names of people and places in running text",
    "who somebody is by what they tell: age, job, illness, town and date together",
    'accounts named in words, without @ or u/ ("my insta is the same as here")',
    "street addresses, dates of birth, vehicle and case numbers",
    "identifiers written out in words, split over several sentences or hidden in pictures",
    "national numbers of countries that the search does not know, and numbers with a wrong check digit",
)
