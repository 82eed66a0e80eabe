"""Valid national identifiers of the countries in `national_ids.WORLD`, made by trial."""

import re

from persona_rm.construct.cleaning.national_ids import WORLD

TEMPLATES = {
    "uk_nino_named": "NI number QQ 99 99 99 C",
    "nl_bsn": "BSN 999999999",
    "be_national": "99.09.19-999.99",
    "no_fodsel": "19099999999",
    "fi_hetu": "190999-999A",
    "dk_cpr": "CPR 190999-9999",
    "cn_id": "199999199909199999",
    "kr_rrn": "990919-1999999",
    "hk_id": "A999999(9)",
    "tw_id": "A199999999",
    "ie_pps": "9999999A",
    "cl_rut": "19.999.999-9",
    "ar_cuit": "20-99999999-9",
    "mx_curp": "AAAA990919HAAAAA99",
    "tr_tckn": "19999999999",
    "ro_cnp": "1990919999999",
    "cz_rodne": "990919/9999",
    "uk_nhs": "NHS 999 999 9999",
    "au_tfn": "TFN 999 999 999",
    "pt_nif": "NIF 199999999",
    "il_id": "teudat zehut 999999999",
    "za_id": "9909199999099",
}
"""How a number of each country is written: 9 is any digit, A any letter, others stand for themselves."""


WORDS = ("BSN ", "CPR ", "NHS ", "TFN ", "NIF ", "zehut ", "number ")


def world_id(r, row):
    """A valid number of a row of the table, by trial: most check digits are hit within a few hundred."""
    word, number_ = "", TEMPLATES[row.name]
    if row.context:
        at = max(number_.find(w) + len(w) for w in WORDS if w in number_)
        word, number_ = number_[:at], number_[at:]
    for _ in range(20_000):
        code = "".join(
            str(r.randrange(10)) if c == "9" else chr(65 + r.randrange(26)) if c == "A" else c for c in number_
        )
        if re.fullmatch(row.pattern, code.lower()) and row.valid(code):
            return word + code
    raise AssertionError(row.name)


def world(r):
    return world_id(r, r.choice(WORLD))
