/*
 * buffer_hint.c
 *		Where this backend last saw a page in shared buffers.
 *
 * The table is direct-mapped, of fixed size, and private to the backend.  A
 * wrong hint costs a look-up that would have been made anyway.
 */
#include "postgres.h"

#include "pgstat.h"
#include "storage/buf_internals.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/buffer_hint.h"

#define HINT_BITS 17

typedef struct BufferHint
{
	Oid			file;			/* InvalidOid where never used */
	BlockNumber block;
	Buffer		buffer;
} BufferHint;

static BufferHint hints[1 << HINT_BITS];

static inline BufferHint *
hint_of(Relation rel, BlockNumber block)
{
	uint32		i = (block + compat_file_number(rel) * 0x9E3779B1u);

	return &hints[i & ((1 << HINT_BITS) - 1)];
}

/*
 * Pages of temporary tables lie elsewhere.  Their files have numbers of their own:
 * a permanent table may have the same one, and in shared buffers no page tells
 * them apart.
 */
static inline bool
hint_matches(const BufferHint *hint, Relation rel, BlockNumber block)
{
	return hint->block == block && hint->file == compat_file_number(rel) &&
		hint->buffer > 0 && hint->buffer <= NBuffers &&
		!RelationUsesLocalBuffers(rel);
}

Buffer
buffer_hint_read(Relation rel, BlockNumber block)
{
	BufferHint *hint = hint_of(rel, block);

	if (hint_matches(hint, rel, block) &&
		compat_read_recent_buffer(rel, block, hint->buffer))
	{
		pgstat_count_buffer_read(rel);
		pgstat_count_buffer_hit(rel);
		return hint->buffer;
	}
	*hint = (BufferHint)
	{
		compat_file_number(rel), block, ReadBuffer(rel, block)
	};
	return hint->buffer;
}

void
buffer_hint_note(Relation rel, Buffer buffer)
{
	BlockNumber block = BufferGetBlockNumber(buffer);

	*hint_of(rel, block) = (BufferHint)
	{
		compat_file_number(rel), block, buffer
	};
}

const char *
buffer_hint_address(Relation rel, BlockNumber block)
{
	const BufferHint *hint = hint_of(rel, block);

	if (!hint_matches(hint, rel, block))
		return NULL;
	__builtin_prefetch(GetBufferDescriptor(hint->buffer - 1), 1);
	return BufferGetBlock(hint->buffer);
}
