"""The packages of two top-level folders: mpimasha/ and kernels/, installed as mpimasha.kernels."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.rst"
EXTRAS = {
    "mpi": ["mpich"],
    "data": ["scikit-learn"],
    "plot": ["matplotlib"],
    "test": ["pytest", "pytest-mpi", "pytest-timeout", "hypothesis", "scipy", "scikit-learn", "sphinx",
             "numpydoc"],
    "docs": ["sphinx", "numpydoc"],
    "bench": ["torch"],
}

setup(
    name="mpimasha",
    version=re.search(r'__version__ = "(.+)"', (HERE / "mpimasha" / "__init__.py").read_text())[1],
    description="Distributed variational inequalities over MPI with compressed communication",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/x-rst",
    author="mpimasha authors",
    license="MIT",
    packages=[*find_packages(include=["mpimasha", "mpimasha.*"]), "mpimasha.kernels",
              *(f"mpimasha.kernels.{name}" for name in find_packages("kernels"))],
    package_dir={"mpimasha": "mpimasha", "mpimasha.kernels": "kernels"},
    python_requires=">=3.11",
    install_requires=["numpy", "numba", "mpi4py>=4"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["mpimasha = mpimasha.__main__:main"]},
    classifiers=[
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Mathematics",
    ],
)
