"""The subspace as a method of peft, by the rules of its tuners.

``config`` has what a user asks for, ``scope`` which weights that means in a model, ``layer`` the
subspace where peft looks for adapters, ``tuner`` what peft calls a tuner, and ``saving`` the way
from a trained subspace to a saved adapter. ``idim.peft_plugin`` makes them known to peft.
"""

# First of all, because peft's import calls for these files, through idim.peft_plugin.
import peft  # noqa: F401
