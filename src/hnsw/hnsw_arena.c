/*
 * hnsw_arena.c
 *		The graph in a build's memory, private or shared by workers.
 *
 * Memory comes in chunks of slots as rows are loaded, so that a small table
 * takes little and no container's limit on shared memory is met before it must
 * be.
 *
 * All of it, and what the build keeps of each slot besides, is within
 * maintenance_work_mem.  Segments of shared memory double in size as an area
 * grows, so without a limit on the area they came to 44 MB where 32 were
 * allowed.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "hnsw/hnsw_arena.h"

static const GraphNode *arena_read(GraphStore *base, NodeAddr addr);
static void arena_read_end(GraphStore *base);
static GraphNode *arena_edit(GraphStore *base, NodeAddr addr);
static void arena_edit_end(GraphStore *base, bool changed);
static void arena_collect(GraphStore *base);
static GraphNode *arena_alloc(GraphStore *base, NodeAddr *addr);
static void arena_prefetch(GraphStore *base, NodeAddr addr);
static void arena_prefetch_own(GraphStore *base, NodeAddr addr);

static const GraphStoreOps arena_ops =
{
	.read = arena_read,
	.read_end = arena_read_end,
	.edit = arena_edit,
	.edit_end = arena_edit_end,
	.collect = arena_collect,
	.collect_end = arena_collect,
	.alloc = arena_alloc,
	.prefetch = arena_prefetch,
	.prefetch_own = arena_prefetch_own,
};

/*
 * Chunks that the directory has room for: what the memory holds at the
 * smallest slot, and some for postings, which are not counted against it.
 */
static uint32
arena_max_chunks(Size memory)
{
	NodeLayout	layout;
	Size		nslots;

	node_layout_init(&layout, 1, 0);
	nslots = memory / layout.node_size;
	nslots = Min(nslots, (Size) INVALID_NODE_ADDR / 2);
	return (uint32) (nslots / ARENA_CHUNK_SLOTS * 21 / 20 + 4);
}

Size
arena_shared_size(Size memory)
{
	return add_size(offsetof(ArenaShared, chunks),
					mul_size(sizeof(dsa_pointer), arena_max_chunks(memory)));
}

/*
 * Set up the shared part for a build in so many bytes.  A sixty-fourth of them
 * is for what writing keeps of each slot: 14 bytes, and a slot has 1,148 or
 * more.
 */
void
arena_shared_init(ArenaShared *shared, Relation index, Size memory)
{
	memset(shared, 0, arena_shared_size(memory));
	shared->metric = metric_of_index(index);
	shared->nfilters = filter_columns(index);
	shared->unit = 1.0f;
	shared->memory = memory - memory / 64;
	shared->max_chunks = arena_max_chunks(memory);
	shared->tranche_id = LWLockNewTrancheId();
	pg_atomic_init_u32(&shared->nslots, 0);
	LWLockInitialize(&shared->chunk_lock, shared->tranche_id);
	for (int i = 0; i < ARENA_LOCKS; i++)
		LWLockInitialize(&shared->slot_locks[i], shared->tranche_id);
	for (uint32 i = 0; i < shared->max_chunks; i++)
		shared->chunks[i] = InvalidDsaPointer;
}

