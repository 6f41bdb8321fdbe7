#!/bin/sh
# The fast tests with each Python that is installed: pythons.sh 3.11 3.12 …. Run by make, which gives
# MAKE. Each version has a virtual environment of its own, so that .venv stays as it is.
set -eu

# Being there is not enough: pyenv puts scripts on PATH for versions that then refuse to run.
is() { "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" >/dev/null 2>&1; }

find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if is "$candidate" "$1"; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    return 1
}

tried=''
failed=''
for version in "$@"; do
    if python=$(find_python "$version"); then
        tried="$tried $version"
        "$MAKE" test-fast VENV=".venvs/$version" PYTHON="$python" || failed="$failed $version"
    else
        printf '%s\n' "Python $version is not installed: left out." >&2
    fi
done
if [ -z "$tried" ]; then
    printf '%s\n' "None of the versions asked for is installed: $*" >&2
    exit 1
fi
if [ -n "$failed" ]; then
    printf '%s\n' "Tested with Python$tried: failed with$failed." >&2
    exit 1
fi
printf '%s\n' "Tested with Python$tried: all passed." >&2
