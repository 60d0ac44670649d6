"""The folder that keeps runs, questions, and who works at what. Free of torch."""

from idim.store.claims import ROOM, Claim, Claims, Holder
from idim.store.files import write, write_json
from idim.store.folder import Store
from idim.store.index import Head

__all__ = ["ROOM", "Claim", "Claims", "Head", "Holder", "Store", "write", "write_json"]
