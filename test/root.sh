# root.sh
#		Shell functions that .ci/run, test/upgrade and test/bench/compare share:
#		another Debian in a folder (a chroot), made with debootstrap once and used
#		again.
#
# Source it from bash, as root.  The folders are those under $RECSYS_ROOTS.

RECSYS_ROOTS=${RECSYS_ROOTS:-/var/lib/recsys-roots}

# Where this machine's own Debian comes from, so that the others do too.
root_mirror()
{
	local codename

	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' 2> /dev/null |
		awk -v c="$codename" '$1 == c && $2 == "main" { print $3; exit }'
}

# Makes the folder $2 for Debian $1, unless a complete one is there.
root_make()
{
	local suite=$1 dir=$2 log

	if [ -x "$dir/usr/bin/apt-get" ] && [ ! -e "$dir/debootstrap" ] &&
		chroot "$dir" true 2> /dev/null; then
		echo "[$suite] using $dir"
		root_configure "$dir"
		return 0
	fi
	echo "[$suite] making $dir"
	log=$(mktemp)
	command -v debootstrap > /dev/null ||
		{ apt-get -q -y update && apt-get -q -y install debootstrap; } \
		> "$log" 2>&1 < /dev/null || { rm -f "$log"; return 1; }
	rm -rf --one-file-system "$dir"
	mkdir -p "$dir"
	timeout 900 debootstrap --variant=minbase "$suite" "$dir" $(root_mirror) \
		> "$log" 2>&1 < /dev/null || {
		tail -n 5 "$log"
		rm -f "$log"
		return 1
	}
	rm -f "$log"
	root_configure "$dir"
}

# apt inside a folder: the machine's proxy, and a copy of sid that a mirror has
# not renewed for a while is good enough for tests.
root_configure()
{
	{
		apt-config dump | grep -i '^Acquire::.*Proxy'
		echo 'Acquire::Check-Valid-Until "false";'
	} > "$1/etc/apt/apt.conf.d/90recsys"
	cp -L /etc/resolv.conf "$1/etc/resolv.conf" 2> /dev/null || true
}

# True where mounts are allowed, without which no folder can be used.
root_possible()
{
	[ "$(id -u)" = 0 ] && unshare --mount --pid --fork true 2> /dev/null
}

# root_run DIR PROJECT COMMAND [ARGUMENT...]: runs a command inside a folder,
# in the project, with shared/data beside it where there is any.  Mounts and
# processes belong to a namespace of their own and end with it, whatever
# happens.
root_run()
{
	timeout -k 30 "${RECSYS_ROOT_TIMEOUT:-1200}" \
		unshare --mount --pid --fork --kill-child --propagation private \
		bash -c '
			set -eu
			dir=$1
			project=$2
			data=$2/../shared/data
			shift 2
			mkdir -p "$dir/proc" "$dir/dev/shm" "$dir/mnt/recsys"
			mount -t proc proc "$dir/proc"
			mount -t tmpfs -o mode=1777 shm "$dir/dev/shm"
			mount -t tmpfs -o mode=755 recsys "$dir/mnt"
			mkdir -p "$dir/mnt/recsys"
			mount --bind "$project" "$dir/mnt/recsys"
			if [ -d "$data" ]; then
				mkdir -p "$dir/mnt/shared/data"
				mount --bind "$data" "$dir/mnt/shared/data"
			fi
			exec chroot "$dir" /usr/bin/env -u PG_CONFIG -u PYTHON \
				HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
				bash -c "cd /mnt/recsys && \"\$@\"" root_run "$@"' \
		root_run "$@"
}

# root_old_server DIR INSTALLATION: brings a copy of this machine's PostgreSQL, as
# pg_copy made it with the extension in it, into a folder, for the test of
# pg_upgrade there, with the libraries that the other Debian does not have once
# its packages are installed: one of both would be taken by its own programs too.
# Exports RECSYS_OLD_BINDIR and RECSYS_OLD_LIBDIR as the folder sees them.
root_old_server()
{
	local dir=$1 old=$2 to=$1/var/tmp/recsys-old bin lib path

	bin=$(cd "$old" && ls -d usr/lib/postgresql/*/bin) || return 1
	rm -rf "$to"
	mkdir -p "$to/lib"
	cp -a "$old/usr" "$to/" || return 1
	for path in $(ldd "$old/$bin"/{postgres,pg_ctl,pg_dump,psql} |
		awk '$2 == "=>" { print $3 }' | sort -u); do
		lib=${path##*/}
		[ -e "$dir/usr/lib/$(uname -m)-linux-gnu/$lib" ] ||
			cp -L "$path" "$to/lib/" || return 1
	done
	chmod -R a+rX "$to"
	export RECSYS_OLD_BINDIR=/var/tmp/recsys-old/$bin
	export RECSYS_OLD_LIBDIR=/var/tmp/recsys-old/lib
}
