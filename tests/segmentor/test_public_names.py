"""The Python face: what `import segmentor` offers, and what it costs."""

import subprocess
import sys

import pytest

import segmentor


def test_every_public_name_is_there_and_documented():
    assert sorted(segmentor.__all__) == segmentor.__all__
    for name in segmentor.__all__:
        thing = getattr(segmentor, name)
        assert thing.__module__.startswith("segmentor.")
        assert thing.__doc__
    assert set(segmentor.__all__) <= set(dir(segmentor))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        segmentor.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else():
    code = "import sys, segmentor; print(sorted(n for n in sys.modules if n.startswith('segm')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['segmentor']"
