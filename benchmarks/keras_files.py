"""Convert Keras' applications, a ViT and a MobileViT to .tflite, in float32 and in int8.

    python benchmarks/keras_files.py FOLDER [--only TEXT]

The networks have random weights, which is enough for latencies. A file that is there already is
kept. int8 is post-training full-integer quantisation with two random images; inputs and outputs
stay float, as the converter leaves them by default. Takes 5 to 20 minutes and TensorFlow.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from keras_transformers import mobilevit, vit

from latlas.profiler.errors import ModelFileError
from latlas.profiler.files import write_atomically


def networks() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield names and builders of the networks."""

    def application(name: str, resolution: int = 224, **options: Any) -> Callable[[], Any]:
        def build() -> Any:
            import keras

            image = keras.Input((resolution, resolution, 3), batch_size=1)
            return getattr(keras.applications, name)(weights=None, input_tensor=image, **options)

        return build

    for alpha, resolution in ((0.25, 128), (0.5, 160), (0.75, 192), (1.0, 224)):
        name = f"mobilenet_v1_{alpha}_{resolution}"
        yield name, application("MobileNet", resolution, alpha=alpha)
    for alpha, resolution in ((0.35, 96), (0.5, 160), (0.75, 192), (1.0, 224), (1.4, 224)):
        name = f"mobilenet_v2_{alpha}_{resolution}"
        yield name, application("MobileNetV2", resolution, alpha=alpha)
    for size in ("Small", "Large"):
        for alpha, resolution in ((0.75, 160), (1.0, 224)):
            name = f"mobilenet_v3_{size.lower()}_{alpha}_{resolution}"
            yield name, application(f"MobileNetV3{size}", resolution, alpha=alpha)
    yield "efficientnet_b0", application("EfficientNetB0")
    yield "resnet50", application("ResNet50")
    yield "densenet121", application("DenseNet121")
    yield "nasnet_mobile", application("NASNetMobile")
    yield "xception", application("Xception", 299)
    yield "inception_v3", application("InceptionV3", 299)
    yield "vit_small", lambda: vit(224, 16, 192, 3, 6, 4, 1000, class_token=False, batch_size=1)
    yield "mobilevit_small", lambda: mobilevit(256, 1000, width=2, batch_size=1)


def convert(model: Any, *, int8: bool, seed: int = 0) -> bytes:
    """Return the model as a .tflite file."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        rng = np.random.default_rng(seed)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [rng.random(model.input_shape, np.float32)] for _ in range(2)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="networks whose name holds this text")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, build in networks():
        paths = {
            int8: arguments.folder / f"{name}{'.int8' if int8 else ''}.tflite"
            for int8 in (False, True)
        }
        wanted = {int8: path for int8, path in paths.items() if not path.exists()}
        if arguments.only not in name or not wanted:
            continue
        model = build()
        for int8, path in wanted.items():
            with write_atomically(path, ModelFileError) as file:
                file.write(convert(model, int8=int8))
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
