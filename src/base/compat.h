/*
 * compat.h
 *		Differences between PostgreSQL 15 and later: the only home of
 *		PG_VERSION_NUM.
 */
#ifndef RECSYS_COMPAT_H
#define RECSYS_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "recsys needs PostgreSQL 15 or later"
#endif

/* Before 16 an SQL-callable function is hidden as any other is. */
#if PG_VERSION_NUM < 160000
#include "fmgr.h"
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname) \
extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
extern PGDLLEXPORT const Pg_finfo_record * CppConcat(pg_finfo_,funcname)(void); \
const Pg_finfo_record * \
CppConcat(pg_finfo_,funcname) (void) \
{ \
	static const Pg_finfo_record my_finfo = { 1 }; \
	return &my_finfo; \
} \
extern int no_such_variable
#endif

/* varlena macros moved out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Since 18 the mark stands before a declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn _Noreturn
#endif

/* Before 16 there are no soft errors: all errors are raised. */
#if PG_VERSION_NUM < 160000
#define ereturn(context, dummy_value, ...) \
	do { \
		(void) (context); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy_value; \
	} while (0)
#endif
#include "nodes/pathnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/float.h"
#include "utils/rel.h"

/* See index/filter_plan.c. */
#if PG_VERSION_NUM < 170000
#define COMPAT_PLANNER_LEAVES_OUT_CLAUSES
#endif

/*
 * Keep the planner from a path, whatever else is disabled.  Since 18 disabled
 * plans are counted, and costs come after that.
 */
static inline void
compat_path_forbid(IndexPath *path, Cost *startup_cost, Cost *total_cost)
{
	*startup_cost = *total_cost = get_float8_infinity();
#if PG_VERSION_NUM >= 180000
	path->path.disabled_nodes += 2;
#endif
}

/*
 * A new block at the end of a fork, pinned and exclusively locked.  The
 * extension lock keeps two processes from taking the same block.  It is taken
 * for a relation that this transaction has made as well: workers of a build
 * extend it too.
 */
static inline Buffer
compat_extend_relation(Relation rel, ForkNumber fork)
{
#if PG_VERSION_NUM >= 160000
	return ExtendBufferedRel(BMR_REL(rel), fork, NULL, EB_LOCK_FIRST);
#else
	Buffer		buffer;

	LockRelationForExtension(rel, ExclusiveLock);
	buffer = ReadBufferExtended(rel, fork, P_NEW, RBM_NORMAL, NULL);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	UnlockRelationForExtension(rel, ExclusiveLock);
	return buffer;
#endif
}

/* Make a fork at least so many blocks long; new ones are all zero. */
static inline void
compat_extend_relation_to(Relation rel, ForkNumber fork, BlockNumber nblocks)
{
#if PG_VERSION_NUM >= 160000
	ReleaseBuffer(ExtendBufferedRelTo(BMR_REL(rel), fork, NULL, 0, nblocks,
									  RBM_NORMAL));
#else
	LockRelationForExtension(rel, ExclusiveLock);
	while (RelationGetNumberOfBlocksInFork(rel, fork) < nblocks)
		ReleaseBuffer(ReadBufferExtended(rel, fork, P_NEW, RBM_NORMAL, NULL));
	UnlockRelationForExtension(rel, ExclusiveLock);
#endif
}

/*
 * The JSON parser's semantic actions return a result since 16, and its lexer
 * is made by another call since 17.
 */
#if PG_VERSION_NUM >= 160000
#define COMPAT_JSON_ACTION JsonParseErrorType
#define COMPAT_JSON_DONE return JSON_SUCCESS
#else
#define COMPAT_JSON_ACTION void
#define COMPAT_JSON_DONE return
#endif

#if PG_VERSION_NUM >= 170000
#define compat_json_lex(text) makeJsonLexContext(NULL, (text), true)
#else
#define compat_json_lex(text) makeJsonLexContext((text), true)
#endif
/* Count an index scan; since 18 EXPLAIN shows their number too. */
#if PG_VERSION_NUM >= 180000
#define compat_count_index_scan(scan) \
	do { \
		pgstat_count_index_scan((scan)->indexRelation); \
		if ((scan)->instrument) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define compat_count_index_scan(scan) \
	pgstat_count_index_scan((scan)->indexRelation)
#endif

/* The number that names the file of a relation, and a look at a buffer. */
#if PG_VERSION_NUM >= 160000
#define compat_file_number(rel) ((rel)->rd_locator.relNumber)
#define compat_read_recent_buffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_locator, MAIN_FORKNUM, block, buffer)
#else
#define compat_file_number(rel) ((rel)->rd_node.relNode)
#define compat_read_recent_buffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_node, MAIN_FORKNUM, block, buffer)
#endif

#include "access/amapi.h"

/* Whether IndexInfo already says how many workers to use. */
static inline bool
compat_build_workers_are_planned(void)
{
#if PG_VERSION_NUM >= 170000
	return true;
#else
	return false;
#endif
}

/* From 17 on the server plans workers for access methods that say so. */
static inline void
compat_am_can_build_parallel(IndexAmRoutine *am)
{
#if PG_VERSION_NUM >= 170000
	am->amcanbuildparallel = true;
#endif
}

#include "access/genam.h"
#include "access/relscan.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* A scan of an index in the order of its first nkeys and norderbys keys. */
static inline IndexScanDesc
compat_begin_index_scan(Relation heap, Relation index, Snapshot snapshot,
						int nkeys, int norderbys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, norderbys);
#else
	return index_beginscan(heap, index, snapshot, nkeys, norderbys);
#endif
}

/*
 * Before 17 VACUUM may take out rows that a scan's snapshot sees, once that is older
 * than old_snapshot_threshold: an error for a scan that has read what is left.
 */
static inline void
compat_check_snapshot_age(IndexScanDesc scan)
{
#if PG_VERSION_NUM < 170000
	Snapshot	snapshot = scan->xs_snapshot;

	if (old_snapshot_threshold >= 0 && IsMVCCSnapshot(snapshot) &&
		!XLogRecPtrIsInvalid(snapshot->lsn))
		TestForOldSnapshot_impl(snapshot, scan->indexRelation);
#endif
}

/* Whether the current user owns a table, or since 17 may maintain it. */
static inline bool
compat_may_maintain(Oid table)
{
#if PG_VERSION_NUM >= 170000
	return object_ownercheck(RelationRelationId, table, GetUserId()) ||
		pg_class_aclcheck(table, GetUserId(), ACL_MAINTAIN) == ACLCHECK_OK;
#elif PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, table, GetUserId());
#else
	return pg_class_ownercheck(table, GetUserId());
#endif
}

/* Since 17, functions that run as another user get a safe search_path. */
static inline void
compat_restrict_search_path(void)
{
#if PG_VERSION_NUM >= 170000
	RestrictSearchPath();
#endif
}

/* Let a VACUUM rest; the caller includes commands/vacuum.h. */
#if PG_VERSION_NUM >= 180000
#define compat_vacuum_delay_point() vacuum_delay_point(false)
#else
#define compat_vacuum_delay_point() vacuum_delay_point()
#endif

/* Since 17 the server reads ahead by itself. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_READ_STREAM
#include "storage/read_stream.h"
#endif

/* Since 17 a backend can make shared memory of a name. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_DSM_REGISTRY
#endif

/* Since 18 an extension can add to what EXPLAIN says of a node. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_EXPLAIN_NODE
#endif

#endif							/* RECSYS_COMPAT_H */
