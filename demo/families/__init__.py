"""The four kinds of picture that the demo model reads, under the names that code and JSON use."""

from collections.abc import Mapping

from demo.families import board, document, order, waybill
from demo.families.family import Family

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (order.FAMILY, waybill.FAMILY, board.FAMILY, document.FAMILY)
}

SIZES = ((336, 252), (308, 308), (364, 280), (392, 308))
"""Width and height of the plain pictures; sides are multiples of 28, so that the model sees them as they are."""
