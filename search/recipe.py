"""How a network is trained: a recipe, which is a TOML file. docs/training.md is its reference."""

from __future__ import annotations

import math
import types
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from latlas.profiler.errors import SearchError
from latlas.profiler.files import read_bounded
from latlas.profiler.toml_text import read_toml

MAX_BYTES = 1 << 16
"""No recipe is longer."""


@dataclass(frozen=True)
class Optimizer:
    """Which optimiser changes the weights.

    Attributes:
        kind: of Keras.
        momentum: of ``sgd`` and ``rmsprop``.
        nesterov: whether the momentum of ``sgd`` looks ahead.
        decay: of the mean of squared gradients: rho of ``rmsprop``, beta 2 of ``adam``.
        epsilon: added to its root, of ``rmsprop`` and ``adam``.
        weight_decay: L2 on kernels, as part of the gradient; batch norm and biases go without.
        clip_norm: largest norm of all gradients together; 0 is no limit.
    """

    kind: Literal["sgd", "rmsprop", "adam"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    decay: float = 0.9
    epsilon: float = 1e-3
    weight_decay: float = 0.0
    clip_norm: float = 0.0


@dataclass(frozen=True)
class LearningRate:
    """How the learning rate goes.

    Attributes:
        value: for batches of `per` images; it is scaled to the batch size.
        per: images that `value` is for; 0: whatever the batch size.
        schedule: after the warm-up.
        warmup_epochs: epochs in which it grows evenly from 0.
        factor: of ``exponential``: what it is multiplied by, in steps …
        every_epochs: … of so many epochs.
    """

    value: float = 0.05
    per: int = 256
    schedule: Literal["constant", "cosine", "exponential"] = "cosine"
    warmup_epochs: float = 0.0
    factor: float = 0.97
    every_epochs: float = 2.4


@dataclass(frozen=True)
class DropPathRate:
    """How often branches are dropped.

    Attributes:
        rate: of the last branch; those before have less, evenly (1 - k of NASNet).
        schedule: ``scheduled`` grows from 0 over the whole training (ScheduledDropPath).
    """

    rate: float = 0.0
    schedule: Literal["constant", "scheduled"] = "constant"


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        crop: ``pad``: a random part of the image between zeros; ``resized``: a random part of
            random shape, enlarged (Szegedy et al. 2015).
        padding: zeros on every side of ``pad``, in pixels.
        area: least share of the image that ``resized`` keeps.
        flip: whether half of the images are mirrored.
        cutout: side of the square that is blanked (DeVries and Taylor 2017), in pixels; 0: none.
    """

    crop: Literal["none", "pad", "resized"] = "none"
    padding: int = 4
    area: float = 0.08
    flip: bool = False
    cutout: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of an update.
        label_smoothing: share of a label that all classes get.
        dropout: rate before the last layer; unset: what the network says.
        ema: decay of the moving average of weights that is scored; 0: the weights themselves.
        batch_norm_momentum: share of old statistics that batch norm keeps at every step.
        recalibration_images: training images that batch norm takes its statistics from before the
            network is scored; 0: those of training are used.
        resolution: height and width at which a search trains; unset: the space's.
        width: factor of the channels of what a search trains; unset: the space's.
        optimizer, learning_rate, drop_path, augmentation: tables of their own.

    >>> load_recipe("mnasnet_imagenet").optimizer.kind
    'rmsprop'
    """

    epochs: int = 10
    batch_size: int = 64
    label_smoothing: float = 0.0
    dropout: float | None = None
    ema: float = 0.0
    batch_norm_momentum: float = 0.99
    recalibration_images: int = 1024
    resolution: int | None = None
    width: float | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    learning_rate: LearningRate = field(default_factory=LearningRate)
    drop_path: DropPathRate = field(default_factory=DropPathRate)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name, (low, high) in _BOUNDS.items():
            value: Any = self
            for part in name.split("."):
                value = getattr(value, part)
            if value is not None and not low <= value <= high:
                raise SearchError(f"{name} of a recipe is {low} to {high}, not {value}")

    @property
    def identity(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of an update, counted from 0.

        >>> recipe = Recipe(epochs=2, batch_size=256)
        >>> recipe.rate(0, 10), round(recipe.rate(10, 10), 6)
        (0.05, 0.025)
        """
        rate, settings = self.learning_rate.value, self.learning_rate
        if settings.per:
            rate *= self.batch_size / settings.per
        epoch = step / steps_per_epoch
        if epoch < settings.warmup_epochs:
            return rate * (step + 1) / math.ceil(settings.warmup_epochs * steps_per_epoch)
        if settings.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / self.epochs)))
        if settings.schedule == "exponential":
            return rate * settings.factor ** int(epoch / settings.every_epochs)
        return rate

    def drop_path_share(self, step: int, steps_per_epoch: int) -> float:
        """Return which share of the rates of drop path holds in an update, counted from 0.

        ScheduledDropPath grows evenly until training ends (NASNet, as slim has it).

        >>> recipe = Recipe(epochs=2, drop_path=DropPathRate(0.4, "scheduled"))
        >>> [recipe.drop_path_share(step, 10) for step in (0, 10, 20)]
        [0.0, 0.5, 1.0]
        """
        if self.drop_path.schedule != "scheduled":
            return 1.0
        return min(1.0, step / (self.epochs * steps_per_epoch))


_BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 1 << 16),
    "label_smoothing": (0, 0.9),
    "dropout": (0, 0.99),
    "ema": (0, 0.999999),
    "batch_norm_momentum": (0, 0.9999),
    "recalibration_images": (0, 1 << 20),
    "resolution": (8, 2048),
    "width": (0.01, 16),
    "optimizer.momentum": (0, 0.9999),
    "optimizer.decay": (0, 0.99999),
    "optimizer.epsilon": (1e-12, 10),
    "optimizer.weight_decay": (0, 1),
    "optimizer.clip_norm": (0, 1e6),
    "learning_rate.value": (1e-9, 100),
    "learning_rate.per": (0, 1 << 16),
    "learning_rate.warmup_epochs": (0, 100_000),
    "learning_rate.factor": (1e-6, 1),
    "learning_rate.every_epochs": (1e-3, 100_000),
    "drop_path.rate": (0, 0.95),
    "augmentation.padding": (0, 512),
    "augmentation.area": (1e-3, 1),
    "augmentation.cutout": (0, 512),
}


def load_recipe(name: str) -> Recipe:
    """Return a recipe that comes with latlas, or that of a file whose name ends in ``.toml``.

    Raises:
        SearchError: there is no such recipe, or the file is not one.
    """
    if not name.endswith(".toml"):
        if name not in recipe_names():
            raise SearchError(
                f"no recipe {name!r}; there are {', '.join(recipe_names())}, and files ending in "
                ".toml"
            )
        text = (resources.files("latlas.search") / "recipes" / f"{name}.toml").read_text("utf-8")
        return parse_recipe(text, name)
    data = read_bounded(Path(name), "the TOML file of a recipe", MAX_BYTES, SearchError)
    try:
        return parse_recipe(data.decode(), name)
    except ValueError as problem:
        raise SearchError(f"{name}: not TOML: {problem}") from problem


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with latlas.

    >>> recipe_names()
    ('digits', 'mnasnet_imagenet', 'nasnet_cifar', 'ssdlite_coco')
    """
    folder = resources.files("latlas.search") / "recipes"
    names = [entry.name.removesuffix(".toml") for entry in folder.iterdir()]
    return tuple(sorted(name for name in names if name.isidentifier() and name != "__pycache__"))


def parse_recipe(text: str, name: str = "recipe") -> Recipe:
    """Read a recipe; what it leaves out has the defaults of `Recipe`.

    Raises:
        SearchError: the text is no TOML, or has an unknown key or a value that does not fit.

    >>> parse_recipe('epochs = 3').epochs
    3
    """
    recipe = _read(Recipe, read_toml(text, name, MAX_BYTES, SearchError), name)
    assert isinstance(recipe, Recipe)
    return recipe


def _read(kind: Any, given: dict[str, Any], where: str) -> Any:
    known = [one.name for one in fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise SearchError(
            f"{where} has the unknown key {unknown[0][:60]!r}; known are {', '.join(known)}"
        )
    hints = get_type_hints(kind)
    return kind(
        **{key: _value(hints[key], value, f"{where}: {key}") for key, value in given.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is types.UnionType:
        hint = get_args(hint)[0]
    if is_dataclass(hint):
        if isinstance(value, dict):
            return _read(hint, value, where)
        expected = "a table"
    elif get_origin(hint) is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
        expected = "one of " + ", ".join(map(repr, get_args(hint)))
    elif hint is bool:
        if isinstance(value, bool):
            return value
        expected = "true or false"
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return hint(value)
    elif hint is float and isinstance(value, float) and math.isfinite(value):
        return value
    else:
        expected = "a whole number" if hint is int else "a number"
    raise SearchError(f"{where} is {expected}, not {str(value)[:60]!r}")
