"""How a supernet is trained."""

from __future__ import annotations

from dataclasses import dataclass

from latlas.profiler.errors import SearchError


@dataclass(frozen=True)
class SupernetConfig:
    """How a supernet is trained. The defaults are for digits in about a minute on two cores.

    Attributes:
        epochs: passes over the training images (MoGA, unverified: 150, on ImageNet).
        batch_size: images of one path.
        learning_rate: at the start of the cosine (MoGA, unverified: 0.045).
        momentum: of SGD.
        warmup_steps: steps in which the learning rate grows to its value.
        clip_norm: largest norm of the summed gradients of a step; 0 is no limit.
        same_batch: whether the paths of a step share one batch or have one each. FairNAS' caption
            can be read either way; shared is faster, since the stem runs once.
        paths_per_call: how many paths of a step run side by side, at most. Results are the same for
            all, fewer take less memory.
        residual_gamma: what scales branches beside a residual at the start.
        calibration_images: training images, drawn once, that batch norm takes its statistics from
            when an architecture is evaluated.
        seed: of weights, paths and batches.
    """

    epochs: int = 6
    batch_size: int = 48
    learning_rate: float = 0.06
    momentum: float = 0.9
    warmup_steps: int = 10
    clip_norm: float = 5.0
    same_batch: bool = True
    paths_per_call: int = 12
    residual_gamma: float = 0.2
    calibration_images: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        sizes = (self.epochs, self.batch_size, self.paths_per_call, self.calibration_images)
        if min(sizes) < 1:
            raise SearchError(
                "epochs, batch_size, paths_per_call and calibration_images are at least 1"
            )


SETTINGS: dict[str, SupernetConfig] = {
    "mnasnet": SupernetConfig(epochs=12, learning_rate=0.03),
}
"""By space, what its supernet takes to learn digits; others have the defaults."""
