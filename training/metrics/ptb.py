"""English captions -> the tokens that published figures are computed on, without Java.

COCO's caption evaluation runs Stanford's `PTBTokenizer` (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and drops
punctuation. This does the same to captions. It was written from the outputs of that program, not from its source, and
the tests hold it to a table of them. It leaves out what captions do not hold: newspapers' and the web's rarer forms.

    tokens("A man's dog isn't here (yet).") == ["a", "man", "'s", "dog", "is", "n't", "here", "-lrb-", "yet", "-rrb-"]
"""

import functools
import re
import unicodedata

# What COCO's evaluation drops. Brackets stay: it looks for "-LRB-" in a text that is in small letters by then.
PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))

_NO_LETTER = r"_²³¹¼-¾⁰-⁹₀-₉⅐-⅟"  # to Python's \w they are
_L = rf"(?:[^\W\d{_NO_LETTER}]|[\u0300-\u036f\xad])"  # a letter
_A = rf"(?:[^\W{_NO_LETTER}]|[\u0300-\u036f\xad])"  # a letter or a digit
_Q = r"['’]"
_WORD = rf"{_A}+(?:_+{_A}+)*"
_HYPHENED = rf"{_A}+(?:-{_A}+)*"
_NUMBER = r"\d+(?:[.,:]\d+)*"

# Each keeps its full stop. Those of the second line only with a capital: they are words, too.
_SHORT = (
    "adj|adm|adv|ala?|apr|ariz|ass(?:n|oc|t)|att?y|aug|ave|bancorp|bhd|bldg|blvd|brig|bros|calif|capt|cf|cie|cmdr|"
    "co(?:l|lo|nn|rp|s)?|cpl|ct|dec|dept|det|drs?|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|govs?|hon|inc|ind|insp|intl|"
    "jan|jr|jul|jun|kans?|ky|lieut|ltd?|maj|mar|md|messrs|mich|minn|mlle|mme|mon|mont|mo|mrs?|ms|mt|natl|neb|nev|nov|"
    "oct|okla|penn|pfc|ph\\.d|plc|pres|profs?|pvt|rd|reps?|rev|sens?|sept?|sgt|sq|sr|ste?|supts?|tel|tenn|thu(?:rs)?|"
    "treas|tues?|univ|va|vs|vt|wed|wisc?|wyo"
)
_SHORT_NAMES = "Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
# Before a number, these too.
_NUMBERED = "art|ca|figs?|nos?|op|pp"
# A capitalised one of these begins a sentence, so that the full stop after a single letter ends the one before.
_STARTERS = (
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once|One|"
    "Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)
# Apostrophes inside or at an end that part nothing; "d'Arc", "l'eau" and "O'Reilly" are of one kind.
_WHOLE = (
    rf"[dlo]{_Q}{_L}{{2,}}(?:-{_A}+)*|qu{_Q}{_L}+|[cn]{_Q}est|c{_Q}mon|d{_Q}(?:ya|ye|you)|hallowe{_Q}en|ma{_Q}am|"
    rf"nat{_Q}l|ne{_Q}er|s{_Q}mores|dunkin{_Q}|ol{_Q}|somethin{_Q}|{_Q}n{_Q}|{_Q}(?:em|til|cause)(?!\w)|{_Q}n(?![\w.])|[jdly]{_Q}(?={_L})|"
    rf"[dl]{_Q}|(?<!\w){_Q}\d\ds?(?!['’/]?\w)"
)
# Words that part, and after how many characters.
_TWO = dict.fromkeys(("cannot", "gonna", "gotta", "wanna", "gimme", "lemme"), 3) | {"more'n": 4, "'tis": 2, "'twas": 2}

# The longest match wins; of equals the first. (kind, pattern)
_RULES = [
    (kind, re.compile(pattern, flags))
    for kind, pattern, flags in (
        ("keep", r"(?:https?://|www\.)[^\s\"<>|()]*[^\s\"<>|().,;:!?'\]}]", re.IGNORECASE),
        ("keep", r"[\w.+-]*\w@\w(?:[\w.-]*\w)?", 0),
        ("keep", rf"@[A-Za-z_]\w*|#{_L}+(?:\.{_L}{{2,}})*", 0),
        ("keep", r"</?[A-Za-z]\w*(?:\s[^<>]*)?/?>", 0),
        ("keep", r"&(?:amp|lt|gt|quot|apos|nbsp);", re.IGNORECASE),
        ("split", rf"(?:{'|'.join(_TWO)})(?!\w|['-]\w)", re.IGNORECASE),
        ("not", rf"{_L}+n['’`]t(?!\w)", re.IGNORECASE),
        ("clitic", rf"n['’`]t(?!\w)|{_Q}(?:s|m|d|re|ve|ll)(?!{_A})", re.IGNORECASE),
        ("keep", _WHOLE, re.IGNORECASE),
        ("keep", rf"(?:{_SHORT})\.(?!\w)", re.IGNORECASE),
        ("keep", rf"(?:{_SHORT_NAMES}|{_SHORT_NAMES.upper()})\.(?!\w)", 0),
        ("keep", rf"(?:{_NUMBERED})\.(?=\s*\d|,)", re.IGNORECASE),
        ("keep", rf"[A-Za-z]\.(?!{_L}|\s+(?:{_STARTERS})(?:\s|$))", 0),
        ("keep", rf"{_L}(?:\.{_L})+\.?(?!\w)", 0),
        ("keep", rf"{_L}+\.(?=[,;:])", 0),
        ("keep", rf"{_L}+(?:\.{_L}+)+", 0),
        ("keep", r"[A-Z]+&[A-Z]+", 0),
        ("keep", _WORD, 0),
        ("keep", rf"{_L}+[!?]{_L}+", 0),
        ("keep", rf"{_HYPHENED}(?:/{_HYPHENED}){{0,2}}", 0),
        ("keep", rf"{_NUMBER}(?:[-/]{_WORD})*", 0),
        ("keep", rf"[-+]?{_NUMBER}|[-+]?(?:[.,:]\d+)+", 0),
        ("keep", r"\d+[ \xa0]\d+/\d+", 0),
        ("keep", r"\(?\d{3}\)?[ \xa0-]?\d{3}[ -]\d{4}(?!\d)", 0),
        ("keep", r"[A-Z]{1,2}\$", 0),
        ("keep", r"[:;=]-?[()\]]|[:;=]-?[DP](?!\w)|\^_\^", re.IGNORECASE),
        ("keep", r"''|``|<<|>>|[?!]{2,}|\*+|#+|_+|-+|\.\.\.", 0),
        ("keep", r"[^\s]", 0),
    )
]
_SPELT = (
    dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))
    | dict(zip("½¼¾⅓⅔¢¤£€…", ("1/2", "1/4", "3/4", "1/3", "2/3", "cents", "$", "#", "$", "..."), strict=True))
    | dict(zip(("&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&nbsp;"), ("&", "<", ">", "''", "'", ""), strict=True))
    | dict.fromkeys('“”„«»"', "''")
    | dict.fromkeys("‘’‹›", "'")
    | dict.fromkeys("–—―", "--")
)


