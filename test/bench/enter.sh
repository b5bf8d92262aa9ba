# enter.sh
#		What the benchmarks that need pgvector share: where they run.
#
# Source it from bash in the project's root, after lib.sh and root.sh.

has_pgvector()
{
	local from

	from=$(pg_find) && [ -f "$("$from" --sharedir)/extension/vector.control" ]
}

# bench_enter SCRIPT [ARGUMENT...]: returns where the machine's PostgreSQL has
# pgvector.  Else SCRIPT runs in a folder with Debian trixie, made if need be,
# and the shell ends with its status.
bench_enter()
{
	local dir=$RECSYS_ROOTS/${RECSYS_BENCH_ROOT:-trixie} status=0

	export RECSYS_COMMIT=${RECSYS_COMMIT-$(git describe --always --dirty \
		2> /dev/null || true)}
	! has_pgvector || return 0
	[ -z "${RECSYS_IN_ROOT:-}" ] || die "no pgvector in the folder"
	root_possible ||
		die "the machine's PostgreSQL has no pgvector, and without root no other can be used"
	root_make trixie "$dir" || die "cannot make the folder $dir"
	export RECSYS_IN_ROOT=1 RECSYS_WORK=/var/tmp/recsys-bench
	root_run "$dir" "$ROOT" bash -c 'test/setup ci && exec "$@"' bench "$@" ||
		status=$?
	exit $status
}

# bench_report NAME COMMAND [ARGUMENT...]: runs a command that writes a report
# to the path that is its last argument, and keeps it as build/bench/NAME.
bench_report()
{
	local name=$1

	shift
	work_folder "$WORK/bench-report"
	as_user "$@" "$WORK/bench-report/$name"
	mkdir -p "$ROOT/build/bench"
	cp "$WORK/bench-report/$name" "$ROOT/build/bench/$name"
	say "written to build/bench/$name"
}
