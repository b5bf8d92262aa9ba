/*
 * store.h
 *		The tables that hold models, and who may do what with a model.
 *
 * The tables belong to the extension's owner, and other roles have no
 * privilege on them.  The functions here read and write them whoever calls;
 * the caller checks the model's own privileges first.
 */
#ifndef RECSYS_STORE_H
#define RECSYS_STORE_H

#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "tower/safetensors.h"
#include "tower/spec.h"

/* A row of recsys.model. */
typedef struct ModelRow
{
	int64		id;
	char		name[MODEL_NAME_MAX + 1];
	NameData	owner;
	int			ngrantees;
	NameData   *grantees;		/* "public" is everybody */
	int32		active;			/* version, or 0 */
	int32		latest;			/* the last version number given */
	TransactionId xmin;
	ItemPointerData tid;
} ModelRow;

/* A row of recsys.model_version. */
typedef struct VersionRow
{
	int64		model;
	int32		version;
	int64		file;			/* never used for another file */
	int64		bytes;
	ItemPointerData tid;
} VersionRow;

/* Bytes of a reference as text, with its zero byte. */
#define MODEL_REF_MAX (2 * (MODEL_NAME_MAX + 1) + 12)

/* model[/tower][@version] */
typedef struct ModelRef
{
	char		model[MODEL_NAME_MAX + 1];
	char		tower[MODEL_NAME_MAX + 1];	/* "" where there is none */
	int32		version;		/* 0: the active one */
} ModelRef;

/* The bytes of a stored file. */
typedef struct PartSource
{
	ByteSource	base;
	int64		file;
} PartSource;

extern void model_ref_parse(ModelRef *ref, const char *text, Size length);
extern bool model_may_use(const ModelRow *row);
extern void model_check_use(const ModelRow *row);
extern void model_check_own(const ModelRow *row);

extern Oid	store_model_table(void);
extern void store_lock_model(const char *name);
extern bool store_find_model(const char *name, Snapshot snapshot,
							 ModelRow *row);
extern void store_get_model(const char *name, Snapshot snapshot,
							ModelRow *row);
extern void store_get_version(const ModelRow *model, int32 version,
							  Snapshot snapshot, VersionRow *row);
extern void store_insert_model(ModelRow *row);
extern void store_update_model(const ModelRow *row);
extern void store_delete_model(const ModelRow *row);
extern void store_insert_version(const VersionRow *row, const char *towers,
								 const char *bytes);
extern void store_delete_version(const VersionRow *row);
extern int64 store_next_id(void);

extern void part_source_init(PartSource *source, const VersionRow *row);

#endif							/* RECSYS_STORE_H */
