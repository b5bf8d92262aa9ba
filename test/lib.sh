# lib.sh
#		Shell functions that test/run and test/demo/run share: find a
#		PostgreSQL, copy it, build into the copy, run a private server.
#
# Source it from bash; test/README.md lists what it gives.  Nothing here
# changes the system's PostgreSQL or the working tree: all work is done in
# the folder $WORK, on a copy of the sources.  As root that folder lies in
# /var/tmp and every command runs as $RECSYS_USER, for neither initdb nor
# pg_regress runs as root; else it is build/ in the project's root.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
if [ -z "${RECSYS_USER:-}" ]; then
	RECSYS_USER=postgres
	id postgres > /dev/null 2>&1 || RECSYS_USER=nobody
fi
JOBS=${JOBS:-$(nproc)}
WERROR=${WERROR--Werror}

# What a caller's shell or make has set must not leak into our servers.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL
unset PGDATABASE PGHOST PGHOSTADDR PGOPTIONS PGPASSFILE PGPASSWORD PGPORT \
	PGSERVICE PGSSLMODE PGUSER PGDATA PGTZ PGDATESTYLE PGCLIENTENCODING
export LC_ALL=C.UTF-8 PGCONNECT_TIMEOUT=20
umask 022

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# Run a command as the user of the tests.  It does not inherit the lock, so
# that a server that outlives us does not hold it.
as_user()
{
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$RECSYS_USER" -- env HOME="$WORK" "$@" 9>&-
	else
		"$@" 9>&-
	fi
}

# True where $1 is the pg_config of a server with headers and PGXS.
pg_usable()
{
	local bin

	bin=$("$1" --bindir 2>/dev/null) || return 1
	[ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] &&
		[ -f "$("$1" --pgxs)" ] &&
		[ -f "$("$1" --includedir-server)/postgres.h" ]
}

# Print the pg_config to use: $PG_CONFIG, or else the one on the PATH, or
# else the newest of Debian's.  False where there is none.
pg_find()
{
	local candidate

	if [ -n "${PG_CONFIG:-}" ]; then
		pg_usable "$PG_CONFIG" || return 1
		command -v "$PG_CONFIG"
		return
	fi
	for candidate in $(command -v pg_config) \
		$(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV); do
		if pg_usable "$candidate"; then
			printf '%s\n' "$candidate"
			return
		fi
	done
	return 1
}

# Print a python3 that can import the modules named (as the user of the
# tests): $PYTHON, the one on the PATH, or the system's.
python_find()
{
	local candidate modules

	modules=$(printf 'import %s;' "$@")
	for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
		candidate=$(command -v "$candidate") || continue
		if as_user "$candidate" -c "$modules" >/dev/null 2>&1; then
			printf '%s\n' "$candidate"
			return
		fi
	done
	return 1
}

# Print the name of the work folder.
work_path()
{
	if [ -n "${RECSYS_WORK:-}" ]; then
		printf '%s\n' "$RECSYS_WORK"
	elif [ "$(id -u)" = 0 ]; then
		printf '/var/tmp/recsys-%s\n' "$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)"
	else
		printf '%s\n' "$ROOT/build"
	fi
}

# Make $WORK and hold its lock until the shell ends, so that two runs of one
# checkout follow one another.  Changes to $WORK, which the user of the tests
# can enter, whatever folder the shell started in.
work_open()
{
	WORK=$(work_path)
	mkdir -p "$WORK" || die "cannot make $WORK"
	[ -O "$WORK" ] && [ ! -L "$WORK" ] ||
		die "$WORK belongs to someone else; set RECSYS_WORK to a new folder"
	chmod 755 "$WORK"
	exec 9>"$WORK/lock"
	if ! flock -n 9; then
		say "waiting for another run that works in $WORK"
		flock 9
	fi
	cd "$WORK" || die "cannot enter $WORK"
	LOGS=$WORK/logs
	work_folder "$LOGS"
}

# An empty folder of the user of the tests.
work_folder()
{
	rm -rf "$1"
	mkdir -p "$1"
	[ "$(id -u)" != 0 ] || chown "$RECSYS_USER" "$1"
}

