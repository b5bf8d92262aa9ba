/*
 * guc.c
 *		The settings recsys.*: their definitions, defaults and bounds.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/guc.h"

int			guc_hnsw_ef_search = GUC_HNSW_EF_SEARCH;
int			guc_ivfpq_probes = 0;
int			guc_model_cache_size = 64 * 1024;

/* Define every setting; called once, when the library is loaded. */
void
guc_init(void)
{
	DefineCustomIntVariable("recsys.hnsw_ef_search",
							"How long an HNSW scan looks for better rows than it has.",
							"Higher values find more of the true nearest rows and cost more page accesses.",
							&guc_hnsw_ef_search, GUC_HNSW_EF_SEARCH, 1, 100000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.ivfpq_probes",
							"Lists that an IVFPQ scan looks through; 0 lets it choose.",
							"A scan goes on to more lists where the rows asked for need them.",
							&guc_ivfpq_probes, 0, 0, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.model_cache_size",
							"Memory that one backend may keep for parsed models.",
							NULL,
							&guc_model_cache_size, 64 * 1024, 1024, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	MarkGUCPrefixReserved("recsys");
}
