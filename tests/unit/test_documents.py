"""What lies in jobs/ is valid, and public names are not hidden (tests/docs runs what the pages show)."""

import re
import subprocess
from pathlib import Path

import pytest

from mpimasha.commands import cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "experiments").glob("*.toml")), ids=lambda p: p.stem)
def test_every_experiment_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli.validate(cli.parse(["compare", "-n", "2", str(path)]), 2)
    assert len(cli._experiments(cli.parse(["compare", str(path)]))) >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "slurm").glob("*.sbatch")), ids=lambda p: p.stem)
def test_every_batch_script_is_valid_bash(path):
    assert subprocess.run(["bash", "-n", str(path)], capture_output=True).returncode == 0


def test_experiments_named_in_readme_exist():
    named = set(re.findall(r"jobs/\S+?\.(?:toml|sbatch)", (ROOT / "README.rst").read_text()))
    assert named and all((ROOT / name).exists() for name in named)


def test_no_public_name_is_also_a_module():
    # importing the module would put it in place of the name
    import mpimasha
    modules = {path.stem for path in (ROOT / "mpimasha").glob("*.py")} | {
        path.name for path in (ROOT / "mpimasha").iterdir() if path.is_dir()}
    assert not modules & set(mpimasha._PUBLIC)
