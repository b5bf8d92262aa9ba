/*
 * fuzz.c
 *		libFuzzer inside a backend: recsys_fuzz(target, argument, ...).
 *
 * The extension is compiled with -fsanitize=fuzzer-no-link, which tells of the
 * branches taken; this module holds libFuzzer, is preloaded, and calls the
 * extension's SQL functions with what libFuzzer makes up.  An error is the
 * right answer to bad input; what is wrong is a crash, an answer that takes
 * seconds, an internal error (XX), memory running out (53), a write beyond
 * what was allocated, and a value that is not the same after a way through
 * its other forms.  What is wrong ends in abort(), and libFuzzer then writes
 * the input to a file.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(recsys_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8 *bytes, size_t size));
extern void _PG_init(void);

/* Elements of all tensors that a tower's input can name. */
#define MAX_ELEMENTS 4096

struct Target
{
	const char *name;
	void		(*run) (const char *bytes, size_t size);
};

static const struct Target *target;
static MemoryContext input_context; /* reset after every input */
static emit_log_hook_type next_log_hook;

static PGFunction
function(const char *name)
{
	return load_external_function("$libdir/recsys", name, true, NULL);
}

static void
fault(const char *what)
{
	write_stderr("recsys_fuzz: %s\n", what);
	abort();
}

/* vectors */

