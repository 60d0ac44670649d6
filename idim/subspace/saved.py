"""What a subspace's state dictionary holds beside theta and the scales.

These are starting weights that the model on disk lacks, and buffers that training moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from idim.subspace.buffers import Buffers

_START, _BUFFER = "fresh_", "buffer_"


def _key(kind: str, name: str) -> str:
    # A dot in a key would be taken for a module's.
    return kind + name.replace(".", "__")


def is_buffer(key: str) -> bool:
    """Whether this key of a state dictionary is a buffer's, which may be absent."""
    return key.startswith(_BUFFER)


def extras(
    starts: Mapping[str, torch.Tensor], buffers: Buffers, fresh: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """What is saved beside theta and the scales.

    Args:
        starts: theta_0 of fresh weights, by name.
        buffers: of the model. Saved are those that moved.
        fresh: names of buffers that are saved in any case.
    """
    moved = buffers.moved()
    return {_key(_START, name): x for name, x in starts.items()} | {
        _key(_BUFFER, name): x
        for name, x in buffers.kept().items()
        if name in moved or name in fresh
    }


def load(
    state_dict: Mapping[str, torch.Tensor],
    prefix: str,
    starts: Mapping[str, torch.Tensor],
    buffers: Buffers,
    write: Callable[[], None],
    missing_keys: list[str],
    error_msgs: list[str],
) -> dict[str, torch.Tensor]:
    """Read what ``extras`` saved into its places.

    Args:
        state_dict, prefix, missing_keys, error_msgs: as torch gives them to a module that loads.
        starts: the memory of theta_0 of fresh weights, by name.
        buffers: of the model. Those that the file lacks had not moved.
        write: called before theta_0 is written to.

    Returns:
        The rest of the state dictionary.
    """
    places = {prefix + _key(_START, name): x for name, x in starts.items()}
    moved = {prefix + _key(_BUFFER, name): name for name in buffers.names}
    if prefix + "theta" in state_dict:
        buffers.restore()
    buffers.put({name: state_dict[key] for key, name in moved.items() if key in state_dict})
    for key, place in places.items():
        if key not in state_dict:
            missing_keys.append(key)
        elif state_dict[key].shape != place.shape:
            error_msgs.append(
                f"{key}: expected shape {tuple(place.shape)}; got {tuple(state_dict[key].shape)}"
            )
        else:
            write()
            with torch.no_grad():
                place.copy_(state_dict[key])
    return {key: x for key, x in state_dict.items() if key not in places and key not in moved}
