/*
 * hnsw_build.c
 *		CREATE INDEX: load, link, write.
 *
 * Rows are loaded into the arena first, so that M, the unit and the entry set
 * come from all of them and not from the first few.  Then every node is linked
 * by the same code that serves a single insert, cell by cell, and the graph is
 * put on pages so that neighbours share them.  Rows beyond
 * maintenance_work_mem are inserted into the pages one by one.  The index is
 * logged at the end.
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

/* Nodes that a process links before it looks for more work, or reports. */
#define LINK_BATCH 64

/* One node of so many is linked before those that follow cell by cell. */
#define SCATTER_STEP 16

/* Pages that a process writes, and that it logs, before it looks for more. */
#define WRITE_BATCH 64
#define LOG_BATCH 256

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
		case PROGRESS_PHASE(BUILD_CELLS):
		case PROGRESS_PHASE(BUILD_ENTER):
			return "choosing entry points";
		case PROGRESS_PHASE(BUILD_SCATTER):
		case PROGRESS_PHASE(BUILD_LINK):
			return "linking nodes";
		case PROGRESS_PHASE(BUILD_PLACE):
		case PROGRESS_PHASE(BUILD_WRITE):
		case PROGRESS_PHASE(BUILD_FINISH):
			return "writing pages";
		case PROGRESS_PHASE(BUILD_INSERT):
			return "inserting rows beyond memory";
		case PROGRESS_PHASE(BUILD_LOG):
			return "logging pages";
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

/* Make room for linking when the first node is linked. */
static void
builder_begin_link(Builder *builder)
{
	Arena	   *arena = builder->arena;

	if (builder->linker != NULL)
		return;
	builder->rotated = palloc(sizeof(float) * arena->base.layout.padded_dim);
	builder->linker = linker_create(&arena->base,
									builder->shared->ef_construction,
									LINK_FULL);
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

	builder_begin_link(builder);
	slot_rows_get(&rows, 0, &row);
	node_own_decode(layout, node, builder->rotated);
	same = linker_find(builder->linker, set, builder->rotated, &own, addr);
	if (same != INVALID_NODE_ADDR &&
		node_add_row(&arena->base, same, &own, &row))
		arena_release(arena, addr);
	else
		linker_link(builder->linker, &own, addr, NULL);
}

/* ----- work that processes share ----- */

/* Numbers that a process has taken for itself. */
typedef struct WorkPart
{
	uint32		first;
	uint32		end;
} WorkPart;

/*
 * Take the next part of this phase's work: up to size of the numbers below n.
 * Returns whether there is any.
 */
static bool
builder_next(Builder *builder, uint32 size, uint32 n, WorkPart *part)
{
	part->first = pg_atomic_fetch_add_u32(&builder->shared->taken[builder->phase],
										  size);
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

/* ----- the entry set ----- */

/* BUILD_PREPARE: what is decided from all rows together. */
static void
builder_prepare(Builder *builder)
{
	BuildShared *shared = builder->shared;
	EntrySet   *set;
	Size		size;

	shared->nloaded = arena_nslots(builder->arena);
	if (shared->nloaded == 0)
		return;
	/* workers may have loaded all rows */
	arena_refresh(builder->arena);
	arena_loaded(builder->arena);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL,
								 shared->nloaded);
	set = entry_set_begin(builder->arena, &shared->champion_norm);
	size = entry_set_size(set->n, set->padded_dim);
	piece_create(&shared->entries, shared->parallel, size);
	memcpy(piece_attach(&shared->entries), set, size);
	pfree(set);
	piece_create(&shared->next, shared->parallel,
				 mul_size(sizeof(NodeAddr), shared->nloaded));
}

/*
 * Put a node on its cell's list, unless it is one of those that are linked
 * before, and let it try for champion.
 */
static void
builder_add_to_cell(Builder *builder, NodeAddr addr, int cell)
{
	BuildShared *shared = builder->shared;
	float		norm = arena_slot(builder->arena, addr)->norm;

	if (addr % SCATTER_STEP != 0)
		builder->next[addr] = pg_atomic_exchange_u32(&shared->cells[cell], addr);
	if (norm >= shared->champion_norm)
		champion_offer(&shared->champions[cell], norm, addr);
}

/* BUILD_CELLS: find the cell of every node. */
static void
builder_find_cells(Builder *builder)
{
	CellFinder *finder = cell_finder_create(builder->set);
	int			cells[CELL_BATCH];
	WorkPart	part;

	while (builder_next(builder, CELL_BATCH, builder->shared->nloaded, &part))
	{
		CHECK_FOR_INTERRUPTS();
		cell_finder_find(finder, builder->arena, part.first,
						 part.end - part.first, cells);
		for (NodeAddr addr = part.first; addr < part.end; addr++)
			builder_add_to_cell(builder, addr, cells[addr - part.first]);
	}
	cell_finder_free(finder);
}

