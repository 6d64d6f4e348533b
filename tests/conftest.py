import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests are imported by path, so that their folders may be called like those of the package; what
# they share (components.py) is found through this.
sys.path.insert(0, str(Path(__file__).parent))

from components import require
from hypothesis import settings

from latlas.profiler.litert.local import GpuProbe, probe_gpu

settings.register_profile("latlas", deadline=None)  # a busy machine is no bug
settings.load_profile("latlas")

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


@pytest.fixture(scope="session")
def vulkan() -> Iterator[GpuProbe]:
    """Any Vulkan device, with SwiftShader as the substitute where it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        if SWIFTSHADER.exists() and "VK_DRIVER_FILES" not in os.environ:
            patch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))
            patch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
        yield probe_gpu()


@pytest.fixture
def gpu(vulkan: GpuProbe) -> GpuProbe:
    """The GPU of the tests; without one they are skipped."""
    require("a Vulkan device", bool(vulkan.adapter), vulkan.problem)
    return vulkan
