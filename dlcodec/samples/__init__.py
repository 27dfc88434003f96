"""The bundled photograph; README.md says whose it is."""

from pathlib import Path

COFFEE = Path(__file__).parent / "coffee.png"
