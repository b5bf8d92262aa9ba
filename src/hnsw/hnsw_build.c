/*
 * hnsw_build.c
 *		CREATE INDEX: load, link, write.
 *
 * Rows are loaded into the arena first, so that M, the unit and the entry set
 * come from all of them and not from the first few.  Then every node is
 * linked by the same code that serves a single insert, cell by cell, and the
 * graph is put on pages so that neighbours share them.  Rows beyond maintenance_work_mem
 * are inserted into the pages one by one.  The index is logged at the end.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"
#include "index/parallel_build.h"

/* Nodes that a process takes before it looks for more work. */
#define SCATTER_BATCH 256

/* One node of so many is linked before those that follow cell by cell. */
#define SCATTER_STEP 16

/* Subphases in pg_stat_progress_create_index; 1 is the server's. */
#define PROGRESS_PHASE(phase) ((phase) + 2)

char *
hnsw_build_phase_name(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case PROGRESS_PHASE(BUILD_LOAD):
			return "loading vectors";
		case PROGRESS_PHASE(BUILD_PREPARE):
			return "choosing entry points";
		case PROGRESS_PHASE(BUILD_SCATTER):
		case PROGRESS_PHASE(BUILD_LINK):
			return "linking nodes";
		case PROGRESS_PHASE(BUILD_WRITE):
			return "writing pages";
		case PROGRESS_PHASE(BUILD_INSERT):
			return "inserting rows beyond memory";
		default:
			return NULL;
	}
}

/* ----- one process of a build ----- */

Builder *
builder_create(BuildShared *shared, ArenaShared *arena, dsa_area *area,
			   Relation heap, Relation index, IndexInfo *index_info)
{
	Builder    *builder = palloc0(sizeof(Builder));

	builder->shared = shared;
	builder->arena = arena_attach(arena, area);
	builder->area = area;
	builder->heap = heap;
	builder->index = index;
	builder->index_info = index_info;
	builder->filters = filter_encoder_create(index);
	builder->leader = !IsParallelWorker();
	builder->context = CurrentMemoryContext;
	builder->row_context = AllocSetContextCreate(CurrentMemoryContext,
												 "recsys_hnsw build row",
												 ALLOCSET_DEFAULT_SIZES);
	return builder;
}

/* The entry set that the leader has chosen; NULL without rows. */
static EntrySet *
builder_entries(Builder *builder)
{
	dsa_pointer entries = builder->shared->entries;

	if (entries == InvalidDsaPointer)
		return NULL;
	return builder->area != NULL ? dsa_get_address(builder->area, entries) :
		(EntrySet *) (uintptr_t) entries;
}

/* Link one node, or merge it into the node that holds the same vector. */
static void
builder_link_node(Builder *builder, const EntrySet *set, NodeAddr addr)
{
	Arena	   *arena = builder->arena;
	const NodeLayout *layout = &arena->base.layout;
	GraphNode  *node = arena_slot(arena, addr);
	OwnVector	own = {node->scale, node->norm, node->err,
	node_own(layout, node), node_fine(layout, node)};
	SlotRows	rows = slot_rows(layout, node);
	NodeRow		row;
	NodeAddr	same;

	slot_rows_get(&rows, 0, &row);
	node_own_decode(layout, node, builder->rotated);
	same = linker_find(builder->linker, set, builder->rotated, &own, addr);
	if (same != INVALID_NODE_ADDR &&
		node_add_row(&arena->base, same, &own, &row))
		arena_release(arena, addr);
	else
		linker_link(builder->linker, &own, addr, NULL);
}

/* Make room for linking, once the leader has decided unit and M. */
static void
builder_begin_link(Builder *builder)
{
	Arena	   *arena = builder->arena;

	if (builder->linker != NULL)
		return;
	arena_refresh(arena);
	builder->rotated = palloc(sizeof(float) * arena->base.layout.padded_dim);
	builder->linker = linker_create(&arena->base,
									builder->shared->ef_construction);
}

