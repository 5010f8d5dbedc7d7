"""`make size`: the numbers in the manifests, and in docs/kubernetes.md."""

import sys

from core.contract import load_contract
from core.errors import UserError
from core.files import write_between
from core.settings import ROOT
from sizing.assumptions import ASSUMPTIONS, PRICES, Assumptions, Prices, read
from sizing.capacity import read_capacity
from sizing.cost import costs
from sizing.manifests import patches, write
from sizing.plan import plan
from sizing.words import told

PAGE = ROOT / "docs" / "kubernetes.md"


def sized() -> tuple[dict[str, str], str]:
    """The patches of the manifests, and the page's part."""
    contract, capacity = load_contract(), read_capacity()
    assumed, prices = read(Assumptions, ASSUMPTIONS), read(Prices, PRICES)
    chosen = plan(contract, capacity, assumed)
    found = costs(contract, chosen, capacity, assumed, prices)
    return patches(contract, chosen, assumed), told(contract, capacity, chosen, assumed, found, prices)


def size() -> str:
    """Write the manifests' numbers and the page's part, which is returned."""
    texts, text = sized()
    write(texts)
    write_between(PAGE, "sized", text)
    return text


def main() -> None:
    """Size, write and tell."""
    try:
        print(size())  # noqa: T201 (for a person)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
