"""The families, one a file.

``KINDS`` is the table. A new family is one file and one line here. The laws in
``tests/test_projections.py`` run over the table, so the family inherits every test.
"""

from __future__ import annotations

from types import MappingProxyType

from projections.base import Projection
from projections.families.dense import Dense
from projections.families.fastfood import Fastfood
from projections.families.fastfood_whole import FastfoodWhole
from projections.families.lineage import LineageFastfood
from projections.families.onehot import OneHot
from projections.families.orthonormal import Orthonormal
from projections.families.sparse import Sparse

#: From a family's name to its class.
KINDS: MappingProxyType[str, type[Projection]] = MappingProxyType(
    {kind.family: kind for kind in (Dense, Sparse, Fastfood, FastfoodWhole, Orthonormal, OneHot)}
)
#: Kept to redo published numbers. The laws do not hold for it, so it is not among the families.
FLAWED: MappingProxyType[str, type[Projection]] = MappingProxyType(
    {LineageFastfood.family: LineageFastfood}
)
