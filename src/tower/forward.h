/*
 * forward.h
 *		Running a tower, and its golden rows.
 */
#ifndef RECSYS_FORWARD_H
#define RECSYS_FORWARD_H

#include "tower/tower.h"

/* The most rows that run together. */
#define FORWARD_MAX_ROWS 64

extern int	batch_max_rows(const Tower *tower);
extern void batch_init(Batch *batch, const Tower *tower, int rows);
extern void batch_set_rows(Batch *batch, int rows);
extern void forward_run(Batch *batch);

extern JsonTree *golden_parse(const char *text, const JsonTree *towers);
extern double golden_check(const Tower *tower, const JsonTree *rows,
						   bool enforce);

#endif							/* RECSYS_FORWARD_H */
