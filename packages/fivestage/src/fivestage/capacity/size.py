"""`make size`: write the sizes of the deployment to the manifests and to docs/kubernetes.md."""

from fivestage.capacity.assumptions import ASSUMPTIONS, PRICES, Assumptions, Prices, read
from fivestage.capacity.cost import costs
from fivestage.capacity.measured import read_capacity
from fivestage.capacity.patches import patches, write
from fivestage.capacity.plan import plan
from fivestage.capacity.plan_page import plan_page
from fivestage.common.files import write_between
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract

PAGE = ROOT / "docs" / "kubernetes.md"


def sized(contract: Contract) -> tuple[dict[str, str], str]:
    """Return the patches of the manifests by path, and the section of the page."""
    capacity = read_capacity()
    assumed, prices = read(Assumptions, ASSUMPTIONS), read(Prices, PRICES)
    chosen = plan(contract, capacity, assumed)
    monthly = costs(contract, chosen, capacity, assumed, prices)
    return patches(contract, chosen, assumed), plan_page(contract, capacity, chosen, assumed, monthly, prices)


def size(contract: Contract) -> str:
    """Compute a plan, write it to the manifests and the page, and return the section of the page.

    Raise a `UserError` if no plan meets the objectives, or a file cannot be read or written.
    """
    texts, text = sized(contract)
    write(texts)
    write_between(PAGE, "sized", text)
    return text
