/*
 * cache.c
 *		Towers that this backend has parsed.
 *
 * There are two steps from a reference to a tower.
 *
 * A resolution says which file a reference as 'movies/user' means, and who
 * may use it.  It is dropped when any model changes, which all backends learn
 * through the relation cache of recsys.model.  It is kept only if the row of
 * recsys.model behind it was the newest, and it serves only snapshots that see
 * that row: so a statement uses the version that was active in its snapshot,
 * as with any table that it reads, and never two versions.
 *
 * A parsed tower is one tower of one file.  Files never change and their ids
 * are never used again, so it stays valid; it is dropped only to make room.
 * After a load the towers used longest ago go until the rest is within
 * recsys.model_cache_size, but never the one in use: one tower larger than
 * the limit stays until another one is asked for.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/guc.h"
#include "tower/cache.h"
#include "tower/forward.h"
#include "tower/store.h"

/* References that are kept. */
#define MAX_RESOLUTIONS 1000

typedef struct Resolution
{
	char text[	MODEL_REF_MAX]; /* key */
	ModelRef	ref;
	ModelRow	model;
	Oid			table;			/* recsys.model */
	VersionRow	version;
	CachedTower *tower;			/* or NULL, when not loaded */
} Resolution;

static MemoryContext resolution_context;
static HTAB *resolutions;
static bool resolutions_valid;
static Oid	resolved_table;		/* recsys.model when they were made */

static dlist_head towers = DLIST_STATIC_INIT(towers);
static Size tower_bytes;
static uint64 next_serial = 1;

/* Relation cache callback: some model has changed, or everything may have. */
static void
on_relation_change(Datum argument, Oid relation)
{
	if (!OidIsValid(relation) || relation == resolved_table)
		resolutions_valid = false;
}

/* Start with no resolutions. */
static void
resolutions_reset(void)
{
	HASHCTL		control = {.keysize = MODEL_REF_MAX,.entrysize = sizeof(Resolution)};

	if (resolution_context == NULL)
	{
		resolution_context = AllocSetContextCreate(TopMemoryContext,
												   "recsys resolutions",
												   ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(on_relation_change, (Datum) 0);
	}
	resolutions = NULL;
	MemoryContextReset(resolution_context);
	control.hcxt = resolution_context;
	resolutions = hash_create("recsys resolutions", 32, &control,
							  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	resolved_table = store_model_table();
	resolutions_valid = true;
}

/* Does the snapshot see what was committed by xmin? */
static bool
snapshot_sees(Snapshot snapshot, TransactionId *xmin)
{
	if (!TransactionIdIsNormal(*xmin))
		return true;
	if (XidInMVCCSnapshot(*xmin, snapshot))
		return false;
	/* old enough for every later snapshot of this backend? */
	if (TransactionIdPrecedes(*xmin, TransactionXmin))
		*xmin = FrozenTransactionId;
	return true;
}

/*
 * Resolve a reference in a snapshot.  Returns whether the answer is good for
 * later snapshots too.
 */
static bool
resolution_make(Resolution *resolution, Snapshot snapshot)
{
	ModelRow	newest;

	resolution->table = store_model_table();
	model_ref_parse(&resolution->ref, resolution->text,
					strlen(resolution->text));
	store_get_model(resolution->ref.model, snapshot, &resolution->model);
	model_check_use(&resolution->model);
	store_get_version(&resolution->model, resolution->ref.version, snapshot,
					  &resolution->version);
	return !TransactionIdIsCurrentTransactionId(resolution->model.xmin) &&
		store_find_model(resolution->ref.model, NULL, &newest) &&
		ItemPointerEquals(&newest.tid, &resolution->model.tid);
}

/* Keep a resolution; the model's grantees are copied. */
static Resolution *
resolution_keep(const Resolution *resolution)
{
	Resolution *kept;
	ModelRow   *model;
	Size		size = sizeof(NameData) * resolution->model.ngrantees;

	if (hash_get_num_entries(resolutions) >= MAX_RESOLUTIONS)
		resolutions_reset();
	kept = hash_search(resolutions, resolution->text, HASH_ENTER, NULL);
	*kept = *resolution;
	model = &kept->model;
	model->ngrantees = 0;
	model->grantees = MemoryContextAlloc(resolution_context, Max(size, 1));
	memcpy(model->grantees, resolution->model.grantees, size);
	model->ngrantees = resolution->model.ngrantees;
	return kept;
}

/* Parsed towers */

static void
tower_drop(CachedTower *cached)
{
	HASH_SEQ_STATUS scan;
	Resolution *resolution;

	hash_seq_init(&scan, resolutions);
	while ((resolution = hash_seq_search(&scan)) != NULL)
	{
		if (resolution->tower == cached)
			resolution->tower = NULL;
	}
	dlist_delete(&cached->node);
	tower_bytes -= cached->bytes;
	MemoryContextDelete(cached->context);
}

static void
towers_make_room(const CachedTower *keep)
{
	Size		limit = (Size) guc_model_cache_size * 1024;

	while (tower_bytes > limit)
	{
		CachedTower *oldest = dlist_tail_element(CachedTower, node, &towers);

		if (oldest == keep)
			break;
		tower_drop(oldest);
	}
}

static CachedTower *
tower_find(const Resolution *resolution)
{
	dlist_iter	it;

	dlist_foreach(it, &towers)
	{
		CachedTower *cached = dlist_container(CachedTower, node, it.cur);

		if (cached->file == resolution->version.file &&
			cached->table == resolution->table &&
			strcmp(cached->tower->name, resolution->ref.tower) == 0)
			return cached;
	}
	return NULL;
}

/* The tower of that name in a spec; an error that lists what there is. */
static const JsonField *
tower_choose(const JsonTree *all, const Resolution *resolution)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < all->n; i++)
	{
		const char *name = all->fields[i].key;

		if (strcmp(name, resolution->ref.tower) == 0)
			return &all->fields[i];
		appendStringInfo(&names, "%s%s%s%s", i ? ", " : "",
						 resolution->ref.model, name[0] ? "/" : "", name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 resolution->ref.tower[0] ?
			 errmsg("model \"%s\" has no tower \"%s\"", resolution->ref.model,
					resolution->ref.tower) :
			 errmsg("model \"%s\" is a bundle", resolution->ref.model),
			 errhint("Its towers are: %s.", names.data)));
}