/*
 * BUILD_ENTER: the cells' champions are known.  Link the nodes of the entry
 * set, each of which then serves as an entry.
 */
static void
builder_enter(Builder *builder)
{
	EntrySet   *set = builder->set;
	uint32	   *kinds = palloc(sizeof(uint32) * set->n);

	entry_set_finish(set, builder->arena, builder->shared->champions);
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
	pfree(kinds);
}

/* ----- linking ----- */

/* BUILD_SCATTER: link some nodes of all cells. */
static void
builder_scatter(Builder *builder)
{
	uint32		n = (builder->shared->nloaded - 1) / SCATTER_STEP + 1;
	WorkPart	part;

	while (builder_next(builder, LINK_BATCH, n, &part))
	{
		for (uint32 i = part.first; i < part.end; i++)
		{
			NodeAddr	addr = i * SCATTER_STEP;

			CHECK_FOR_INTERRUPTS();
			if (arena_slot(builder->arena, addr)->kind == SLOT_LOADED)
				builder_link_node(builder, builder->set, addr);
		}
		builder_report(builder, part.end - part.first);
	}
}

/* Take a node off a cell's list; INVALID_NODE_ADDR where there is none. */
static NodeAddr
builder_take(Builder *builder, int cell)
{
	pg_atomic_uint32 *head = &builder->shared->cells[cell];
	NodeAddr	addr = pg_atomic_read_u32(head);

	/* lists only become shorter, so a head that is the same is no other */
	while (addr != INVALID_NODE_ADDR &&
		   !pg_atomic_compare_exchange_u32(head, &addr, builder->next[addr]))
		;
	return addr;
}

/* Link the nodes that are left of a cell. */
static void
builder_link_cell(Builder *builder, int cell)
{
	NodeAddr	addr = builder_take(builder, cell);
	EntrySet   *set;
	uint32		ndone = 0;

	if (addr == INVALID_NODE_ADDR)
		return;
	set = entry_set_of_cell(builder->arena, builder->set, cell);
	builder_begin_link(builder);
	linker_begin_cell(builder->linker);
	for (; addr != INVALID_NODE_ADDR; addr = builder_take(builder, cell))
	{
		CHECK_FOR_INTERRUPTS();
		if (arena_slot(builder->arena, addr)->kind == SLOT_LOADED)
			builder_link_node(builder, set, addr);
		if (++ndone % LINK_BATCH == 0)
			builder_report(builder, LINK_BATCH);
	}
	builder_report(builder, ndone % LINK_BATCH);
	pfree(set);
}

/*
 * BUILD_LINK: all processes take cells in turn, and then help those that are
 * not done with theirs.
 */
static void
builder_link(Builder *builder)
{
	WorkPart	part;

	while (builder_next(builder, 1, builder->set->n, &part))
		builder_link_cell(builder, part.first);
	for (int cell = 0; cell < builder->set->n; cell++)
		builder_link_cell(builder, cell);
	/* a worker that comes late wants the lists until the phase has ended */
	if (!builder->leader)
		piece_detach(&builder->shared->next);
}

/* ----- writing ----- */

/* BUILD_PLACE: decide where slots go. */
static void
builder_place(Builder *builder)
{
	BuildShared *shared = builder->shared;
	uint32		nslots = arena_nslots(builder->arena);

	piece_detach(&shared->next);
	piece_create(&shared->places, shared->parallel, graph_places_size(nslots));
	graph_place(builder->index, builder->arena, builder->set,
				piece_attach(&shared->places));
}

/* BUILD_WRITE: put the graph on pages. */
static void
builder_write(Builder *builder)
{
	uint32		npages = graph_npages(builder->arena, builder->places);
	WorkPart	part;

	while (builder_next(builder, WRITE_BATCH, npages, &part))
		graph_write(builder->index, builder->arena, builder->places,
					part.first, part.end);
}

/* BUILD_FINISH: what comes when the graph is written. */
static void
builder_finish(Builder *builder)
{
	graph_finish(builder->index, builder->arena, builder->places);
}

/* BUILD_LOG: log all pages, now that nothing changes them any more. */
static void
builder_log(Builder *builder)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(builder->index);
	WorkPart	part;

	if (!RelationNeedsWAL(builder->index))
		return;
	while (builder_next(builder, LOG_BATCH, nblocks, &part))
		log_newpage_range(builder->index, MAIN_FORKNUM, part.first, part.end,
						  true);
}

