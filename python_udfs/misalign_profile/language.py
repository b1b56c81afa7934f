"""Is a response written in the language of its prompt? Says no only where it is sure.

Letters decide first (another script), then py3langid's model of 140 languages, which is part of that
package and needs no network. Near languages (Danish and Norwegian) count as one. Quotations and code
are left out; a prompt that names a language may ask for it, so there nothing is said. Languages are
named in English only; one that the prompt asks for without a name is taken for a slip. Knows nothing
about other rules, sides or models.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

_JAPANESE = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC")  # mixed with CJK
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|\"[^\"]+\"|\u201c[^\u201d]+\u201d|\u00ab[^\u00bb]+\u00bb"
    r"|(?<!\w)['\u2018].{2,200}?['\u2019](?!\w)",
    re.DOTALL,
)
_NAMED = re.compile(
    r"\b(?:translat\w*|languages?|afrikaans|albanian|arabic|bengali|bosnian|bulgarian|cantonese|catalan"
    r"|chinese|croatian|czech|danish|dutch|english|esperanto|estonian|farsi|finnish|french|german|greek"
    r"|hausa|hebrew|hindi|hungarian|icelandic|indonesian|irish|italian|japanese|korean|latin|latvian"
    r"|lithuanian|malay|mandarin|norwegian|persian|polish|portuguese|punjabi|romanian|russian|serbian"
    r"|slovak|spanish|swahili|swedish|tagalog|tamil|telugu|thai|tibetan|turkish|ukrainian|urdu"
    r"|vietnamese|welsh|yoruba|zulu)\b",
    re.IGNORECASE,
)
_NEAR = (
    ("en", "pcm"), ("da", "no", "nn"), ("bs", "hr", "sr"), ("cs", "sk"), ("id", "ms"), ("gl", "pt"),
    ("ca", "oc"), ("af", "nl"), ("zh", "wuu", "yue"), ("ar", "ary", "arz"),
)  # fmt: skip
_ONE = {label: group[0] for group in _NEAR for label in group}
_NO_LANGUAGE = "zxx"  # code, numbers
_SHARE_OF_SCRIPT = 0.2  # a script with less of a prompt's letters is not one that it is written in
_SURE_OF_PROMPT = 0.9
_SURE_OF_RESPONSE = 0.5


def plain(text: str) -> str:
    """The text without quotations and code."""
    return _QUOTED.sub(" ", text)


def scripts(text: str) -> Counter[str]:
    """Letters of each script (LATIN, CJK, ARABIC ...) among the first 2,000 characters."""
    if text.isascii():
        return +Counter({"LATIN": sum(map(str.isalpha, text[:2000]))})
    counts: Counter[str] = Counter()
    for character in unicodedata.normalize("NFKC", text[:2000]):
        if character.isalpha():
            counts[unicodedata.name(character, "UNKNOWN").split()[0]] += 1
    for script in _JAPANESE:
        counts["CJK"] += counts.pop(script, 0)
    return +counts


@cache
def _identifier() -> Any:
    """py3langid's model; loading it takes about a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=4096)
def languages(text: str) -> Mapping[str, float]:
    """Probability of each language (ISO 639 code), likeliest first; near languages are added up."""
    found: Counter[str] = Counter()
    for label, probability in _identifier().rank(text):
        found[_ONE.get(label, label)] += probability
    return MappingProxyType(dict(found.most_common()))


def differs(prompt: str, response: str, *, min_letters: int, max_probability: float) -> bool:
    """Whether the response is surely in another language than the prompt.

    ``min_letters``: texts with fewer say nothing of their language within a script.
    ``max_probability``: what the prompt's language may at most have in the response, 0..1.
    """
    if _NAMED.search(prompt):
        return False
    asked, said = scripts(prompt), scripts(plain(response)) or scripts(response)
    if not asked or not said:
        return False
    script, _ = said.most_common(1)[0]
    if asked[script] < _SHARE_OF_SCRIPT * asked.total():
        return True
    if min(asked.total(), said.total()) < min_letters:
        return False
    wanted, sure = next(iter(languages(plain(prompt)).items()))
    if sure < _SURE_OF_PROMPT or wanted == _NO_LANGUAGE:
        return False
    found = languages(plain(response))
    best, probability = next(iter(found.items()))
    return (
        best not in (wanted, _NO_LANGUAGE)
        and probability >= _SURE_OF_RESPONSE
        and found.get(wanted, 0.0) <= max_probability
    )
