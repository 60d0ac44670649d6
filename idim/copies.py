"""Where pickles that older versions wrote look for a hook."""

from idim.subspace.copies import Hook

__all__ = ["Hook"]