/*
 * Read a tower from its file.  It is built under the current memory context,
 * so that an error leaves nothing, and moved when it is whole.
 */
static CachedTower *
tower_load(const Resolution *resolution)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys model file",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys tower",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	PartSource *source = MemoryContextAlloc(context, sizeof(PartSource));
	TensorFile *file;
	const JsonField *chosen;
	CachedTower *cached;

	part_source_init(source, &resolution->version);
	file = safetensors_open(&source->base);
	chosen = tower_choose(spec_towers(file), resolution);
	MemoryContextSwitchTo(context);
	cached = palloc0(sizeof(CachedTower));
	cached->tower = spec_build(file, chosen);
	batch_init(&cached->row, cached->tower, 1);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);

	cached->table = resolution->table;
	cached->file = resolution->version.file;
	cached->serial = next_serial++;
	cached->context = context;
	cached->bytes = MemoryContextMemAllocated(context, true);
	MemoryContextSetParent(context, CacheMemoryContext);
	MemoryContextSetIdentifier(context, cached->tower->name);
	dlist_push_head(&towers, &cached->node);
	tower_bytes += cached->bytes;
	return cached;
}

/*
 * The resolution of a reference for a snapshot: the one that is kept, if it
 * serves, else a new one, in *room if it must not be kept.
 */
static Resolution *
resolve(const char *ref, Size length, Snapshot snapshot, Resolution *room)
{
	Resolution *kept;

	if (length >= MODEL_REF_MAX)
		model_ref_parse(&room->ref, ref, length);	/* raises an error */
	memcpy(room->text, ref, length);
	memset(room->text +length, 0, MODEL_REF_MAX - length);
	if (!resolutions_valid)
		resolutions_reset();
	kept = hash_search(resolutions, room->text, HASH_FIND, NULL);
	if (kept && snapshot_sees(snapshot, &kept->model.xmin))
	{
		model_check_use(&kept->model);
		return kept;
	}
	room->tower = NULL;
	if (resolution_make(room, snapshot) && resolutions_valid)
		return resolution_keep(room);
	return room;
}

/*
 * The tower of a reference, as the active snapshot sees it; the current user
 * must be allowed to use the model.  The result is valid until the next call.
 */
CachedTower *
cache_get(const char *ref, Size length)
{
	Snapshot	snapshot = GetActiveSnapshot();
	Resolution	room;
	Resolution *resolution;
	CachedTower *cached;

	AcceptInvalidationMessages();
	resolution = resolve(ref, length, snapshot, &room);
	if (resolution->tower == NULL)
		resolution->tower = tower_find(resolution);
	if (resolution->tower == NULL)
		resolution->tower = tower_load(resolution);
	cached = resolution->tower;
	dlist_move_head(&towers, &cached->node);
	towers_make_room(cached);
	return cached;
}
