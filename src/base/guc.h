/*
 * guc.h
 *		The settings recsys.*.
 */
#ifndef RECSYS_GUC_H
#define RECSYS_GUC_H

#define GUC_HNSW_EF_SEARCH 40	/* the default */

extern int	guc_hnsw_ef_search; /* recsys.hnsw_ef_search, nodes */
extern int	guc_ivfpq_probes;	/* recsys.ivfpq_probes, lists; 0 is automatic */
extern int	guc_model_cache_size;	/* recsys.model_cache_size, kilobytes */

extern void guc_init(void);

#endif							/* RECSYS_GUC_H */
