# enter.sh
#		What the benchmarks share: where they run, and their reports.
#
# Source it from bash in the project's root, after lib.sh and root.sh.

# True where the machine's PostgreSQL has a pgvector with iterative scans.
has_pgvector()
{
	local from control version

	from=$(pg_find) || return 1
	control=$("$from" --sharedir)/extension/vector.control
	version=$(sed -n "s/^default_version = '\([0-9.]*\)'.*/\1/p" \
		"$control" 2> /dev/null) || return 1
	[ -n "$version" ] &&
		[ "$(printf '%s\n' 0.8 "$version" | sort -V | head -n 1)" = 0.8 ]
}

# What pip trusts on the machine it trusts in the folder $1 too.
bench_certificates()
{
	local from=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}

	[ -f "$from" ] || return 0
	mkdir -p "$1/etc/ssl"
	cp -L "$from" "$1/etc/ssl/recsys.crt"
	export PIP_CERT=/etc/ssl/recsys.crt
	unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE		# stronger, and not there
}

bench_third_of_memory()
{
	awk '/^MemTotal:/ { printf "%dMB", $2 / 1024 / 3 }' /proc/meminfo
}

# Names the commit that is measured, for the reports.
bench_commit()
{
	export RECSYS_COMMIT=${RECSYS_COMMIT-$(git describe --always --dirty \
		2> /dev/null || true)}
}

# bench_enter SCRIPT [ARGUMENT...]: returns where the machine's PostgreSQL has
# pgvector.  Else SCRIPT runs in a folder with Debian trixie, made if need be,
# and the shell ends with its status.
bench_enter()
{
	local dir=$RECSYS_ROOTS/${RECSYS_BENCH_ROOT:-trixie} status=0

	bench_commit
	! has_pgvector || return 0
	[ -z "${RECSYS_IN_ROOT:-}" ] || die "no pgvector in the folder"
	root_possible ||
		die "the machine's PostgreSQL has no pgvector, and without root no other can be used"
	root_make trixie "$dir" || die "cannot make the folder $dir"
	bench_certificates "$dir"
	export RECSYS_IN_ROOT=1 RECSYS_WORK=${RECSYS_WORK:-/var/tmp/recsys-bench}
	root_run "$dir" "$ROOT" bash -c 'test/setup ci && exec "$@"' bench "$@" ||
		status=$?
	exit $status
}

# bench_report NAME COMMAND [ARGUMENT...]: runs a command that writes a report
# to the path that is its last argument, and keeps it as build/bench/NAME, with
# what else is in its folder, also where the command fails.
bench_report()
{
	local name=$1 status=0

	shift
	work_folder "$WORK/bench-report"
	as_user "$@" "$WORK/bench-report/$name" || status=$?
	mkdir -p "$ROOT/build/bench"
	cp -r "$WORK/bench-report/." "$ROOT/build/bench/"
	[ ! -f "$WORK/bench-report/$name" ] || say "written to build/bench/$name"
	return $status
}
