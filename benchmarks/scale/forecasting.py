from pathlib import Path


def forecast(folder: Path) -> None:
    raise SystemExit