/* Link the nodes of the entry set, each of which then serves as an entry. */
static void
builder_link_entries(Builder *builder, EntrySet *set)
{
	uint32	   *kinds = palloc(sizeof(uint32) * set->n);

	for (int i = 0; i < set->n; i++)
	{
		kinds[i] = set->entries[i].kind;
		set->entries[i].kind = ENTRY_NONE;
	}
	for (int i = 0; i < set->n; i++)
	{
		NodeAddr	addr = set->entries[i].addr;

		CHECK_FOR_INTERRUPTS();
		if (arena_slot(builder->arena, addr)->kind == SLOT_LOADED)
			builder_link_node(builder, set, addr);
		if (arena_slot(builder->arena, addr)->kind == SLOT_NODE)
			set->entries[i].kind = kinds[i];
	}
}

/* BUILD_PREPARE: what is decided from all rows together. */
static void
builder_prepare(Builder *builder)
{
	EntrySet   *set;
	Size		size;

	builder->shared->nloaded = arena_nslots(builder->arena);
	if (builder->shared->nloaded == 0)
		return;
	/* workers may have loaded all rows */
	arena_refresh(builder->arena);
	arena_loaded(builder->arena);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL,
								 builder->shared->nloaded);
	set = entry_set_build(builder->arena);
	size = entry_set_size(set->n, set->padded_dim);
	if (builder->area != NULL)
	{
		builder->shared->entries = dsa_allocate(builder->area, size);
		memcpy(builder_entries(builder), set, size);
		pfree(set);
	}
	else
		builder->shared->entries = (dsa_pointer) (uintptr_t) set;
	builder_begin_link(builder);
	builder_link_entries(builder, builder_entries(builder));
}

/* Numbers that a process has taken for itself. */
typedef struct WorkPart
{
	uint32		first;
	uint32		end;
} WorkPart;

/*
 * Take the next part of the work that all processes share: up to size of the
 * numbers below n.  Returns whether there is any.
 */
static bool
builder_next(pg_atomic_uint32 *next, uint32 size, uint32 n, WorkPart *part)
{
	part->first = pg_atomic_fetch_add_u32(next, size);
	part->end = part->first < n ? Min(part->first + size, n) : n;
	return part->first < n;
}

/* More nodes are linked: the leader tells how many in all. */
static void
builder_report(Builder *builder, uint32 nlinked)
{
	nlinked += pg_atomic_fetch_add_u32(&builder->shared->nlinked, nlinked);
	if (builder->leader)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, nlinked);
}

/* Where a node that is loaded keeps the next one of its cell. */
static NodeAddr *
loaded_next(Arena *arena, NodeAddr addr)
{
	return node_addrs(&arena->base.layout, arena_slot(arena, addr));
}

/* Put a loaded node at the head of its cell's list. */
static void
builder_add_to_cell(Builder *builder, NodeAddr addr)
{
	Arena	   *arena = builder->arena;
	const int8 *codes = node_own(&arena->base.layout, arena_slot(arena, addr));
	int			cell = entry_nearest_cell(builder_entries(builder), codes);

	*loaded_next(arena, addr) =
		pg_atomic_exchange_u32(&builder->shared->cells[Max(cell, 0)], addr);
}

/* BUILD_SCATTER: link some nodes of all cells, and list the others by cell. */
static void
builder_scatter(Builder *builder)
{
	BuildShared *shared = builder->shared;
	WorkPart	part;

	while (builder_next(&shared->next_scatter, SCATTER_BATCH, shared->nloaded,
						&part))
	{
		for (NodeAddr addr = part.first; addr < part.end; addr++)
		{
			CHECK_FOR_INTERRUPTS();
			if (arena_slot(builder->arena, addr)->kind != SLOT_LOADED)
				continue;
			if (addr % SCATTER_STEP == 0)
				builder_link_node(builder, builder_entries(builder), addr);
			else
				builder_add_to_cell(builder, addr);
		}
		builder_report(builder, (part.end - part.first) / SCATTER_STEP);
	}
}

