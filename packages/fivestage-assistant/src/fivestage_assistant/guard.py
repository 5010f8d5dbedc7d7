"""Text of the corpus is data: what reads like an instruction to a model is neither quoted nor in a prompt.

Two layers. Sentences that address a model, carry links to elsewhere or hide their words are withheld,
whatever they are about. And an answer is checked after it is made (see `support`), as no list of patterns is
ever complete.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.text import STOP_WORDS, visible, words

# Letters of other scripts that look like Latin ones, and digits that stand for letters.
LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏνοαερτικАВЕКМНОРСТХΑΒΕΗΙΚΜΝΟΡΤΧ013457@$",
    "aeopcyxijsdhlvoaeptikABEKMHOPCTXABEHIKMNOPTXoieastas",
)
# A question, which asks and tells nothing: words about assistants and answers are its subject.
ASKS = re.compile(
    r"^\W*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|may|must|should|"
    r"will|would|has|have|in\s+(?:what|which)|on\s+which|from\s+which|by\s+how|since\s+which)\b[^.!?:;\n]*\??\s*$",
    re.IGNORECASE,
)
OVERRIDES = re.compile(
    r"\b(?:ignor|disregard|forget|overrid|bypass)\w*\b.{0,40}"
    r"\b(?:previous|prior|above|instruction|rule|prompt|told|guard)"
    r"|\b(?:print|reveal|show|send|output|list|dump|repeat|leak|disclose|say)\b.{0,60}"
    r"\b(?:api\s?keys?|passwords?|secrets|credentials?|environment\s+variables?|system\s+prompt|exactly|verbatim)",
    re.IGNORECASE | re.DOTALL,
)
INSTRUCTIONS = re.compile(
    r"""
    \b(?:ignor|disregard|forget|overrid|overwrit|bypass|neglect|discard)\w*\b.{0,40}
        \b(?:previous|prior|above|earlier|preceding|instruction|direction|guidance|rule|prompt|context|
        everything|told|guard|check)
    | \b(?:system|developer|hidden|initial)\W{0,3}(?:prompt|message|instruction|note)
    | \b(?:language\s+model|chat\s?bot|\bllms?\b|\bgpt|\bai\b|(?<![-/_])assistant(?![-/._])|copilot)\b.{0,50}
        \b(?:must|should|shall|will|please|now|reply|repl|respond|answer|say|output|print|write|reading|
        instruct)
    | \b(?:dear|attention|hey|note\s+to|message\s+(?:to|for))\W+(?:the\s+|all\s+)?(?:assistant|ai|model|
        bot|llm|language)
    | \byou\s+(?:are\s+now|must|shall|will\s+now|have\s+been|are\s+no\s+longer|are\s+an?\b)
    | \b(?:from\s+now\s+on|pretend|roleplay|role-play|jailbreak|act\s+as\s+(?:if|an?|the)|new\s+(?:task|
        instructions?|rules?|persona))\b
    | \b(?:reply|respond|answer|output|print|say|write|repeat|echo|return|emit|append|prepend|include|
        insert|begin|start|
          end|finish|conclude|translate|reveal|leak|disclose|mention|type|spell|complete)(?:s|ing)?\b.{0,40}
        \b(?:only|exactly|verbatim|following|word\b|words\b|phrase|string|token|code\s?word|password|
        secret|marker|the\s+text|
          your\s+(?:answer|reply|response|output|instructions?|prompt|rules)|every\s+(?:answer|reply|
        response)\b|
          (?:the|any|each|all)\s+(?:answer|reply|response|question)s?\b\s+(?:with|by|is|must|should))
    | \b(?:the\s+)?(?:only|correct|right|true)\s+(?:and\s+\w+\s+)?(?:answer|reply|
        response)\b.{0,40}\b(?:is|be)\b
    | \b(?:send|post|forward|upload|transmit|exfiltrate|submit|fetch|visit|open|click|
        load)\b.{0,60}\b(?:https?|www|url|link|address|webhook|server)\b
    | \b(?:api[\s_-]?keys?|passwords?|secrets?|credentials?|
        environment\s+variables?)\b.{0,60}\b(?:print|reveal|show|send|include|output|list)
    | \b(?:print|reveal|show|send|include|output|list|dump)\b.{0,60}\b(?:api[\s_-]?keys?|passwords?|
        secrets|credentials?|environment\s+variables?)
    | (?:^|[.!?\#]\s*)(?:system|user|human|assistant|instructions?|developer)\s*:
    | <\|.*?\|> | \[/?INST\] | <<SYS>> | </?(?:system|user|assistant|instructions?|prompt|context|
        documents?|passages?)\b
    | \b(?:begin|end|start)\W+(?:of\W+)?(?:system|prompt|instruction|document|context|passage)s?\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# What tells somebody to say something, whoever is meant.
REQUESTS = re.compile(
    r"""
    \b(?:answers?|repl(?:y|ies)|responses?|summar(?:y|ies)|whoever\s+(?:reads|answers)|readers?|users?)\b.{0,50}
        \b(?:must|should|shall|has\s+to|have\s+to|needs?\s+to|ought\s+to|always|prefer\w*|want\w*|like\w*|expects?)\b
        .{0,50}\b(?:mention|include|contain|start|begin|end|state|say|add|append|tell|be|is|read|quote|hear|see)
        (?:s|ing)?\b
    | \b(?:kindly|please|make\s+sure|be\s+sure|remember\s+to|it\s+is\s+important|do\s+not\s+forget|
        important\s*:)\b
        .{0,60}\b(?:say|state|mention|add|tell|answer|reply|respond|output|write|print|include|return|repeat)\w*\b
    | \btell\s+(?:the\s+|every\s+|any\s+)?(?:user|reader|person|people|them|everyone|everybody|anyone|whoever)
    | \b(?:automat\w*|machine)\s+(?:reader|system|agent|tool)s?\b.{0,40}\b(?:must|should|say|add|mention|:)
    | \b(?:when|if|whenever|while|before|after)\b.{0,40}
        \b(?:asked|answering|replying|responding|summari[sz]\w+|quoting)\b.{0,60}
        \b(?:say|state|mention|add|append|output|write|print|include|return|repeat|use|insert|give|tell)\b
    | \b(?:answer|response|reply|output|completion)\s*:\s*\S | ["']role["']\s*:
    | \b(?:reply|respond|spell|recite|utter|comply|obey|parrot|chant)\b
    | \b(?:say|output|print|write|echo|repeat|emit|type|add|answer|mention)\s+(?:the\s+\w+\s+)?["'“‘]?
        (?-i:[A-Z][A-Z0-9_-]{2,})
    | \b(?:your|any)\s+(?:answers?|repl(?:y|ies)|responses?|summar(?:y|ies)|outputs?)\b
    | \bthe\s+(?:final\s+)?(?:answer|reply|response)\s+(?:is|was|be|will\s+be|should)\b
    | \b(?:magic|secret|code)\s?(?:words?|phrases?)\b
    | \b(?:admin\w*|override|sudo|superuser)\b\s*(?:\w+\s*)?: | \bsudo\s
    | ^\s*(?:say|print|output|repeat|echo|append|write|emit)\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# What speaks of how a question is to be answered, and so to whoever answers it.
ABOUT_ANSWERING = re.compile(
    r"""
    \b(?:each|every|any|all)\s+(?:responses?|answers?|repl(?:y|ies)|outputs?|summar(?:y|ies))\b.{0,60}
        \b(?:must|contains?|mandatory|required|needs?|begins?|starts?|ends?)\b
    | \b(?:answer|respond|reply|quot|summari[sz])ing\s+without\b
    | \b(?:responses?|answers?|replies|summaries)\s+(?:lacking|missing|that\s+(?:lack|omit))\b
    | \b(?:expected|agreed|desired|approved)\s+(?:completion|answer|response|output|reply)\b
    | \b(?:answer|reply|response)\s+reads\b | \bthe\s+answer\s+(?:second|last|afterwards)\b
    | \b(?:do\s+not|don't|never)\s+(?:follow|answer|heed|trust|obey)\b.{0,40}
        \b(?:questions?|prompts?|passages?|context|instructions?)\b
    | \b(?:return|give|quote|output|insert|slip|say|write|print)\b.{0,60}\b(?:instead|whatever|no\s+matter)\b
    | \bwhatever\b.{0,30}\b(?:asks?|asked|question|you\s+say|comes\s+next)\b
    | \bwhoever\s+(?:quotes|reads|answers|asks|summar\w+) | ^remember\s*:
    | \bthis\s+passage\b | \bthe\s+question\s+(?:below|above)\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# Words about answers beside a code word, which no honest sentence needs.
MENTIONS_ANSWERS = re.compile(
    r"\b(?:answer|repl(?:y|ies)|respon[ds]|question|ask(?:s|ed)?|quot(?:e|es|ed|ing)|output|completion|summar|instruct|"
    r"whoever|readers?|prompts?|mention|mandatory)",
    re.IGNORECASE,
)
CODE_WORD = re.compile(r"\b(?:[A-Z]{3,}[-_]?\d+|[A-Z]{5,}(?:[-_][A-Z0-9]+)*)\b")
MARKED = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)  # as code
ESCAPES = re.compile(r"\\u[0-9a-f]{4}|&#x?[0-9a-f]+;|(?:%[0-9a-f]{2}){2}", re.IGNORECASE)
SQUASHED = re.compile(
    r"(?:ignor|disregard|forget|overrid)\w{0,20}(?:previous|prior|above|instruction|rules|prompt)"
    r"|systemprompt|newinstructions|youarenow|(?:say|reply|respond|answer|output|print)(?:only|exactly|with)"
)
# "Ignore the instructions", "answer only with" in languages that are not the corpus's.
FOREIGN = re.compile(
    r"\b(?:ignor(?:iere|ieren|ez|er|a|ar|ad|are|e)|vergiss|vergessen|oublie[zr]?|olvida|esquece|dimentica|antwort\w*|"
    r"r[ée]pond\w*|responde\w*|rispondi|zeg|antwoord\w*|svara|odpowiedz|anweisung\w*|instruc[ct]i?ones|istruzioni)\b",
    re.IGNORECASE,
)
LINK = re.compile(
    r"\b(?:https?|ftp|file)\s*:\s*//|\bjavascript\s*:|\bdata:\w+/|\bwww\.|!\[|\bhxxps?\b", re.IGNORECASE
)
LOCAL_LINK = re.compile(
    r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:/[\w./-]*)?(?=[\s.,:;)]|$)|https?://\.{3}"
)
BLOB = re.compile(r"\b[A-Za-z0-9+/]{24,}={0,2}|\b(?:[0-9a-f]{2}[\s\\x]*){20,}", re.IGNORECASE)
DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")
MOST_FOREIGN_LETTERS = 0.15
SPREAD = 5  # sentences that one instruction may be spread over
LONG = 6  # words of a sentence whose language can be told


def is_suspicious(text: str) -> bool:
    """Whether a text reads like an instruction to a model, carries a link away, or hides what it says.

    Args:
        text: a sentence, or some that follow one another.

    Returns:
        True for what is not to be quoted, nor put into a prompt.
    """
    shown = visible(text)
    if shown != unicodedata.normalize("NFKC", text).replace("\r", ""):
        return True  # something in it is not seen
    folded = unicodedata.normalize("NFD", shown.translate(LOOKALIKES))
    folded = "".join(one for one in folded if unicodedata.category(one) != "Mn")
    squashed = re.sub(r"[^a-z]", "", folded.lower())
    backwards = squashed[::-1]
    return bool(
        INSTRUCTIONS.search(shown)
        or INSTRUCTIONS.search(folded)
        or REQUESTS.search(shown)
        or ABOUT_ANSWERING.search(shown)
        or ESCAPES.search(shown)
        or SQUASHED.search(squashed)
        or SQUASHED.search(backwards)
        or FOREIGN.search(shown)
        or LINK.search(LOCAL_LINK.sub("", shown))
        or _is_encoded(DIGEST.sub("", shown))
        or _is_foreign(shown)
    )


def is_instruction(question: str) -> bool:
    """Whether an instruction was asked; a plain question may speak of assistants and answers."""
    hidden = visible(question) != unicodedata.normalize("NFKC", question)
    if hidden or not ASKS.match(question):
        return is_suspicious(question)
    squashed = re.sub(r"[^a-z]", "", question.lower())
    return bool(
        OVERRIDES.search(question)
        or SQUASHED.search(squashed)
        or FOREIGN.search(question)
        or LINK.search(question)
        or (
            CODE_WORD.search(question)
            and re.search(r"\b(?:say|print|reply|output)\b", question, re.IGNORECASE)
        )
    )


def strange_words(documents: Mapping[str, str]) -> frozenset[str]:
    """Words in capitals that one document alone uses, and not as code: no words of this project.

    An instruction that no pattern knows still has to name what is to be said.

    Args:
        documents: the texts of the corpus, by path.

    Returns:
        The words.
    """
    users: dict[str, set[str]] = {}
    for path, text in documents.items():
        for word in CODE_WORD.findall(text):
            users.setdefault(word, set()).add(path)
    return frozenset(
        word
        for word, paths in users.items()
        if len(paths) == 1 and word not in CODE_WORD.findall(" ".join(MARKED.findall(documents[min(paths)])))
    )


def clean(passage: Passage, strange: frozenset[str] = frozenset()) -> Passage | None:
    """A passage without its suspicious sentences.

    Args:
        passage: as it is in the index.
        strange: words that its sentences must not hold, see `strange_words`.

    Returns:
        What may be quoted and shown to a model; None where nothing is left.
    """
    kept = tuple(
        one
        for one, bad in zip(passage.sentences, _suspicious(passage.sentences), strict=True)
        if not bad and strange.isdisjoint(CODE_WORD.findall(one.text))
    )
    headings = f"{passage.title} {passage.heading}"
    if (
        not strange.isdisjoint(CODE_WORD.findall(headings))
        or is_suspicious(passage.heading)
        or is_suspicious(passage.title)
        or not kept
    ):
        return None
    return passage if len(kept) == len(passage.sentences) else replace(passage, sentences=kept)


def without_links(answer: str) -> str:
    """An answer of a model without images, links and marks that a page might follow."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", visible(answer))
    text = re.sub(r"<[^>]*>", " ", text)
    return re.sub(r"\b(?:https?|ftp|data|javascript|file)\s*:\S+|\bwww\.\S+", "", text).strip()


def _suspicious(of: Sequence[Sentence]) -> list[bool]:
    """Each sentence by itself, and with those that follow: an instruction may be spread over several."""
    found = [
        is_suspicious(one.text)
        or is_suspicious(one.context)
        or bool(MENTIONS_ANSWERS.search(one.text) and CODE_WORD.search(one.text))
        for one in of
    ]
    for n in range(len(of) - 1):
        if not found[n] and not found[n + 1] and is_suspicious(f"{of[n].text} {of[n + 1].text}"):
            found[n] = found[n + 1] = True
    for n in range(len(of)):
        spread = [_squashed(one.text) for one in of[n : n + SPREAD]]
        if SQUASHED.search("".join(spread)):
            found[n:] = [True] * len(found[n:])  # where it ends, nobody can tell
    return found


def _squashed(text: str) -> str:
    """The letters of a text alone, lookalikes read as what they look like."""
    return re.sub(r"[^a-z]", "", text.translate(LOOKALIKES).lower())


def _is_encoded(text: str) -> bool:
    """Whether a long blob decodes to readable text."""
    for blob in BLOB.findall(text):
        if re.fullmatch(r"[A-Za-z]+(?:/[A-Za-z]+)+", blob):
            continue  # a path
        if re.search(r"[a-z][A-Z]|[A-Z][a-z][A-Z]|=$", blob) or re.fullmatch(
            r"(?:[0-9a-fA-F]{2}[\s\\x]*)+", blob
        ):
            return True
        try:
            decoded = base64.b64decode(blob, validate=True)
        except (binascii.Error, ValueError):
            continue
        if decoded.isascii() and decoded.decode().isprintable():
            return True
    return False


def _is_foreign(text: str) -> bool:
    """Whether a text is in another script, or long and without a single English function word."""
    letters = [one for one in text if one.isalpha()]
    if letters and sum(not one.isascii() for one in letters) / len(letters) > MOST_FOREIGN_LETTERS:
        return True
    found = words(text)
    accented = any(one.isalpha() and not one.isascii() for one in text)
    return accented and len(found) >= LONG and not any(word in STOP_WORDS for word in found)
