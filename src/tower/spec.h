/*
 * spec.h
 *		From the spec in a tower file to a tower that can run.
 */
#ifndef RECSYS_SPEC_H
#define RECSYS_SPEC_H

#include "tower/safetensors.h"
#include "tower/tower.h"

/* Bytes of a model's or a tower's name. */
#define MODEL_NAME_MAX 63

extern JsonTree *spec_towers(const TensorFile *file);
extern Tower *spec_build(TensorFile *file, const JsonField *json);
extern void spec_check_used(const TensorFile *file);
extern char *spec_summary(const JsonTree *towers, Tower *const *built);
extern bool model_name_valid(const char *name, Size length);

#endif							/* RECSYS_SPEC_H */
