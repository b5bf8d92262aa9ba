# rivals.sh
#		The libraries that test/bench/bench compares with, from PyPI.
#
# Source it from bash after lib.sh.

# rivals_prepare PYTHON: makes a virtual environment of it in $WORK/rivals with
# what can be had of the libraries, once, and points RIVALS_PYTHON at it.
# Where none can be made RIVALS_PYTHON is PYTHON.
rivals_prepare()
{
	local venv=$WORK/rivals log=$LOGS/rivals.log rival package module

	RIVALS_PYTHON=$1
	if ! as_user "$venv/bin/python" -c 'import numpy' > "$log" 2>&1; then
		work_folder "$venv"
		as_user "$1" -m venv --system-site-packages "$venv" > "$log" 2>&1 || {
			say "SKIP hnswlib and faiss: no virtual environment: $(tail -n 1 "$log")"
			return 0
		}
	fi
	RIVALS_PYTHON=$venv/bin/python
	for rival in hnswlib/hnswlib faiss-cpu/faiss; do
		package=${rival%/*}
		module=${rival#*/}
		! as_user "$RIVALS_PYTHON" -c "import $module" 2> /dev/null || continue
		say "installing $package from PyPI"
		as_user timeout 900 "$RIVALS_PYTHON" -m pip install --quiet \
			--no-cache-dir --disable-pip-version-check --retries 1 --timeout 20 \
			"$package" > "$log" 2>&1 ||
			say "SKIP $package: $({ grep -i error "$log" || cat "$log"; } | tail -n 1)"
	done
}
