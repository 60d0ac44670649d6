"""How our own code reads and writes weights: past every watch, gradient and transform."""

from __future__ import annotations

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


class by_our_hand:  # read as a word, like torch.no_grad
    """Let weights be read and written as they are, by code that knows what their memory holds.

    What is made in here can be trained with, also where the caller is in inference mode, and is a
    plain tensor, also where the caller is in a transform of ``torch.func``. It is
    ``inference_mode(False)``, ``no_grad`` and ``DisableTorchFunctionSubclass`` in one. A step
    enters it often, and theirs take ten times as many calls.
    """

    __slots__ = ("_inference", "_outside", "_plain")

    def __enter__(self) -> None:
        self._outside = None
        if torch._C._functorch.peek_interpreter_stack() is not None:
            self._outside = temporarily_clear_interpreter_stack()
            self._outside.__enter__()
        self._inference = torch._C._InferenceMode(False)
        self._inference.__enter__()
        torch._C._set_grad_enabled(False)  # put back by the line above, when it ends
        self._plain = torch._C.DisableTorchFunctionSubclass()
        self._plain.__enter__()

    def __exit__(self, *error: object) -> None:
        self._plain.__exit__(None, None, None)
        self._inference.__exit__(None, None, None)
        if self._outside is not None:
            self._outside.__exit__(None, None, None)
