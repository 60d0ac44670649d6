"""What some methods need beside peft's configuration: rates, hooks of the loop, kinds of model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted
from idim.arms.peft import Asked
from idim.errors import expected

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Of AdaLoRA's steps: the first at full rank, and the last at the rank that is asked for.
_FIRST, _LAST = 0.1, 0.3


def text_model(asked: Asked) -> dict[str, Any]:
    """The kind of task, which peft's prompt methods must be told.

    Raises:
        IdimError: the model is none for text. Or it is a decoder that classifies: peft gives it
            embeddings in place of tokens, and it then reads the padding of a shorter text.
    """
    from peft import TaskType
    from transformers import PreTrainedModel

    model = asked.model
    if not isinstance(model, PreTrainedModel) or model.main_input_name != "input_ids":
        raise expected("model", "a transformers model for text", type(model).__name__)
    if model.get_output_embeddings() is not None:
        both = model.config.is_encoder_decoder
        return {"task_type": TaskType.SEQ_2_SEQ_LM if both else TaskType.CAUSAL_LM}
    if hasattr(model, "score"):
        raise expected(
            "model",
            "an encoder or a language model: a decoder that classifies would read the padding "
            "behind a prompt",
            type(model).__name__,
        )
    return {"task_type": TaskType.SEQ_CLS}


def past_taker(asked: Asked) -> dict[str, Any]:
    """The kind of task, for a method that puts keys and values before a layer's own.

    Raises:
        IdimError: the model is an encoder: those of transformers take no keys and values.
    """
    from peft import TaskType

    told = text_model(asked)
    if told["task_type"] == TaskType.SEQ_CLS:
        raise expected(
            "model",
            "a language model: encoders of transformers take no keys and values of others",
            type(asked.model).__name__,
        )
    return told


def decoder(asked: Asked) -> dict[str, Any]:
    """The kind of task, for a method of decoders alone.

    Raises:
        IdimError: the model is no decoder.
    """
    from peft import TaskType

    told = text_model(asked)
    if told["task_type"] != TaskType.CAUSAL_LM:
        raise expected("model", "a decoder", type(asked.model).__name__)
    return told


def loraplus(adapted: Adapted, wrapped: nn.Module, times: float) -> None:
    """B is trained at ``times`` the rate of A, and the head at that of A."""
    (group,) = adapted.groups
    names = {id(p): name for name, p in wrapped.named_parameters()}
    upper = tuple(p for p in group.params if "lora_B" in names[id(p)])
    lower = tuple(p for p in group.params if "lora_B" not in names[id(p)])
    adapted.groups = (
        dataclasses.replace(group, name="A", params=lower),
        dataclasses.replace(group, name="B", params=upper, rate_factor=times),
    )
    adapted.info["rate_of_b"] = times


def adalora(wrapped: Any, asked: Asked, adapted: Adapted) -> None:
    """Gives up ranks as the training goes, and keeps the factors near orthogonal."""
    import torch

    config, tuner = wrapped.peft_config["default"], wrapped.base_model
    factors = [p for name, p in wrapped.named_parameters() if "lora_A" in name or "lora_B" in name]

    def begin(steps: int) -> None:
        config.total_step = steps
        config.tinit, config.tfinal = int(_FIRST * steps), int(_LAST * steps)

    def penalty() -> torch.Tensor:
        # peft adds it to a loss that the model computes itself. Ours is computed outside.
        parts = []
        for p in factors:
            gram = p @ p.T if p.shape[0] < p.shape[1] else p.T @ p
            parts.append(torch.linalg.norm(gram - torch.eye(len(gram), device=p.device)))
        mean: torch.Tensor = config.orth_reg_weight * torch.stack(parts).mean()
        return mean

    adapted.begin, adapted.penalty = begin, penalty
    adapted.after_step = tuner.update_and_allocate


def without_prompt(wrapped: Any, asked: Asked, adapted: Adapted) -> None:
    """A decoder's logits are those of the text alone, without the prompt's."""
    from peft import TaskType

    if wrapped.peft_config["default"].task_type != TaskType.CAUSAL_LM:
        return

    def text_alone(module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        out.logits = out.logits[:, out.logits.shape[1] - ids.shape[1] :]
        return out

    wrapped.register_forward_hook(text_alone, with_kwargs=True)


def dylora(wrapped: Any, asked: Asked, adapted: Adapted) -> None:
    """Every rank up to the largest works by itself, and is scored at the end."""
    from idim.tuners.dylora import Ranks

    ranks = Ranks(wrapped, asked.size, asked.seed)
    # Powers of two, and the largest.
    below = (2**i for i in range(asked.size.bit_length()))
    adapted.sizes = tuple(sorted({*(r for r in below if r <= asked.size), asked.size}))
    adapted.set_size = ranks.set_rank
