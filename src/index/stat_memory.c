/*
 * stat_memory.c
 *		The one piece of shared memory that we count in.
 *
 * From PostgreSQL 17 on a backend may make shared memory when it needs it.
 * Before, the server has to know of it as it starts, so the library must be in
 * shared_preload_libraries; where it is not, every backend has memory of its
 * own.  The memory lasts as long as the server runs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "index/stat_memory.h"

#ifdef COMPAT_DSM_REGISTRY
#include "storage/dsm_registry.h"
#endif

static const StatMemory *registered;
static void *shared_memory;
static void *own_memory;

#ifdef COMPAT_DSM_REGISTRY

void
stat_memory_register(const StatMemory *memory)
{
	registered = memory;
}

static void *
stat_memory_shared(void)
{
	bool		found;

	if (shared_memory == NULL)
		shared_memory = GetNamedDSMSegment("recsys.stat_index",
										   registered->size,
										   registered->init, &found);
	return shared_memory;
}

#else

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
stat_memory_request(void)
{
	if (next_request_hook)
		next_request_hook();
	RequestAddinShmemSpace(registered->size);
}

static void
stat_memory_startup(void)
{
	bool		found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared_memory = ShmemInitStruct("recsys.stat_index", registered->size,
									&found);
	if (!found)
		registered->init(shared_memory);
	LWLockRelease(AddinShmemInitLock);
}

void
stat_memory_register(const StatMemory *memory)
{
	registered = memory;
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_request_hook = shmem_request_hook;
	shmem_request_hook = stat_memory_request;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = stat_memory_startup;
}

static void *
stat_memory_shared(void)
{
	return shared_memory;
}

#endif

void *
stat_memory_attach(bool *shared)
{
	void	   *memory = stat_memory_shared();

	*shared = memory != NULL;
	if (memory != NULL)
		return memory;
	if (own_memory == NULL)
	{
		own_memory = MemoryContextAlloc(TopMemoryContext, registered->size);
		registered->init(own_memory);
	}
	return own_memory;
}