/* This process's view, in the current memory context. */
Arena *
arena_attach(ArenaShared *shared, dsa_area *area)
{
	Arena	   *arena = palloc0(sizeof(Arena));

	LWLockRegisterTranche(shared->tranche_id, "recsys_hnsw build");
	arena->base.ops = &arena_ops;
	arena->base.metric = (Metric) shared->metric;
	arena->shared = shared;
	arena->area = area;
	arena->chunks = MemoryContextAllocExtended(CurrentMemoryContext,
											   sizeof(char *) * (Size) shared->max_chunks,
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	arena->context = CurrentMemoryContext;
	arena->max_free = 64;
	arena->free_slots = palloc(sizeof(NodeAddr) * arena->max_free);
	return arena;
}

/*
 * Tell the arena the dimensions of a row.  Returns those of the first row of
 * all, which the caller compares.
 */
int
arena_start(Arena *arena, int dim)
{
	ArenaShared *shared = arena->shared;

	LWLockAcquire(&shared->chunk_lock, LW_EXCLUSIVE);
	if (shared->dim == 0)
		shared->dim = dim;
	dim = shared->dim;
	LWLockRelease(&shared->chunk_lock);
	arena_refresh(arena);
	return dim;
}

/* Take over what the leader has decided: dimensions, unit and M. */
void
arena_refresh(Arena *arena)
{
	ArenaShared *shared = arena->shared;
	Size		max_slots;

	if (shared->dim == 0)
		return;
	node_layout_init(&arena->base.layout, shared->dim, shared->nfilters);
	arena->base.unit = shared->unit;
	arena->base.radius2 = shared->radius2;
	max_slots = shared->memory / arena->base.layout.node_size;
	arena->max_slots = (uint32) Min(max_slots, (Size) INVALID_NODE_ADDR / 2);
}

/*
 * Make sure that a chunk exists, and find its address in this process; NULL
 * where the area has reached its limit.
 */
static char *
arena_chunk(Arena *arena, uint32 chunk)
{
	ArenaShared *shared = arena->shared;
	Size		size = mul_size(arena->base.layout.node_size,
								ARENA_CHUNK_SLOTS);

	if (chunk >= shared->max_chunks)
		elog(ERROR, "too many slots in an index build");
	LWLockAcquire(&shared->chunk_lock, LW_EXCLUSIVE);
	if (shared->chunks[chunk] == InvalidDsaPointer)
	{
		if (arena->area != NULL)
			shared->chunks[chunk] =
				dsa_allocate_extended(arena->area, size,
									  DSA_ALLOC_HUGE | DSA_ALLOC_ZERO |
									  DSA_ALLOC_NO_OOM);
		else
			shared->chunks[chunk] = (dsa_pointer) (uintptr_t)
				MemoryContextAllocExtended(arena->context, size,
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	}
	LWLockRelease(&shared->chunk_lock);
	if (shared->chunks[chunk] == InvalidDsaPointer)
		return NULL;
	arena->chunks[chunk] = arena->area != NULL ?
		dsa_get_address(arena->area, shared->chunks[chunk]) :
		(char *) (uintptr_t) shared->chunks[chunk];
	return arena->chunks[chunk];
}

GraphNode *
arena_slot(Arena *arena, NodeAddr addr)
{
	uint32		chunk = addr / ARENA_CHUNK_SLOTS;
	char	   *base = arena->chunks[chunk];

	if (base == NULL)
		base = arena_chunk(arena, chunk);
	if (base == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("An index build has no memory for slot %u.", addr)));
	return (GraphNode *) (base + (addr % ARENA_CHUNK_SLOTS) *
						  arena->base.layout.node_size);
}

/* Slots handed out so far. */
uint32
arena_nslots(Arena *arena)
{
	return pg_atomic_read_u32(&arena->shared->nslots);
}

/*
 * All rows have been loaded that there is memory for.  Slots for postings, which
 * come now, are few.
 */
void
arena_loaded(Arena *arena)
{
	if (arena->area != NULL)
		dsa_set_size_limit(arena->area, (size_t) -1);
}

/* Hand out the next slot of all; false where memory is used up. */
static bool
arena_next_slot(Arena *arena, NodeAddr *addr)
{
	uint32		next = arena_nslots(arena);

	do
	{
		uint32		chunk = next / ARENA_CHUNK_SLOTS;

		if (next >= arena->max_slots ||
			(arena->chunks[chunk] == NULL && arena_chunk(arena, chunk) == NULL))
			return false;
	} while (!pg_atomic_compare_exchange_u32(&arena->shared->nslots, &next,
											 next + 1));
	*addr = next;
	return true;
}

/* Load a row as a node without edges; false where memory is used up. */
bool
arena_load(Arena *arena, const OwnVector *own, const NodeRow *row)
{
	NodeAddr	addr;
	GraphNode  *node;

	if (!arena_next_slot(arena, &addr))
		return false;
	node = arena_slot(arena, addr);
	memset(node, 0, arena->base.layout.node_size);
	node_init(&arena->base.layout, node, own);
	node->kind = SLOT_LOADED;
	slot_rows_add(&arena->base.layout, node, row);
	return true;
}

/* Free a slot to which nothing points, for this process to use again. */
void
arena_release(Arena *arena, NodeAddr addr)
{
	arena_slot(arena, addr)->kind = SLOT_FREE;
	if (arena->nfree == arena->max_free)
	{
		arena->max_free *= 2;
		arena->free_slots = repalloc_huge(arena->free_slots,
										  sizeof(NodeAddr) * arena->max_free);
	}
	arena->free_slots[arena->nfree++] = addr;
}

static const GraphNode *
arena_read(GraphStore *base, NodeAddr addr)
{
	return arena_slot((Arena *) base, addr);
}

static void
arena_read_end(GraphStore *base)
{
}

static LWLock *
arena_lock(Arena *arena, NodeAddr addr)
{
	return &arena->shared->slot_locks[addr % ARENA_LOCKS];
}

static GraphNode *
arena_edit(GraphStore *base, NodeAddr addr)
{
	Arena	   *arena = (Arena *) base;

	LWLockAcquire(arena_lock(arena, addr), LW_EXCLUSIVE);
	arena->editing = addr;
	return arena_slot(arena, addr);
}

static void
arena_edit_end(GraphStore *base, bool changed)
{
	Arena	   *arena = (Arena *) base;

	LWLockRelease(arena_lock(arena, arena->editing));
}

/* Edits are written at once. */
static void
arena_collect(GraphStore *base)
{
}

static GraphNode *
arena_alloc(GraphStore *base, NodeAddr *addr)
{
	Arena	   *arena = (Arena *) base;

	if (arena->nfree > 0)
		*addr = arena->free_slots[--arena->nfree];
	else
		*addr = pg_atomic_fetch_add_u32(&arena->shared->nslots, 1);
	return arena_edit(base, *addr);
}

static void
arena_prefetch(GraphStore *base, NodeAddr addr)
{
	node_prefetch(&base->layout, arena_slot((Arena *) base, addr));
}

static void
arena_prefetch_own(GraphStore *base, NodeAddr addr)
{
	node_prefetch_own(&base->layout, arena_slot((Arena *) base, addr));
}
