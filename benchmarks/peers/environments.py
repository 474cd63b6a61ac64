"""Virtual environments of the peers: their pins contradict ours, and MLServer's the others'."""

import subprocess
import sys
from pathlib import Path

WORK = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")
PACKAGES = {
    "web": ("bentoml", "fastapi", "litserve", "python-multipart", "uvicorn", *WORK),
    # Workers of MLServer 1.7.1 die at once on later uvloops, which make no loop unasked.
    "mlserver": ("mlserver", "uvloop<0.22", *WORK),
}


def peer_python(name: str, folder: Path) -> Path:
    """Return the interpreter of an environment of PACKAGES; make it at the first call."""
    python = folder / name / "bin" / "python"
    stamp = folder / name / ".installed"
    if not stamp.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PACKAGES[name]], check=True)
        stamp.touch()
    return python.absolute()