# Copy the PostgreSQL of pg_config $1 to $WORK/pgN and point PG_CONFIG, PG_BIN,
# PG_MAJOR and PATH at the copy.  PostgreSQL finds its folders relative to the
# program that runs, so the copy is a whole installation.
pg_copy()
{
	local from=$1 stamp dir dest

	case $(readlink -f "$(command -v "$from")") in
		"$(readlink -f "$WORK")"/*)
			die "$from is a copy that the tests have made: set PG_CONFIG to another, or take it off the PATH" ;;
	esac
	PG_MAJOR=$("$from" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
	dest=$WORK/pg$PG_MAJOR
	stamp=$("$from" --version; "$from" --bindir)
	if [ "$(cat "$dest/stamp" 2>/dev/null)" != "$stamp" ]; then
		work_folder "$dest"
		rm -rf "$WORK"/src* "$WORK"/manifest.*	# objects of the old one
		for dir in bindir pkglibdir sharedir includedir includedir-server; do
			pg_copy_dir "$("$from" --$dir)" "$dest" ||
				die "cannot copy PostgreSQL to $dest"
		done
		[ "$(id -u)" != 0 ] || chown -R "$RECSYS_USER" "$dest"
		printf '%s\n' "$stamp" > "$dest/stamp"
	fi
	PG_BIN=$dest$("$from" --bindir)
	PG_CONFIG=$PG_BIN/pg_config
	export PG_CONFIG PG_BIN PG_MAJOR PATH="$PG_BIN:$PATH"
}

# One folder of pg_copy; of a /usr/bin only PostgreSQL's own programs.
pg_copy_dir()
{
	local from=$1 dest=$2

	case $from in
		"") return 1 ;;			# not all of the file system
		/usr/include) return ;;
		/usr/bin | /usr/local/bin)
			mkdir -p "$dest$from"
			(cd "$from" && cp -p postgres psql initdb createdb dropdb \
				pg_* "$dest$from/")
			;;
		*)
			mkdir -p "$dest$from"
			cp -a "$from/." "$dest$from/"
			;;
	esac
}

# Copy the working tree to $1 (default $WORK/src): what changed, and without
# what was built.  Objects of the last build stay, so make builds little.
# A folder shared/data beside the project is made to appear beside the copy.
src_copy()
{
	local dest=${1:-$WORK/src} manifest

	manifest=$WORK/manifest.$(basename "$dest")
	mkdir -p "$dest"
	(cd "$ROOT" && find . \( -path ./.git -o -path ./build -o -path ./results \
			-o -path ./tmp_check -o -path ./output_iso -o -name .deps \
			-o -name __pycache__ \) -prune -o \
		\( -type f -o -type l \) ! -name '*.o' ! -name '*.bc' ! -name '*.so' \
		! -path './sql/recsys--*' ! -path './regression.*' -print |
		LC_ALL=C sort) > "$manifest.new"
	if [ -f "$manifest" ]; then
		LC_ALL=C comm -23 "$manifest" "$manifest.new" |
			(cd "$dest" && tr '\n' '\0' | xargs -0 -r rm -f)
	fi
	mv "$manifest.new" "$manifest"
	tar -C "$ROOT" --no-recursion -T "$manifest" -cf - |
		tar -C "$dest" -xpf - --no-same-owner ||
		die "cannot copy the sources to $dest"
	[ "$(id -u)" != 0 ] || chown -R "$RECSYS_USER" "$dest"
	src_copy_data
}

src_copy_data()
{
	local data=$ROOT/../shared/data

	rm -rf "$WORK/shared"
	[ -d "$data" ] || return 0
	data=$(cd "$data" && pwd -P)
	mkdir "$WORK/shared"
	if as_user ls "$data" >/dev/null 2>&1; then
		ln -s "$data" "$WORK/shared/data"
	else
		cp -rL "$data" "$WORK/shared/data"
		chmod -R a+rX "$WORK/shared"
	fi
}

# Build the extension in $WORK/src and install it into the copied PostgreSQL.
# Arguments go to make.
ext_build()
{
	as_user make -s -C "$WORK/src" -j"$JOBS" PG_CONFIG="$PG_CONFIG" \
		WERROR="$WERROR" "$@" all &&
		as_user make -s -C "$WORK/src" PG_CONFIG="$PG_CONFIG" \
			WERROR="$WERROR" "$@" install
}

# All of the above: after it the extension can be created in any server of the
# copied PostgreSQL.  Says what it does.
recsys_prepare()
{
	local from

	from=$(pg_find) || die "no PostgreSQL server with headers: run test/setup"
	work_open
	pg_copy "$from"
	src_copy
	say "building recsys for $("$PG_CONFIG" --version) in $WORK"
	ext_build > "$LOGS/build.log" 2>&1 ||
		{ cat "$LOGS/build.log" >&2; die "the build failed"; }
}

# Start a fresh private server in $WORK/$1, reached by its socket alone, and
# point PGHOST, PGPORT, PGUSER and PGDATABASE at it.  Further arguments are
# settings, name=value.  It stops with the shell.
server_start()
{
	local name=$1 setting options=()

	shift
	SERVER_DATA=$WORK/$name
	work_folder "$SERVER_DATA"
	chmod 700 "$SERVER_DATA"
	SERVER_SOCKET=$(mktemp -d /tmp/recsys.XXXXXX)
	[ "$(id -u)" != 0 ] || chown "$RECSYS_USER" "$SERVER_SOCKET"
	trap server_stop EXIT
	trap 'exit 130' INT TERM HUP
	as_user "$PG_BIN/initdb" -D "$SERVER_DATA" -U postgres -A trust \
		--no-sync --no-locale -E UTF8 > "$LOGS/$name-initdb.log" 2>&1 ||
		{ cat "$LOGS/$name-initdb.log" >&2; die "initdb failed"; }
	for setting in listen_addresses= unix_socket_directories="$SERVER_SOCKET" \
		fsync=off timezone=UTC "$@"; do
		options+=("${setting%%=*} = '${setting#*=}'")
	done
	printf '%s\n' "${options[@]}" |
		as_user tee -a "$SERVER_DATA/postgresql.conf" > /dev/null
	export PGHOST=$SERVER_SOCKET PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	as_user "$PG_BIN/pg_ctl" -D "$SERVER_DATA" -l "$LOGS/$name-server.log" \
		${SERVER_PROGRAM:+-p "$SERVER_PROGRAM"} -w -t "${SERVER_WAIT:-60}" \
		start > "$LOGS/$name-start.log" 2>&1 ||
		{ cat "$LOGS/$name-start.log" "$LOGS/$name-server.log" >&2
		  die "the server does not start"; }
}

server_stop()
{
	[ -n "${SERVER_DATA:-}" ] || return 0
	as_user "$PG_BIN/pg_ctl" -D "$SERVER_DATA" -m fast -w stop \
		> /dev/null 2>&1 || true
	rm -rf "$SERVER_SOCKET"
	SERVER_DATA=
}

# psql without the user's own settings, stopping at the first error.
sql()
{
	as_user "$PG_BIN/psql" -X -v ON_ERROR_STOP=1 "$@"
}
