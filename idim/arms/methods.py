"""The methods that peft brings. One table, ``METHODS``, with one row a method.

A row names peft's configuration class and says what to put into it. Importing this loads neither
torch nor peft.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from idim.arms.base import RANK, Prior, Size
from idim.arms.dressing import (
    adalora,
    decoder,
    dylora,
    loraplus,
    past_taker,
    text_model,
    without_prompt,
)
from idim.arms.peft import Asked, Peft, PeftSettings
from idim.protocols import ALPHA, LORA_FACTOR
from idim.values import fields

#: How many times the rate of B is that of A, by default, in LoRA+.
_TIMES = 16.0


@dataclass(frozen=True)
class RankSettings(PeftSettings):
    rank: int = 0


@dataclass(frozen=True)
class LoraSettings(RankSettings):
    """``lora_alpha`` 0 is twice the rank, as records have it from before there was another."""

    lora_alpha: int = 0

    @property
    def alpha(self) -> int:
        """LoRA's alpha."""
        return self.lora_alpha or 2 * self.rank

    @property
    def rule(self) -> str:
        """How alpha follows from the rank, in words."""
        return f"alpha = {self.lora_alpha}" if self.lora_alpha else "alpha = 2 r"


@dataclass(frozen=True)
class TokensSettings(PeftSettings):
    tokens: int = 0


@dataclass(frozen=True)
class BottleneckSettings(PeftSettings):
    bottleneck: int = 0


@dataclass(frozen=True)
class FrequenciesSettings(PeftSettings):
    frequencies: int = 0


@dataclass(frozen=True)
class BasesSettings(PeftSettings):
    bases: int = 0


@dataclass(frozen=True)
class LengthSettings(PeftSettings):
    length: int = 0


def _lora(asked: Asked) -> dict[str, Any]:
    told = asked.settings
    return {"r": told.rank, "lora_alpha": told.alpha, "lora_dropout": 0.0}


def _alpha(values: Mapping[str, Any]) -> dict[str, Any]:
    """A fixed alpha, unless the user asked for twice the rank.

    With it the best rate hardly moves with the rank: as r^-.1 to r^+.1, where with twice the rank
    it falls as r^-.3 (results/ranks). A large one costs the smallest ranks part of what
    they can reach, and would make r90 too large.
    """
    twice = values.get("alpha_twice_rank")
    return {"lora_alpha": 0 if twice else values.get("lora_alpha") or ALPHA}


#: What is believed of LoRA's best rate where alpha is fixed, and where it is twice the rank.
_FIXED = Prior(0.0, 0.15, math.log(LORA_FACTOR), 0.7)
_TWICE = Prior(0.25, 0.25, math.log(LORA_FACTOR), 0.7)


def _believed(told: LoraSettings) -> Prior:
    return _FIXED if told.lora_alpha else _TWICE