/* BUILD_LINK: all processes take cells in turn. */
static void
builder_link(Builder *builder)
{
	BuildShared *shared = builder->shared;
	WorkPart	part;

	while (builder_next(&shared->next_cell, 1, ENTRY_MAX, &part))
	{
		NodeAddr	addr = pg_atomic_read_u32(&shared->cells[part.first]);
		EntrySet   *set;
		uint32		ndone = 0;

		if (addr == INVALID_NODE_ADDR)
			continue;
		set = entry_set_of_cell(builder->arena, builder_entries(builder),
								part.first);
		while (addr != INVALID_NODE_ADDR)
		{
			NodeAddr	next = *loaded_next(builder->arena, addr);

			CHECK_FOR_INTERRUPTS();
			builder_link_node(builder, set, addr);
			ndone++;
			addr = next;
		}
		pfree(set);
		builder_report(builder, ndone);
	}
}

/* BUILD_WRITE: make every node reachable, and put the graph on pages. */
static void
builder_write(Builder *builder)
{
	EntrySet   *set = builder_entries(builder);

	graph_connect(builder->arena, set);
	graph_flush(builder->index, builder->arena, set);
}

/* The work of this process in its phase; without rows there is none. */
static void
builder_work(Builder *builder)
{
	if (builder->leader)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 PROGRESS_PHASE(builder->phase));
	if (builder->phase == BUILD_PREPARE && builder->leader)
		builder_prepare(builder);
	if (builder->phase <= BUILD_PREPARE || builder->shared->nloaded == 0)
		return;
	builder_begin_link(builder);
	if (builder->phase == BUILD_SCATTER)
		builder_scatter(builder);
	else if (builder->phase == BUILD_LINK)
		builder_link(builder);
	else if (builder->phase == BUILD_WRITE && builder->leader)
		builder_write(builder);
}

/* Loading has ended: take part in the phases up to BUILD_INSERT. */
static void
builder_finish_memory(Builder *builder)
{
	BuildShared *shared = builder->shared;
	MemoryContext old = MemoryContextSwitchTo(builder->context);

	while (builder->phase < BUILD_INSERT)
	{
		builder_work(builder);
		if (shared->parallel)
			BarrierArriveAndWait(&shared->barrier,
								 WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
		builder->phase++;
		if (builder->phase == BUILD_PREPARE && builder->leader &&
			pg_atomic_read_u32(&shared->overflow) != 0)
			ereport(NOTICE,
					(errmsg("the graph of index \"%s\" no longer fits into maintenance_work_mem after %u rows",
							RelationGetRelationName(builder->index),
							arena_nslots(builder->arena)),
					 errdetail("The remaining rows are inserted one by one, which takes longer."),
					 errhint("Increase maintenance_work_mem to speed up the build.")));
	}
	builder->inserter = inserter_create(builder->index, PAGE_WAL_AT_END);
	MemoryContextSwitchTo(old);
	if (builder->leader)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 PROGRESS_PHASE(BUILD_INSERT));
}

/* BUILD_LOAD: load one row; false where memory is used up. */
static bool
builder_load(Builder *builder, const Vector *vector, const NodeRow *row)
{
	Arena	   *arena = builder->arena;

	if (pg_atomic_read_u32(&builder->shared->overflow) != 0)
		return false;
	if (builder->coder == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(builder->context);

		coder_check_dim(builder->index, vector->dim);
		builder->coder = coder_create(arena_start(arena, vector->dim),
									  arena->shared->nfilters,
									  arena->base.metric);
		MemoryContextSwitchTo(old);
	}
	coder_encode(builder->coder, vector);
	if (arena_load(arena, &builder->coder->own, row))
		return true;
	pg_atomic_write_u32(&builder->shared->overflow, 1);
	return false;
}

