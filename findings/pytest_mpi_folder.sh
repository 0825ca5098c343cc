#!/usr/bin/env bash
# Guessed: pytest-mpi skips the tests that carry its marker, `@pytest.mark.mpi`, and leaves all others alone.
# Found:   it looks the word up among pytest's keywords, which hold the names of the folders and files above a test too.
#          Every test below a folder named "mpi" is skipped without --with-mpi, and the run is green.
# Around it: the tests of mpimasha/mpi lie in tests/unit/mpi_.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet pytest==9.2.0 pytest-mpi==0.6

mkdir -p tests/mpi tests/other
echo 'def test_here(): pass' >tests/mpi/test_one.py
echo 'def test_here(): pass' >tests/other/test_two.py
env/bin/pip list 2>/dev/null | grep -i pytest
env/bin/python -m pytest -rs -q tests | tee said || true

if grep -q '1 passed, 1 skipped' said && grep -q 'SKIPPED.*test_one.py.*need --with-mpi' said; then
    echo 'as found: the test below tests/mpi was skipped, though nothing marks it'
else
    echo 'this has changed'
    exit 1
fi
