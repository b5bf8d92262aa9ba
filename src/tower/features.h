/*
 * features.h
 *		From a record or a JSON object to the feature values of a row.
 */
#ifndef RECSYS_FEATURES_H
#define RECSYS_FEATURES_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "tower/tower.h"

/* How the columns of one record type meet the features of one tower. */
typedef struct RecordBinding RecordBinding;

extern const FeatureType *feature_type_find(const char *name);
extern Feature *feature_find(const Tower *tower, const char *name);
extern void feature_read_tree(const Feature *feature, const JsonTree *tree,
							  Value *value, float *vector);

extern void features_read_tree(Batch *batch, int row, const JsonTree *object);
extern RecordBinding *record_bind(const Tower *tower, TupleDesc desc,
								  Oid vector_type);
extern void features_read_record(RecordBinding *binding, Batch *batch,
								 int row, HeapTupleHeader record);

#endif							/* RECSYS_FEATURES_H */
