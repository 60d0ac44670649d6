"""A model whose only trainable state is theta, and the structure-aware scales.

``facade`` has ``Subspace``, the one public class. Its parts, one a file:

- ``choice``: which weights move;
- ``point``: where in the subspace the weights are;
- ``weights``: forms ``theta_0 + scale * P theta`` in place;
- ``gradients``: folds the weights' gradients into theta's;
- ``hooks``: calls both around the model's passes;
- ``watched``: gives every other reader of a weight the right numbers;
- ``embeddings``: forms only the rows of a table that are looked up;
- ``lean``: forms the weights of a block only while it runs;
- ``loaded``: refuses weights that are copied in and are not what theta makes of theta_0;
- ``mapped``: leaves theta_0 to the file that it is mapped from;
- ``buffers``: what training moves beside the weights;
- ``saved``: what a state dictionary holds;
- ``copies``: what copies and pickles of a wrapped model leave out;
- ``measures``: how far the weights moved.

``adapter`` makes the same a method of peft. It is imported only where peft is.
"""

from idim.subspace.embeddings import owners
from idim.subspace.facade import Subspace, rewrapped

#: The name in pickles that older versions wrote.
_rewrapped = rewrapped

__all__ = ["Subspace", "owners"]
