#!/bin/sh
# Build or refresh the virtual environment: setup.sh VENV STAMP EXTRA. Run by make, from the clone's
# root. EXTRA is one of pyproject.toml's: demo (what the demo, the UI and the commands need) or dev.
# uv is used where there is one; the standard library's venv and pip do as well.
set -eu

venv=$1
stamp=$2
extra=${3:-dev}
suits='import sys; sys.exit(sys.version_info < (3, 11))'
# Some systems have Python without what venv needs; uv brings its own.
makes_venvs='import ensurepip, venv'

say() { printf '%s\n' "$*" >&2; }

have_uv() { command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; }

# Being there is not enough: pyenv puts scripts on PATH for versions that then refuse to run.
runs() { "$1" -c "$suits" >/dev/null 2>&1; }

# One that was named is the one that is meant: no other takes its place in silence.
check_named() {
    if ! command -v "$PYTHON" >/dev/null 2>&1; then
        say "PYTHON is $PYTHON, and there is no such program: name a Python 3.11 or newer, or leave PYTHON out."
    elif ! runs "$PYTHON"; then
        found=$("$PYTHON" --version 2>/dev/null) || found='no Python that runs'
        say "PYTHON is $PYTHON, which is $found: Headrace needs 3.11 or newer. Name another one, or leave PYTHON out."
    else
        return 0
    fi
    return 1
}

find_python() {
    too_old=''
    no_venv=''
    if [ -n "${PYTHON:-}" ]; then check_named || return 1; fi
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3 python; do
        if ! runs "$candidate"; then
            if [ "$candidate" = python3 ]; then
                too_old=$(python3 --version 2>/dev/null || true)
            fi
        elif have_uv || "$candidate" -c "$makes_venvs" >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return 0
        else
            no_venv=$candidate
        fi
    done
    if [ -n "$no_venv" ]; then
        say "Headrace needs Python's venv module, which $no_venv lacks: install it (Debian and Ubuntu: apt install python3-venv), or install uv."
    else
        say "Headrace needs Python 3.11 or newer on PATH, and found ${too_old:-none}: install one, or name one with make PYTHON=/path/to/python3."
    fi
    return 1
}

make_venv() {
    python=$(find_python) || exit 1
    say "Making $venv with $("$python" --version) …"
    if have_uv; then
        uv venv --quiet --clear --python "$python" "$venv" && return 0
        say "uv could not; trying $python -m venv."
    fi
    "$python" -m venv --clear "$venv"
}

pip_install() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
    "$venv/bin/python" local/install.py "$extra"
}

install() {
    case $extra in
        demo) say "Installing the packages of the demo (some 780 MB; a minute or two the first time) …" ;;
        *) say "Installing all packages (some 1.5 GB; a few minutes the first time) …" ;;
    esac
    quiet=--quiet # what uv draws on a terminal says how far it is
    if [ -t 2 ]; then quiet=''; fi
    # shellcheck disable=SC2086 # no argument if it is empty
    if have_uv && uv pip install $quiet --python "$venv/bin/python" \
        --constraint constraints.txt ".[$extra]"; then
        return 0
    fi
    pip_install
}

rm -f "$stamp"
runs "$venv/bin/python" || make_venv
install || exit 1 # install.py has said why
rm -rf build headrace.egg-info
# Dagster starts a Python for every step. Without bytecode that takes several times as long, and
# PYTHONDONTWRITEBYTECODE would keep it from ever being written; compileall writes it all the same.
say "Compiling packages …"
"$venv/bin/python" -m compileall -q -j 0 -x '/(tests?|pip|setuptools|pkg_resources)/' "$venv/lib" \
    >/dev/null 2>&1 || true
# The same for the project's own modules; one that is edited later is never taken for what it was.
"$venv/bin/python" -m compileall -q definitions.py assets resources pipeline emulator local \
    commands sourcetool || true
touch "$stamp"
