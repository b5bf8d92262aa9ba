/*
 * ivf.h
 *		The callbacks of the access method recsys_ivfpq, one file a verb.
 */
#ifndef RECSYS_IVF_H
#define RECSYS_IVF_H

#include "access/amapi.h"
#include "access/genam.h"
#include "nodes/execnodes.h"

#include "index/index_access.h"
#include "index/scan_report.h"
#include "ivfpq/ivf_coder.h"
#include "vector/vector.h"

/* Options of CREATE INDEX ... WITH (...); 0 lets the index choose. */
typedef struct IvfOptions
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	int			lists;
	int			subquantizers;
	int			sample;			/* rows to train on */
	int			refine;			/* Refine */
	int			rotation;		/* IvfRotation */
} IvfOptions;

typedef enum IvfRotation
{
	IVF_ROTATION_RANDOM,
	IVF_ROTATION_LEARNED
} IvfRotation;

#define IVF_MAX_SAMPLE 10000000

/* ivf_handler.c */
extern void ivf_init(void);
extern IvfOptions ivf_options(Relation index);
extern int	ivf_nsub(Relation index, int padded_dim);
extern double ivf_scan_rows(double nrows, double nlists, double wanted);
extern int	ivf_default_lists(double nrows);

/* ivf_build.c */
extern IndexBuildResult *ivf_build(Relation heap, Relation index,
								   IndexInfo *index_info);
extern void ivf_build_empty(Relation index);
extern char *ivf_build_phase_name(int64 phase);

/* ivf_insert.c */
typedef struct IvfInserter IvfInserter;
extern IvfInserter *ivf_inserter_create(Relation index, PageWal wal);
extern void ivf_inserter_insert(IvfInserter *inserter, const Datum *values,
								const bool *isnull, ItemPointer tid);
extern void ivf_inserter_close(IvfInserter *inserter);
extern bool ivf_insert(Relation index, Datum *values, bool *isnull,
					   ItemPointer tid, Relation heap,
					   IndexUniqueCheck check_unique, bool index_unchanged,
					   IndexInfo *index_info);

/* ivf_scan.c */
extern IndexScanDesc ivf_begin_scan(Relation index, int nkeys, int norderbys);
extern void ivf_rescan(IndexScanDesc scan, ScanKey keys, int nkeys,
					   ScanKey orderbys, int norderbys);
extern bool ivf_get_tuple(IndexScanDesc scan, ScanDirection dir);
extern void ivf_end_scan(IndexScanDesc scan);
extern bool ivf_scan_report(IndexScanDesc scan, ScanReport *report);

/* ivf_vacuum.c */
extern IndexBulkDeleteResult *ivf_bulk_delete(IndexVacuumInfo *info,
											  IndexBulkDeleteResult *stats,
											  IndexBulkDeleteCallback callback,
											  void *callback_state);
extern IndexBulkDeleteResult *ivf_vacuum_cleanup(IndexVacuumInfo *info,
												 IndexBulkDeleteResult *stats);

/* ivf_check.c */
extern void ivf_check(const IndexAccess *access);

#endif							/* RECSYS_IVF_H */