@functools.lru_cache(2**16)  # references are read once for each model that is measured against them
def tokens(text: str) -> tuple[str, ...]:
    """The tokens of one caption, in small letters, without `PUNCTUATION`.

    A mixed number ("1 1/2") and a telephone number are one token with a no-break space in it, as they are there.
    """
    found = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        kind, match = max(
            ((kind, match) for kind, rule in _RULES if (match := rule.match(text, position))),
            key=lambda pair: pair[1].end(),
        )
        position = match.end()
        found += _spell(kind, match[0])
    return tuple(token for token in found if token and token not in PUNCTUATION)


def _spell(kind: str, text: str) -> list[str]:
    """One match as the tokens it stands for."""
    low = text.lower()
    if kind == "split":
        at = _TWO[low.replace("’", "'")]
        return [low[:at], low[at:]]
    if kind == "not":
        return [low[:-3], low[-3:].replace("’", "'")]
    if kind == "clitic":
        return [low.replace("’", "'")]
    if low > "\uffff" or unicodedata.category(low[0]) in ("Cf", "Cn", "Co", "Me", "Mn"):  # emoji, what has no width
        return []
    if low in _SPELT:
        return [_SPELT[low]]
    if set(low) == {"-"}:
        return ["--"]
    for bracket in "()[]{}":
        low = low.replace(bracket, _SPELT[bracket])
    return [re.sub(r"\s", "\xa0", low)]
