"""A fake `gh` with the commands that we use, and its state in the file that FAKE_GH names."""

import json
import os
import sys
from pathlib import Path
from typing import Any

STATE = Path(os.environ["FAKE_GH"])


def option(words: list[str], name: str) -> str:
    """The word after an option; "" without it."""
    return words[words.index(name) + 1] if name in words else ""


def body(words: list[str], *, old: str = "") -> str:
    """The text given on standard input, if it was asked to be read."""
    return sys.stdin.read() if option(words, "--body-file") == "-" else old


def listed(things: list[dict[str, Any]], words: list[str]) -> str:
    """The open ones with the label."""
    wanted = [
        {name: one[name] for name in option(words, "--json").split(",")}
        for one in things
        if one["open"] and one["label"] == option(words, "--label")
    ]
    return json.dumps(wanted)


def change(things: list[dict[str, Any]], verb: str, words: list[str]) -> str:
    """Create, edit, comment on or close one."""
    if verb == "create":
        told = {"title": option(words, "--title"), "label": option(words, "--label")}
        new = {"number": len(things) + 1, "open": True, "comments": [], "body": body(words), **told}
        things.append(new)
        return f"https://github.example/{new['number']}"
    one = things[int(words[0]) - 1]
    if verb == "edit":
        one |= {"title": option(words, "--title"), "body": body(words, old=one["body"])}
    if verb == "comment":
        one["comments"].append(option(words, "--body"))
    if verb == "close":
        one["open"] = False
    return ""


def main(words: list[str]) -> int:
    """Answer as GitHub would; what we do not use is an error."""
    state = json.loads(STATE.read_text()) if STATE.exists() else {"issue": [], "other": []}
    kind, verb, *rest = words
    if (kind, verb) == ("issue", "list"):
        sys.stdout.write(listed(state["issue"], rest))
    elif kind == "issue" and verb in ("create", "edit", "comment", "close"):
        sys.stdout.write(change(state["issue"], verb, rest))
    elif (kind, verb) in (("label", "create"), ("workflow", "run"), ("attestation", "verify")):
        state["other"].append(words)
    else:
        sys.stderr.write(f"unknown: gh {' '.join(words)}")
        return 1
    STATE.write_text(json.dumps(state))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