/* Callback of the table scan. */
static void
builder_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			bool alive, void *state)
{
	Builder    *builder = state;
	MemoryContext old;
	Vector	   *vector;
	NodeRow		row;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(builder->row_context);
	vector = DatumGetVector(values[0]);
	row.tid = *tid;
	filter_encode(builder->filters, values, isnull, &row.keys);
	if (builder->phase == BUILD_LOAD && !builder_load(builder, vector, &row))
		builder_finish_memory(builder);
	if (builder->phase == BUILD_INSERT)
		inserter_insert(builder->inserter, vector, &row);
	builder->ntuples++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(builder->row_context);
}

/*
 * Do this process's share of the build.  The scan is a parallel one, or NULL
 * for one that this process makes itself.  The leader has attached to the
 * barrier before.
 */
void
builder_run(Builder *builder, TableScanDesc scan)
{
	BuildShared *shared = builder->shared;
	double		heap_tuples;

	builder->phase = BUILD_LOAD;
	/* a worker that comes when all have left meets the phase after the last */
	if (!builder->leader)
	{
		int			phase = BarrierAttach(&shared->barrier);

		builder->phase = (BuildPhase) Min(phase, (int) BUILD_INSERT);
	}
	else
		builder_work(builder);
	if (builder->phase != BUILD_LOAD)
		builder_finish_memory(builder);
	heap_tuples = table_index_build_scan(builder->heap, builder->index,
										 builder->index_info, true,
										 builder->leader, builder_row, builder,
										 scan);
	if (builder->phase == BUILD_LOAD)
		builder_finish_memory(builder);
	inserter_close(builder->inserter);
	SpinLockAcquire(&shared->mutex);
	shared->heap_tuples += heap_tuples;
	shared->index_tuples += builder->ntuples;
	SpinLockRelease(&shared->mutex);
	if (shared->parallel)
		BarrierArriveAndDetach(&shared->barrier);
}

/* ----- the whole build ----- */

void
build_shared_init(BuildShared *shared, Relation index)
{
	memset(shared, 0, sizeof(BuildShared));
	shared->ef_construction = hnsw_ef_construction(index);
	shared->entries = InvalidDsaPointer;
	SpinLockInit(&shared->mutex);
	pg_atomic_init_u32(&shared->next_scatter, 0);
	pg_atomic_init_u32(&shared->next_cell, 0);
	pg_atomic_init_u32(&shared->nlinked, 0);
	for (int i = 0; i < ENTRY_MAX; i++)
		pg_atomic_init_u32(&shared->cells[i], INVALID_NODE_ADDR);
	pg_atomic_init_u32(&shared->overflow, 0);
}

/* Build without workers, in memory of this process. */
static void
build_alone(Relation heap, Relation index, IndexInfo *index_info,
			IndexBuildResult *result)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_hnsw build",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Size		memory = (Size) maintenance_work_mem * 1024;
	BuildShared *shared = palloc(sizeof(BuildShared));
	ArenaShared *arena = palloc_extended(arena_shared_size(memory),
										 MCXT_ALLOC_HUGE);

	build_shared_init(shared, index);
	arena_shared_init(arena, index, memory);
	builder_run(builder_create(shared, arena, NULL, heap, index, index_info),
				NULL);
	result->heap_tuples = shared->heap_tuples;
	result->index_tuples = shared->index_tuples;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

IndexBuildResult *
hnsw_build(Relation heap, Relation index, IndexInfo *index_info)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	int			nworkers = parallel_build_nworkers(heap, index, index_info);

	/* refuse what can never be indexed, even in an empty table */
	coder_check_dim(index, TupleDescAttr(RelationGetDescr(index), 0)->atttypmod);
	hnsw_meta_create(index, MAIN_FORKNUM);
	if (nworkers == 0 ||
		!build_in_parallel(heap, index, index_info, nworkers, result))
		build_alone(heap, index, index_info, result);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0,
						  RelationGetNumberOfBlocks(index), true);
	return result;
}

void
hnsw_build_empty(Relation index)
{
	hnsw_meta_create(index, INIT_FORKNUM);
}
