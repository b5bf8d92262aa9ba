/*
 * diskfull.c
 *		A file system that is full, for tests: a library for LD_PRELOAD.
 *
 * The file that DISKFULL_FILE names holds one number of 64 bits, which all
 * processes of a server share: how many bytes files may still grow.  A write
 * beyond the end of a file takes from it, and fails with ENOSPC where it has
 * too little, as does posix_fallocate; within a file a write succeeds, as it
 * does on a disk.  Removing files gives nothing back.  Only files below the
 * folders of DISKFULL_UNDER count, part of a path each, parted by colons.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long *room;

__attribute__((constructor)) static void
start(void)
{
	const char *name = getenv("DISKFULL_FILE");
	int			file = name == NULL ? -1 : open(name, O_RDWR);
	void	   *map;

	if (file < 0)
		return;
	map = mmap(NULL, sizeof(*room), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (map != MAP_FAILED)
		room = map;
	close(file);
}

/* Whether a file is in one of the folders that count. */
static int
counts(int file)
{
	char		link[64];
	char		path[4096];
	char		under[4096];
	char	   *rest = NULL;
	ssize_t		n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return 0;
	path[n] = '\0';
	snprintf(under, sizeof(under), "%s", getenv("DISKFULL_UNDER"));
	for (char *part = strtok_r(under, ":", &rest); part != NULL;
		 part = strtok_r(NULL, ":", &rest))
		if (strstr(path, part) != NULL)
			return 1;
	return 0;
}

/* Whether a file has room to reach so far. */
static int
has_room(int file, off_t end)
{
	struct stat status;
	long		old;

	if (room == NULL || fstat(file, &status) != 0 || end <= status.st_size ||
		!counts(file))
		return 1;
	old = atomic_load(room);
	do
	{
		if (old < end - status.st_size)
		{
			errno = ENOSPC;
			return 0;
		}
	} while (!atomic_compare_exchange_weak(room, &old,
										   old - (end - status.st_size)));
	return 1;
}

#define NEXT(function) ((__typeof__(&function)) dlsym(RTLD_NEXT, #function))

ssize_t
pwrite(int file, const void *bytes, size_t n, off_t at)
{
	return has_room(file, at + (off_t) n) ?
		NEXT(pwrite) (file, bytes, n, at) : -1;
}

ssize_t
pwrite64(int file, const void *bytes, size_t n, off64_t at)
{
	return pwrite(file, bytes, n, at);
}

ssize_t
pwritev(int file, const struct iovec *parts, int nparts, off_t at)
{
	off_t		end = at;

	for (int i = 0; i < nparts; i++)
		end += (off_t) parts[i].iov_len;
	return has_room(file, end) ? NEXT(pwritev) (file, parts, nparts, at) : -1;
}

ssize_t
pwritev64(int file, const struct iovec *parts, int nparts, off64_t at)
{
	return pwritev(file, parts, nparts, at);
}

ssize_t
write(int file, const void *bytes, size_t n)
{
	off_t		at = room == NULL ? -1 : lseek(file, 0, SEEK_CUR);

	return at < 0 || has_room(file, at + (off_t) n) ?
		NEXT(write) (file, bytes, n) : -1;
}

int
posix_fallocate(int file, off_t at, off_t n)
{
	return has_room(file, at + n) ? NEXT(posix_fallocate) (file, at, n) : ENOSPC;
}

int
posix_fallocate64(int file, off64_t at, off64_t n)
{
	return posix_fallocate(file, at, n);
}