#: LoRA, and what its kin change of it.
_LORA = Peft(
    name="lora",
    title="LoRA",
    about="W + B A of rank r, scaled by alpha / r (Hu et al. 2021). Output layers and fresh "
    "weights are trained freely, and counted.",
    source="Hu et al. 2021",
    config="LoraConfig",
    options=_lora,
    Settings=LoraSettings,
    size=RANK,
    largest=lambda facts: facts.width,
    factor=LORA_FACTOR,
    reads=_alpha,
    believed=_believed,
    rate_flag="lora_learning_rate",
    notes=lambda told: {"lora_alpha": told.alpha, "alpha_rule": told.rule},
    noted={"alpha_rule": fields.TEXT},
    variant=lambda told: f"alpha{told.lora_alpha}" if told.lora_alpha else "2r",
)
_PROMPT = Peft(
    name="prompttuning",
    title="Prompt tuning",
    about="Trained embeddings before the text (Lester et al. 2021). For text models.",
    source="Lester et al. 2021",
    config="PromptTuningConfig",
    options=lambda asked: {**text_model(asked), "num_virtual_tokens": asked.size},
    Settings=TokensSettings,
    size=Size("tokens", "p"),
    largest=lambda facts: 256,
    usual=(1, 4, 16, 64),
    factor=100.0,
    merges=False,
    adapts_modules=False,
    dress=without_prompt,
)
METHODS = (
    _LORA,
    dataclasses.replace(
        _LORA,
        name="rslora",
        title="rsLoRA",
        about="LoRA scaled by alpha / sqrt(r), so that its rate moves less with the rank "
        "(Kalajdzievski 2023).",
        source="Kalajdzievski 2023",
        options=lambda asked: {**_lora(asked), "use_rslora": True},
        notes=lambda told: {"lora_alpha": told.alpha, "alpha_rule": f"{told.rule}, over sqrt(r)"},
    ),
    dataclasses.replace(
        _LORA,
        name="loraplus",
        title="LoRA+",
        about=f"LoRA whose B is trained at {_TIMES:g} times the rate of A (Hayou et al. 2024).",
        source="Hayou et al. 2024",
        dress=lambda wrapped, asked, adapted: loraplus(adapted, wrapped, _TIMES),
        # The rate is A's, and B moves most.
        factor=LORA_FACTOR / 4,
        believed=lambda told: dataclasses.replace(
            _believed(told), offset=math.log(LORA_FACTOR / 4), offset_spread=1.0
        ),
    ),
    dataclasses.replace(
        _LORA,
        name="dora",
        title="DoRA",
        about="LoRA on the direction of each weight, beside its trained length (Liu et al. 2024).",
        source="Liu et al. 2024",
        options=lambda asked: {**_lora(asked), "use_dora": True},
    ),
    dataclasses.replace(
        _LORA,
        name="adalora",
        title="AdaLoRA",
        about="LoRA as P Lambda Q. It starts at 1.5 times the rank, and gives up the least "
        "important singular values while it trains (Zhang et al. 2023).",
        source="Zhang et al. 2023",
        config="AdaLoraConfig",
        options=lambda asked: {
            "init_r": math.ceil(1.5 * asked.size),
            "target_r": asked.size,
            "lora_alpha": asked.settings.alpha,
            "lora_dropout": 0.0,
            "total_step": 1,  # until the loop says how many there are
        },
        dress=adalora,
    ),
    dataclasses.replace(
        _LORA,
        name="qlora",
        title="QLoRA",
        about="LoRA on weights of four bits (Dettmers et al. 2023). Needs bitsandbytes.",
        source="Dettmers et al. 2023",
        prepare=lambda asked: _four_bit(asked),
        # A sum would have to be rounded to four bits again.
        merges=False,
    ),
    dataclasses.replace(
        _LORA,
        name="dylora",
        title="DyLoRA",
        about="LoRA that trains at ranks drawn anew for each batch. One run is scored at every "
        "rank up to its own (Valipour et al. 2023).",
        source="Valipour et al. 2023",
        # One alpha for all ranks, as one run serves them all.
        dress=dylora,
    ),
    dataclasses.replace(
        _LORA,
        name="longlora",
        title="LongLoRA",
        about="LoRA with trained embeddings and norms, and shifted sparse attention while it "
        "trains (Chen et al. 2024). For decoders.",
        source="Chen et al. 2024",
        prepare=lambda asked: _shifted(asked),
        whole=lambda model: [*_embeddings(model), *_norms(model)],
    ),
    Peft(
        name="ia3",
        title="(IA)3",
        about="A factor for each output of a layer (Liu et al. 2022).",
        source="Liu et al. 2022",
        config="IA3Config",
        options=lambda asked: {"feedforward_modules": [] if asked.targets else None},
        factor=100.0,
    ),
    Peft(
        name="vera",
        title="VeRA",
        about="LoRA's factors are random, shared and frozen, and only scaled (Kopiczko et al. "
        "2024). For targets of one shape.",
        source="Kopiczko et al. 2024",
        config="VeraConfig",
        options=lambda asked: {"r": asked.size, "projection_prng_key": asked.seed},
        Settings=RankSettings,
        size=RANK,
        largest=lambda facts: 4 * facts.width,
        usual=(1, 4, 16, 64, 256),
        factor=100.0,
    ),
    Peft(
        name="fourierft",
        title="FourierFT",
        about="Each weight moves by f entries of its discrete Fourier transform (Gao et al. 2024).",
        source="Gao et al. 2024",
        config="FourierFTConfig",
        options=lambda asked: {
            "n_frequency": asked.size,
            "random_loc_seed": asked.seed,
            "init_weights": True,  # zero, so that it starts at the model
        },
        Settings=FrequenciesSettings,
        size=Size("frequencies", "f"),
        largest=lambda facts: facts.width**2,
        usual=(10, 50, 200, 1000),
        factor=1000.0,
    ),
    Peft(
        name="randlora",
        title="RandLoRA",
        about="A sum of scaled random bases of low rank, which together have full rank (Albert et "
        "al. 2025).",
        source="Albert et al. 2025",
        config="RandLoraConfig",
        # More bases of a smaller rank are more numbers to train.
        options=lambda asked: {
            "r": max(1, round(_width(asked) / asked.size)),
            "randlora_alpha": 20 * max(1, round(_width(asked) / asked.size)),
            "projection_prng_key": asked.seed,
        },
        Settings=BasesSettings,
        size=Size("bases", "s"),
        largest=lambda facts: facts.width,
        factor=10.0,
    ),
    Peft(
        name="unilora",
        title="Uni-LoRA",
        about="All of LoRA's factors are read from one trained vector (Li et al. 2025).",
        source="Li et al. 2025",
        config="UniLoraConfig",
        options=lambda asked: {"r": 4, "theta_d_length": asked.size, "proj_seed": asked.seed},
        Settings=LengthSettings,
        size=Size("length", "l"),
        largest=lambda facts: 8 * facts.width * max(1, facts.depth),
        usual=(64, 256, 1024, 4096),
        factor=100.0,
    ),
    Peft(
        name="tinylora",
        title="TinyLoRA",
        about="The weights' singular directions of rank 2 are moved by u numbers a layer, through "
        "random matrices (2026).",
        source="TinyLoRA 2026",
        config="TinyLoraConfig",
        options=lambda asked: {"r": 2, "u": asked.size, "projection_seed": asked.seed},
        Settings=LengthSettings,
        size=Size("length", "u"),
        largest=lambda facts: facts.width,
        usual=(1, 4, 16, 64),
        factor=100.0,
    ),
    Peft(
        name="norms",
        title="Norms",
        about="Only the normalising layers are trained, and the head (Zhao et al. 2024).",
        source="Zhao et al. 2024",
        config="LNTuningConfig",
        own_targets=lambda model: _norms(model),
        factor=10.0,
    ),
    Peft(
        name="bottleneck",
        title="Adapters",
        about="A small net with a bottleneck after each part of a layer (Houlsby et al. 2019).",
        source="Houlsby et al. 2019",
        config="BottleneckConfig",
        module="idim.tuners.bottleneck",
        options=lambda asked: {"width": asked.size},
        Settings=BottleneckSettings,
        size=Size("bottleneck", "b"),
        largest=lambda facts: facts.width,
        factor=10.0,
        merges=False,
        own_targets=lambda model: _sublayers(model),
    ),
    _PROMPT,
    dataclasses.replace(
        _PROMPT,
        name="ptuning",
        title="P-tuning",
        about="Embeddings before the text, made by a trained net (Liu et al. 2021).",
        source="Liu et al. 2021",
        config="PromptEncoderConfig",
        factor=10.0,
    ),
    dataclasses.replace(
        _PROMPT,
        name="prefixtuning",
        title="Prefix tuning",
        about="Trained keys and values before every layer's own (Li & Liang 2021), trained "
        "directly.",
        source="Li & Liang 2021",
        config="PrefixTuningConfig",
        options=lambda asked: {**past_taker(asked), "num_virtual_tokens": asked.size},
    ),
    dataclasses.replace(
        _PROMPT,
        name="prefixmlp",
        title="Prefix tuning, MLP",
        about="Prefix tuning whose keys and values are made by a trained net (Li & Liang 2021).",
        source="Li & Liang 2021",
        config="PrefixTuningConfig",
        options=lambda asked: {
            **past_taker(asked),
            "num_virtual_tokens": asked.size,
            "prefix_projection": True,
            "encoder_hidden_size": _hidden(asked.model),
        },
        factor=10.0,
    ),
    dataclasses.replace(
        _PROMPT,
        name="llamaadapter",
        title="LLaMA-Adapter",
        about="Prompts in the upper layers behind a gate that starts at zero (Zhang et al. 2023). "
        "For decoders that peft knows.",
        source="Zhang et al. 2023",
        config="AdaptionPromptConfig",
        options=lambda asked: {
            **decoder(asked),
            "adapter_len": asked.size,
            "adapter_layers": _upper(asked.model),
        },
        dress=lambda wrapped, asked, adapted: None,
    ),
)


def _four_bit(asked: Asked) -> None:
    from idim.tuners.four_bit import quantise

    quantise(asked.model, asked.targets)


def _shifted(asked: Asked) -> None:
    from idim.tuners.shifted import shift

    shift(asked.model)


def _norms(model: Any) -> list[str]:
    return [n for n, m in model.named_modules() if type(m).__name__.lower().endswith("norm")]


def _hidden(model: Any) -> int:
    size: int = model.config.hidden_size
    return size


def _embeddings(model: Any) -> list[str]:
    from torch import nn

    return [name for name, part in model.named_modules() if isinstance(part, nn.Embedding)]


def _sublayers(model: Any) -> list[str]:
    from idim import models

    return models.sublayers(model)


def _width(asked: Asked) -> int:
    """The smaller side of the largest weight that is adapted. Targets are ends of names."""
    ends = tuple(f".{name}" for name in asked.targets)
    found = [part for name, part in asked.model.named_modules() if f".{name}".endswith(ends)]
    weights = [part.weight for part in found if hasattr(part, "weight")]
    return max((min(int(side) for side in w.shape) for w in weights), default=1)


def _upper(model: Any) -> int:
    """Half of its layers, at least one."""
    from idim import models

    return max(1, len(models.blocks(model)) // 2)
