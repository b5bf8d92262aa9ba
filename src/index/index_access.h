/*
 * index_access.h
 *		Open an index for looking in: rights, locks, whose functions run.
 */
#ifndef RECSYS_INDEX_ACCESS_H
#define RECSYS_INDEX_ACCESS_H

#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* What a caller must be allowed. */
typedef enum IndexRight
{
	INDEX_RIGHT_STATS,			/* owner, SELECT, or pg_stat_scan_tables */
	INDEX_RIGHT_READ,			/* SELECT on the table, all of its rows */
	INDEX_RIGHT_MAINTAIN		/* owner; since 17 also MAINTAIN */
} IndexRight;

typedef struct IndexAccess
{
	Relation	heap;
	Relation	index;
	LOCKMODE	lockmode;		/* held on both */
	bool		sees_rows;		/* the caller may read all rows of the table */
	Oid			save_userid;
	int			save_sec_context;
	int			save_nestlevel;
} IndexAccess;

/*
 * Open an index and its table.  Rights are looked at before any lock is asked
 * for, so that who has none cannot hold up others.  Errors where it is no
 * index, has no storage to look at, or may not be seen.
 *
 * Until index_access_close the session is the owner of the table, as in
 * REINDEX: functions in the index's expressions and predicate, which the owner
 * chose, get no rights of the caller.
 */
extern void index_access_open(IndexAccess *access, Oid index_oid,
							  IndexRight right, LOCKMODE lockmode);
extern void index_access_close(IndexAccess *access);

#endif							/* RECSYS_INDEX_ACCESS_H */
