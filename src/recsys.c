/*
 * recsys.c
 *		Library entry: the magic block, and _PG_init, which calls each room's
 *		init.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "base/guc.h"
#include "hnsw/hnsw.h"
#include "index/scan_explain.h"
#include "index/scan_limit.h"
#include "index/scan_stat.h"
#include "ivfpq/ivf.h"
#include "kernels/kernels.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	guc_init();
	kernels_init();
	scan_stat_init();
	scan_explain_init();
	scan_limit_init();
	hnsw_init();
	ivf_init();
}
