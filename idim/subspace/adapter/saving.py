"""From a trained subspace to a saved adapter."""

from __future__ import annotations

from typing import Any

from peft import TaskType, get_peft_model

from idim.subspace.adapter.config import SubspaceConfig
from idim.subspace.facade import Subspace


def save_subspace(sub: Subspace, folder: str) -> None:
    """Write a transformers model's trained subspace as an adapter.

    Args:
        sub: the subspace. Its model is then as it was before it was wrapped.
        folder: where to write.
    """
    model: Any = sub.model
    # peft has no type of task for images.
    kind = None if model.main_input_name == "pixel_values" else TaskType.SEQ_CLS
    if model.get_output_embeddings() is not None:
        kind = TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM
    config = SubspaceConfig(
        d=sub.d,
        projection=sub.projection.family,
        structure=sub.structure,
        scope=sub.scope,
        projection_seed=sub.projection.seed,
        task_type=kind,
    )
    trained = sub.state_dict()
    wrapped: Any = get_peft_model(sub.undo(), config)
    wrapped.base_model.held.sub.load_state_dict(trained, strict=False)
    wrapped.save_pretrained(folder)
    wrapped.unload()