/* ----- the phases ----- */

/* What is done in a phase besides reading rows. */
typedef struct PhaseWork
{
	void		(*work) (Builder *builder);
	bool		alone;			/* by the leader alone */
	bool		of_graph;		/* where rows were loaded */
} PhaseWork;

static const PhaseWork phase_work[BUILD_PHASES] = {
	[BUILD_PREPARE] = {builder_prepare, true, false},
	[BUILD_CELLS] = {builder_find_cells, false, true},
	[BUILD_ENTER] = {builder_enter, true, true},
	[BUILD_SCATTER] = {builder_scatter, false, true},
	[BUILD_LINK] = {builder_link, false, true},
	[BUILD_PLACE] = {builder_place, true, true},
	[BUILD_WRITE] = {builder_write, false, true},
	[BUILD_FINISH] = {builder_finish, true, true},
	[BUILD_LOG] = {builder_log, false, false},
};

/* Find what the leader has decided and made so far. */
static void
builder_attach(Builder *builder)
{
	BuildShared *shared = builder->shared;

	arena_refresh(builder->arena);
	builder->set = piece_attach(&shared->entries);
	if (builder->phase <= BUILD_LINK)
		builder->next = piece_attach(&shared->next);
	if (builder->phase > BUILD_PLACE)
		builder->places = piece_attach(&shared->places);
}

/* The work of this process in its phase. */
static void
builder_work(Builder *builder)
{
	const PhaseWork *phase = &phase_work[builder->phase];

	if (builder->leader)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 PROGRESS_PHASE(builder->phase));
	if (phase->work == NULL || (phase->alone && !builder->leader) ||
		(phase->of_graph && builder->shared->nloaded == 0))
		return;
	if (phase->of_graph)
		builder_attach(builder);
	phase->work(builder);
}

/* Go on to the next phase when all processes do. */
static void
builder_advance(Builder *builder)
{
	if (builder->shared->parallel)
		BarrierArriveAndWait(&builder->shared->barrier,
							 WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	builder->phase++;
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
		builder_advance(builder);
		if (builder->phase == BUILD_PREPARE && builder->leader &&
			pg_atomic_read_u32(&shared->overflow) != 0)
			ereport(NOTICE,
					(errmsg("the graph of index \"%s\" no longer fits into maintenance_work_mem after %u rows",
							RelationGetRelationName(builder->index),
							arena_nslots(builder->arena)),
					 errdetail("The remaining rows are inserted one by one, which takes longer."),
					 errhint("Increase maintenance_work_mem to speed up the build.")));
	}
	piece_detach(&shared->entries);
	piece_detach(&shared->places);
	if (builder->phase == BUILD_INSERT)
	{
		builder->inserter = inserter_create(builder->index, PAGE_WAL_AT_END);
		builder_work(builder);
	}
	MemoryContextSwitchTo(old);
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

		builder->phase = (BuildPhase) Min(phase, (int) BUILD_LOG);
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
	SpinLockAcquire(&shared->mutex);
	shared->heap_tuples += heap_tuples;
	shared->index_tuples += builder->ntuples;
	SpinLockRelease(&shared->mutex);
	if (builder->phase == BUILD_INSERT)
	{
		inserter_close(builder->inserter);
		builder_advance(builder);
	}
	builder_work(builder);
	if (shared->parallel)
		BarrierArriveAndDetach(&shared->barrier);
}

/* ----- the whole build ----- */

void
build_shared_init(BuildShared *shared, Relation index)
{
	memset(shared, 0, sizeof(BuildShared));
	shared->ef_construction = hnsw_ef_construction(index);
	shared->entries.handle = DSM_HANDLE_INVALID;
	shared->next.handle = DSM_HANDLE_INVALID;
	shared->places.handle = DSM_HANDLE_INVALID;
	SpinLockInit(&shared->mutex);
	for (int i = 0; i < BUILD_PHASES; i++)
		pg_atomic_init_u32(&shared->taken[i], 0);
	pg_atomic_init_u32(&shared->nlinked, 0);
	for (int i = 0; i < ENTRY_MAX; i++)
	{
		pg_atomic_init_u32(&shared->cells[i], INVALID_NODE_ADDR);
		pg_atomic_init_u64(&shared->champions[i], 0);
	}
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
	return result;
}

void
hnsw_build_empty(Relation index)
{
	hnsw_meta_create(index, INIT_FORKNUM);
}
