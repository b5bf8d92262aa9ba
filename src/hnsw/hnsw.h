/*
 * hnsw.h
 *		The callbacks of the access method recsys_hnsw, one file a verb.
 */
#ifndef RECSYS_HNSW_H
#define RECSYS_HNSW_H

#include "access/amapi.h"
#include "access/genam.h"
#include "nodes/execnodes.h"

#include "hnsw/hnsw_coder.h"
#include "hnsw/hnsw_link.h"
#include "index/index_access.h"
#include "index/scan_report.h"

/* Options of CREATE INDEX ... WITH (...). */
typedef struct HnswOptions
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	int			ef_construction;
} HnswOptions;

#define HNSW_DEFAULT_EF_CONSTRUCTION 40
#define HNSW_MIN_EF_CONSTRUCTION 20
#define HNSW_MAX_EF_CONSTRUCTION 1000

extern int	hnsw_ef_construction(Relation index);
extern void hnsw_init(void);

/*
 * Every insert holds this lock in share mode from before it looks for
 * neighbours until its last edge is written.  VACUUM takes it exclusively for
 * a moment after it has made tombstones: from then on no insert is under way
 * that could still add an edge to one.
 */
#define HNSW_INSERT_LOCK_PAGE HNSW_META_BLOCK

/* hnsw_build.c */
extern IndexBuildResult *hnsw_build(Relation heap, Relation index,
									IndexInfo *index_info);
extern void hnsw_build_empty(Relation index);
extern char *hnsw_build_phase_name(int64 phase);

/* hnsw_insert.c */
typedef struct Inserter Inserter;
extern Inserter *inserter_create(Relation index, PageWal wal);
extern void inserter_insert(Inserter *inserter, const Vector *vector,
							const NodeRow *row);
extern void inserter_close(Inserter *inserter);
extern bool hnsw_insert(Relation index, Datum *values, bool *isnull,
						ItemPointer tid, Relation heap,
						IndexUniqueCheck check_unique, bool index_unchanged,
						IndexInfo *index_info);

/* hnsw_scan.c */
extern IndexScanDesc hnsw_begin_scan(Relation index, int nkeys, int norderbys);
extern void hnsw_rescan(IndexScanDesc scan, ScanKey keys, int nkeys,
						ScanKey orderbys, int norderbys);
extern bool hnsw_get_tuple(IndexScanDesc scan, ScanDirection dir);
extern void hnsw_end_scan(IndexScanDesc scan);
extern bool hnsw_scan_report(IndexScanDesc scan, ScanReport *report);

/* hnsw_check.c */
extern void hnsw_check(const IndexAccess *access);

/* hnsw_vacuum.c */
extern IndexBulkDeleteResult *hnsw_bulk_delete(IndexVacuumInfo *info,
											   IndexBulkDeleteResult *stats,
											   IndexBulkDeleteCallback callback,
											   void *callback_state);
extern IndexBulkDeleteResult *hnsw_vacuum_cleanup(IndexVacuumInfo *info,
												  IndexBulkDeleteResult *stats);

#endif							/* RECSYS_HNSW_H */
