import subprocess
import sys

LEAN = """
import sys
sys.argv = ["serving", "--model", "x", "--enable", "y"]
from serving.lean_kserve import import_kserve
import_kserve()
assert sys.argv[1:] == ["--model", "x", "--enable", "y"]
assert not [name for name in sys.modules if name.split(".")[0] in ("pandas", "kubernetes")]
import serving.server, kserve
assert issubclass(serving.server.SegmentationModel, kserve.Model)
import pandas
assert pandas.DataFrame({"a": [1]}).shape == (1, 1)
import kubernetes.client
assert kubernetes.client.V1Pod().kind is None
"""


def test_kserve_is_imported_without_pandas_which_stays_importable():
    done = subprocess.run(
        [sys.executable, "-c", LEAN], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