static Datum
vector_from_text(const char *text)
{
	return DirectFunctionCall3(function("recsys_vector_in"),
							   CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

static Datum
vector_from_binary(const char *bytes, size_t size)
{
	StringInfoData message;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, bytes, size);
	return DirectFunctionCall3(function("recsys_vector_recv"),
							   PointerGetDatum(&message),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static void
check_same(Datum a, Datum b, const char *what)
{
	if (VARSIZE_ANY(DatumGetPointer(a)) != VARSIZE_ANY(DatumGetPointer(b)) ||
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_ANY(DatumGetPointer(a))) != 0)
		fault(what);
}

/* A vector's other forms must bring back the very same bytes. */
static void
check_vector(Datum vector)
{
	Datum text = DirectFunctionCall1(function("recsys_vector_out"), vector);
	bytea	   *binary = DatumGetByteaP(DirectFunctionCall1(function("recsys_vector_send"),
															vector));
	Datum		array = DirectFunctionCall1(function("recsys_vector_to_float4"),
											vector);

	check_same(vector, vector_from_text(DatumGetCString(text)),
			   "differs after text output and input");
	check_same(vector, vector_from_binary(VARDATA_ANY(binary),
										  VARSIZE_ANY_EXHDR(binary)),
			   "differs after binary output and input");
	check_same(vector, DirectFunctionCall3(function("recsys_array_to_vector"),
										   array, Int32GetDatum(-1),
										   BoolGetDatum(false)),
			   "differs after casts to real[] and back");
}

static void
run_text(const char *bytes, size_t size)
{
	check_vector(vector_from_text(pnstrdup(bytes, size)));
}

static void
run_binary(const char *bytes, size_t size)
{
	check_vector(vector_from_binary(bytes, size));
}

/* The binary form of an array, whose element type it tells itself. */
static void
run_cast(const char *bytes, size_t size)
{
	StringInfoData message;
	Oid			type;
	Datum		array;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, bytes, size);
	if (size < 12)
		return;
	message.cursor = 8;
	type = pq_getmsgint(&message, sizeof(Oid));
	message.cursor = 0;
	if (type != FLOAT4OID && type != FLOAT8OID && type != INT4OID &&
		type != NUMERICOID)
		return;
	array = OidReceiveFunctionCall(F_ARRAY_RECV, &message, type, -1);
	check_vector(DirectFunctionCall3(function("recsys_array_to_vector"), array,
									 Int32GetDatum(-1), BoolGetDatum(false)));
}

/* towers */

/* Make visible what the input has written so far. */
static void
see_changes(void)
{
	CommandCounterIncrement();
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Import a file, and if it is taken run its golden rows as a user does. */
static void
import(StringInfo file)
{
	bytea	   *value = (bytea *) palloc(VARHDRSZ + file->len);

	SET_VARSIZE(value, VARHDRSZ + file->len);
	memcpy(VARDATA(value), file->data, file->len);
	(void) DirectFunctionCall3(function("recsys_import_model"),
							   CStringGetTextDatum("fuzz"),
							   PointerGetDatum(value), BoolGetDatum(true));
	see_changes();
	/* the function may answer NULL, which DirectFunctionCall takes ill */
	{
		LOCAL_FCINFO(fcinfo, 1);

		InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = CStringGetTextDatum("fuzz");
		fcinfo->args[0].isnull = false;
		(void) function("recsys_verify_model") (fcinfo);
	}
}

static void
append_little_endian(StringInfo out, uint64 value, int width)
{
	for (int i = 0; i < width; i++)
		appendStringInfoCharMacro(out, (char) (value >> 8 * i));
}

/*
 * A file: as it is, or where the input begins with a brace, a header up to the
 * end of the line with its length put before it, and the data after it.
 */
static void
run_file(const char *bytes, size_t size)
{
	StringInfoData file;
	const char *end = memchr(bytes, '\n', size);

	initStringInfo(&file);
	if (size > 0 && bytes[0] == '{' && end != NULL)
	{
		append_little_endian(&file, end - bytes, 8);
		appendBinaryStringInfo(&file, bytes, end - bytes);
		end++;
		appendBinaryStringInfo(&file, end, bytes + size - end);
	}
	else
		appendBinaryStringInfo(&file, bytes, size);
	import(&file);
}

/*
 * The tensor that a name such as F32:3x2 or I64:5:b describes: its entry in
 * the header, its elements in the data.
 */
static void
append_tensor(StringInfo header, StringInfo data, const char *name)
{
	bool		integer = name[0] == 'I';
	int			width = name[1] == '6' ? 8 : 4;
	int			start = data->len;
	uint64		count = 1;
	StringInfoData shape;

	initStringInfo(&shape);
	for (const char *at = name + 3; *at == ':' || *at == 'x';)
	{
		char	   *end;
		unsigned long dim = strtoul(at + 1, &end, 10);

		if (end == at + 1 || dim > MAX_ELEMENTS || count * dim > MAX_ELEMENTS)
			break;
		count *= dim;
		appendStringInfo(&shape, "%s%lu", shape.len ? "," : "", dim);
		at = *end == 'x' ? end : "";
	}
	for (uint64 i = 0; i < count; i++)
	{
		float		x = (i % 5 + 1) / 4.0f;
		uint32		bits;

		memcpy(&bits, &x, sizeof(bits));
		append_little_endian(data, integer ? i : bits, width);
	}
	appendStringInfoString(header, ", ");
	escape_json(header, name);
	appendStringInfo(header, ": {\"dtype\": \"%.3s\", \"shape\": [%s], \"data_offsets\": [%d, %d]}",
					 name, shape.data, start, data->len);
}

/* Every tensor that the spec names, once. */
static void
append_tensors(StringInfo header, StringInfo data, const char *spec)
{
	static const char *const types[] = {"\"F32:", "\"I64:", "\"I32:"};

	for (int k = 0; k < lengthof(types); k++)
	{
		const char *at = spec;

		while ((at = strstr(at, types[k])) != NULL && data->len < 1000000)
		{
			const char *end = strchr(at + 1, '"');

			if (end == NULL)
				break;
			if (strstr(spec, pnstrdup(at, end + 1 - at)) == at)
				append_tensor(header, data, pnstrdup(at + 1, end - at - 1));
			at = end;
		}
	}
}

/*
 * Three lines: a spec, golden rows or nothing, the features of a row.  The file
 * is made of the first two and of the tensors that the spec names.
 */
static void
run_tower(const char *bytes, size_t size)
{
	char	   *spec = pnstrdup(bytes, size);
	char	   *golden = strchr(spec, '\n');
	char	   *features = golden ? strchr(golden + 1, '\n') : NULL;
	StringInfoData header;
	StringInfoData data;
	StringInfoData file;
	Datum		row;

	if (features == NULL)
		return;
	*golden++ = '\0';
	*features++ = '\0';
	initStringInfo(&header);
	initStringInfo(&data);
	initStringInfo(&file);
	appendStringInfoString(&header, "{\"__metadata__\": {\"recsys.spec\": ");
	escape_json(&header, spec);
	if (golden[0])
	{
		appendStringInfoString(&header, ", \"recsys.golden\": ");
		escape_json(&header, golden);
	}
	appendStringInfoChar(&header, '}');
	append_tensors(&header, &data, spec);
	appendStringInfoChar(&header, '}');
	append_little_endian(&file, header.len, 8);
	appendBinaryStringInfo(&file, header.data, header.len);
	appendBinaryStringInfo(&file, data.data, data.len);
	import(&file);

	row = DirectFunctionCall1(jsonb_in, CStringGetDatum(features));
	check_vector(DirectFunctionCall2(function("recsys_embed_jsonb"),
									 CStringGetTextDatum("fuzz"), row));
}

/* libFuzzer */

static const struct Target targets[] = {
	{"text", run_text},
	{"binary", run_binary},
	{"cast", run_cast},
	{"file", run_file},
	{"tower", run_tower},
};

/* The end of what the server says of a chunk that was written beyond. */
static void
fuzz_log(ErrorData * edata)
{
	if (edata->elevel == WARNING && strstr(edata->message, "alloc set"))
		fault(edata->message);
	if (next_log_hook)
		next_log_hook(edata);
}

/* An error that was caught: is it one that an input may have? */
static void
check_error(void)
{
	ErrorData  *error;
	int			category;

	MemoryContextSwitchTo(input_context);
	error = CopyErrorData();
	FlushErrorState();
	category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	if (category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
		ereport(FATAL, (errmsg("fuzzing was ended")));
	if (category == ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES))
		fault(psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					   error->message));
}

/* One input, in a subtransaction that leaves nothing behind. */
static int
one_input(const uint8 *bytes, size_t size)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(input_context);
	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		target->run((const char *) bytes, size);
	}
	PG_CATCH();
	{
		check_error();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextReset(input_context);
	return 0;
}

/*
 * recsys_fuzz(target text, VARIADIC arguments text[]) does not return:
 * libFuzzer ends the process when it is done.
 */
Datum
recsys_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum	   *arguments;
	int			n;
	int			argc = 0;
	char	  **argv;

	for (int i = 0; i < lengthof(targets); i++)
	{
		if (strcmp(targets[i].name, name) == 0)
			target = &targets[i];
	}
	if (target == NULL)
		elog(ERROR, "no target \"%s\"", name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
					  TYPALIGN_INT, &arguments, NULL, &n);
	argv = palloc0(sizeof(char *) * (n + 2));
	argv[argc++] = "recsys_fuzz";
	for (int i = 0; i < n; i++)
		argv[argc++] = TextDatumGetCString(arguments[i]);
	input_context = AllocSetContextCreate(TopMemoryContext, "fuzz input",
										  ALLOCSET_DEFAULT_SIZES);
	(void) function("recsys_vector_in");	/* loads what is to be fuzzed */
	PG_RETURN_INT32(LLVMFuzzerRunDriver(&argc, &argv, one_input));
}

void
_PG_init(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = fuzz_log;
}
