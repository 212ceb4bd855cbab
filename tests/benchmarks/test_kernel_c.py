"""The kernels in C: a yardstick says something only while it does the very same."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.kernel_c import COOLING_V1, DISPATCH_V1, compiled_c, differences


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.parametrize("yardstick", [DISPATCH_V1, COOLING_V1], ids=lambda yardstick: yardstick.title)
def test_the_kernel_in_c_equals_the_compiled_one_bit_for_bit(yardstick):
    assert differences(yardstick, compiled_c(yardstick)) == []
